//go:build !linux

package bundle

import (
	"context"
	"errors"
	"os/exec"
)

// confined refuses: only Linux gives a process a root and a network of its own without rights.
func confined(context.Context, string, string, ...string) (*exec.Cmd, error) {
	return nil, errors.New("confining the tests of the scorecard: that works on Linux only")
}
