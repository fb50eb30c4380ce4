//go:build unix && !linux

package testbed

import (
	"context"
	"errors"
	"os/exec"
	"strconv"
	"syscall"
)

var errLinux = errors.New("making namespaces: only Linux has them")

func isolate(context.Context, config) error { return nil }

// RealNode returns nil where this machine and user can run a real node, else the reason why not.
func RealNode() error { return errLinux }

// Init is the first process of a sandbox, which does not exist here.
func Init(string) (int, error) { return 0, errLinux }

func holderCommand(config) (string, *syscall.SysProcAttr) {
	return "supervise", &syscall.SysProcAttr{Setsid: true}
}

// identity is weaker than on Linux: the number of the process is all there is, and the lock of the cluster's folder has to do the rest.
func identity(pid int) (string, error) {
	if err := syscall.Kill(pid, 0); err != nil {
		return "", err
	}
	return strconv.Itoa(pid), nil
}

func removeCgroup(context.Context, string) error { return nil }

func runInside(context.Context, *exec.Cmd, int) (int, error) { return 0, errLinux }

func startInside(*exec.Cmd, int) error { return errLinux }

func inNetwork(int, func() error) error { return errLinux }
