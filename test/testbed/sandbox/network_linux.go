package sandbox

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// InNetwork calls work in the network of the process with the given pid. What work opens stays there, whoever uses it afterwards: a
// listener, a connection. The work must not be handed to another goroutine.
func InNetwork(pid int, work func() error) error {
	result := make(chan error)
	go func() {
		// Never unlocked: a thread inside another network must not run anything else afterwards.
		runtime.LockOSThread()
		result <- inNetwork(pid, work)
	}()
	return <-result
}

func inNetwork(pid int, work func() error) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("entering the network of process %d: %w", pid, err)
	}
	defer unix.Close(fd)
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("entering the network of process %d: %w", pid, err)
	}
	return work()
}
