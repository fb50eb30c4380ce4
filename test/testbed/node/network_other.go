//go:build unix && !linux

package node

import (
	"context"
	"errors"
)

var errLinux = errors.New("setting up a node: only Linux can")

// Network always fails here.
func Network(context.Context) error { return errLinux }

func snapshotter(string) (string, error) { return "", errLinux }
