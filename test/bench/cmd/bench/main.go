// Command bench measures the operator and writes the page of the documentation that says so.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/go-logr/logr"

	"github.com/flux-autopilot/flux-operator/test/bench"
	"github.com/flux-autopilot/flux-operator/tools"
)

// config is what the flags say.
type config struct {
	out          string
	only         []string
	distribution string
	measure      string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log.SetLogger(logr.Discard())
	if err := command().ExecuteContext(ctx); err != nil {
		os.Exit(1)
	}
}

func command() *cobra.Command {
	var c config
	cmd := &cobra.Command{
		Use:          "bench [--out FILE]",
		Short:        "Measure the operator against the same work without it and against its targets",
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if c.measure != "" {
				return c.measureHere()
			}
			return c.run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.StringVar(&c.out, "out", "", "page to write; a run of some parts alone does not write it")
	f.StringSliceVar(&c.only, "only", nil, "parts to measure: "+strings.Join(bench.Names(), ", ")+" (default all)")
	f.StringVar(&c.distribution, "distribution", os.Getenv("DISTRIBUTION_DIR"), "generated distribution (default $DISTRIBUTION_DIR, else dist/distribution)")
	f.StringVar(&c.measure, "measure", "", "measure one thing in this process and print it as JSON; the program runs itself with it")
	return cmd
}

// measureHere is the fresh process in which something is measured.
func (c *config) measureHere() error {
	result, err := bench.Measure(c.measure, c.distribution, os.Stdin)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}

func (c *config) run(ctx context.Context) error {
	root, err := tools.Root()
	if err != nil {
		return err
	}
	if c.distribution == "" {
		c.distribution = filepath.Join(root, "dist", "distribution")
	}
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	machine, parts, err := bench.Run(ctx, bench.Options{
		Root: root, Distribution: c.distribution, Program: program, Only: c.only, Progress: os.Stdout,
	})
	if missed := bench.Missed(parts); len(missed) > 0 {
		fmt.Printf("\n%d targets missed:\n", len(missed))
		for _, figure := range missed {
			fmt.Printf("  %s: %s, target %s, missed %s\n", figure.Name, figure.Value, figure.Target, figure.Missed)
		}
	}
	if err != nil {
		return err
	}
	fmt.Printf("\nmeasured in %.0f s\n", machine.Took.Seconds())
	return c.write(machine, parts)
}

// write replaces the page; one with parts missing would be mistaken for the whole.
func (c *config) write(machine bench.Machine, parts []bench.Part) error {
	if c.out == "" {
		return nil
	}
	if len(c.only) > 0 {
		return errors.New("writing the page: it takes all parts, leave --only or --out out")
	}
	var page bytes.Buffer
	bench.Document(&page, machine, parts)
	if err := os.WriteFile(c.out, page.Bytes(), 0o644); err != nil {
		return fmt.Errorf("writing the page: %w", err)
	}
	return nil
}
