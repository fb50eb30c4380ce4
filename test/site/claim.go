package site

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/flux-autopilot/flux-operator/tools"
)

// claim takes a site's name for this process, so that two runs do not take each other's cluster away. The claim ends when the file is
// closed, with the process at the latest.
func claim(name string) (*os.File, error) {
	dir, err := tools.CacheDir("site")
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(filepath.Join(dir, filepath.Base(name)+".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("claiming site %q: %w", name, err)
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = errors.New("another run uses it; wait for its end")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("claiming site %q: %w", name, err), file.Close())
	}
	return file, nil
}
