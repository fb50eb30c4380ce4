//go:build unix && !linux

package process

import "syscall"

// attributes keeps a terminal's Ctrl-C away from the program, whose end belongs to the group.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
