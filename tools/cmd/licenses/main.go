// Command licenses writes the licence texts of all modules that are linked into a program.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/flux-autopilot/flux-operator/tools/licenses"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "licenses:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, messages io.Writer) error {
	o := licenses.Options{Dir: "."}
	set := flag.NewFlagSet("licenses", flag.ContinueOnError)
	set.SetOutput(messages)
	set.StringVar(&o.Arch, "arch", "amd64", "`architecture` that the program is built for")
	set.StringVar(&o.Out, "out", "", "`folder` to write")
	if err := set.Parse(args); err != nil {
		return err
	}
	if o.Out == "" || set.NArg() != 1 {
		return fmt.Errorf("reading arguments: want --out and one package")
	}
	o.Package = set.Arg(0)
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	return licenses.Collect(ctx, o)
}
