// Command roots writes the authorities that the images of this project trust.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/flux-autopilot/flux-operator/tools"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "roots:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, messages io.Writer) error {
	set := flag.NewFlagSet("roots", flag.ContinueOnError)
	set.SetOutput(messages)
	out := set.String("out", "", "PEM `file` to write; its folder is made")
	if err := set.Parse(args); err != nil {
		return err
	}
	if *out == "" || set.NArg() > 0 {
		return fmt.Errorf("reading arguments: want --out alone")
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	roots, err := tools.Roots(ctx)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(*out), 0o755); err != nil {
		return fmt.Errorf("making the folder of the authorities: %w", err)
	}
	if err := os.WriteFile(*out, roots, 0o644); err != nil {
		return fmt.Errorf("writing the authorities: %w", err)
	}
	return nil
}
