//go:build linux || darwin || freebsd || netbsd || openbsd

package main

import (
	"os"
	"path/filepath"
	"syscall"
)

// lock keeps other processes out of a folder until unlock is called or the process ends, however it ends. It does not wait for them.
func lock(dir string) (unlock func(), ok bool) {
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return nil, false
	}
	file, err := os.OpenFile(dir+".lock", os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec // the folder is the cache of whoever runs the command
	if err != nil {
		return nil, false
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		file.Close()
		return nil, false
	}
	return func() { file.Close() }, true
}
