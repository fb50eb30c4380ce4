package testbed

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// errLocked says that a process has the lock, be it one that starts the cluster or one that holds it together.
var errLocked = errors.New("another process has the lock")

// tryLock takes the lock of a cluster. It is held until the file is closed here and in every process that inherited it.
func tryLock(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening the cluster's lock: %w", err)
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, errors.Join(errLocked, file.Close())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("taking the cluster's lock: %w", err), file.Close())
	}
	return file, nil
}
