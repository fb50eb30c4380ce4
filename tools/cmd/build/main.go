// Command build compiles pinned tools and prints the paths of the binaries, one per line in the order of the arguments.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/flux-autopilot/flux-operator/tools"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "build:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	set := flag.NewFlagSet("build", flag.ContinueOnError)
	set.Usage = func() {
		fmt.Fprintln(set.Output(), "usage: build [--list] NAME...")
		set.PrintDefaults()
	}
	list := set.Bool("list", false, "list the names that can be built")
	if err := set.Parse(args); err != nil {
		return err
	}
	if *list {
		for _, name := range tools.Names() {
			fmt.Fprintln(out, name)
		}
		return nil
	}
	if set.NArg() == 0 {
		return fmt.Errorf("reading arguments: name at least one tool, or use --list")
	}
	paths, err := tools.Build(ctx, set.Args()...)
	if err != nil {
		return err
	}
	for _, name := range set.Args() {
		fmt.Fprintln(out, paths[name])
	}
	return nil
}
