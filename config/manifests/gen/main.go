// Command gen writes the bundle by which the Operator Lifecycle Manager installs the operator, out of config, the markers in apis and the releases.
//
// operator-sdk makes the bundle; what it does not know is added: the images by digest, what the version replaces, examples, icon, and roles that
// stay within the operator's namespace. Run it from the top of the repository; running it again changes nothing.
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
)

// options is what the command line says.
type options struct {
	// sdk is the path of operator-sdk.
	sdk string
	// version of the operator, without the leading v.
	version string
	// image of the operator.
	image string
	// template of the catalog, which says what the version replaces.
	template string
	// out is the folder to write.
	out string
	// timeout of the whole run.
	timeout time.Duration
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, messages io.Writer) error {
	var o options
	flags := flag.NewFlagSet("gen", flag.ContinueOnError)
	flags.SetOutput(messages)
	flags.StringVar(&o.sdk, "operator-sdk", "operator-sdk", "`path` of operator-sdk")
	flags.StringVar(&o.version, "version", "", "`version` of the operator")
	flags.StringVar(&o.image, "image", "", "`image` of the operator, with a tag, a digest or both")
	flags.StringVar(&o.template, "template", templateFile, "`file` with the template of the catalog, which says what the version replaces")
	flags.StringVar(&o.out, "out", "bundle", "`folder` to write; it becomes exactly what is generated")
	flags.DurationVar(&o.timeout, "timeout", 5*time.Minute, "`limit` for the whole run")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if o.version == "" || o.image == "" {
		return fmt.Errorf("reading flags: --version and --image are needed")
	}
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	return o.generate(ctx, ".")
}

// generate makes the bundle beside its final place and moves it there when it is complete.
func (o options) generate(ctx context.Context, root string) error {
	out, err := filepath.Abs(o.out)
	if err != nil {
		return fmt.Errorf("finding the folder to write: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return fmt.Errorf("making the folder to write into: %w", err)
	}
	work, err := os.MkdirTemp(filepath.Dir(out), ".bundle-*")
	if err != nil {
		return fmt.Errorf("making a folder to work in: %w", err)
	}
	defer os.RemoveAll(work)
	if err := o.make(ctx, root, work); err != nil {
		return err
	}
	made := filepath.Join(work, bundleFolder)
	if err := o.finish(root, made, filepath.Join(work, dockerfile)); err != nil {
		return err
	}
	if err := os.RemoveAll(out); err != nil {
		return fmt.Errorf("removing the bundle that was there: %w", err)
	}
	if err := os.Rename(made, out); err != nil {
		return fmt.Errorf("putting the bundle in its place: %w", err)
	}
	if err := os.Rename(filepath.Join(work, dockerfile), filepath.Join(filepath.Dir(out), dockerfile)); err != nil {
		return fmt.Errorf("putting the Dockerfile in its place: %w", err)
	}
	return nil
}
