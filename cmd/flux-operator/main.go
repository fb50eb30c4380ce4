// Command flux-operator shows on a desk what the operator would do in a cluster.
package main

import (
	"fmt"
	"os"
)

// VERSION of the tool, set by the linker.
var VERSION = "0.0.0-dev"

func main() {
	if err := newRootCommand().Execute(); err != nil {
		fmt.Fprintln(os.Stderr, "flux-operator:", err)
		os.Exit(1)
	}
}
