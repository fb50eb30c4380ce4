package process

import "syscall"

// attributes keeps a terminal's Ctrl-C away from the program, whose end belongs to the group, and ends it when its parent dies.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
