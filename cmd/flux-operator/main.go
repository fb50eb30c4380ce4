// Command flux-operator shows on a desk what the operator would do in a cluster, and provides what it installs there.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// VERSION of the tool, set by the linker.
var VERSION = "0.0.0-dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	cmd, err := newRootCommand().ExecuteContextC(ctx)
	stop()
	if err != nil && !errors.Is(err, errDifferent) {
		fmt.Fprintln(os.Stderr, "flux-operator:", err)
	}
	os.Exit(exitCode(cmd, err))
}
