// Command demo shows the operator's main job to a human: a real cluster, a FluxInstance, Git deployed by Flux, drift put back, and a removal that keeps what runs.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/flux-autopilot/flux-operator/test/site"
)

func main() {
	keep := flag.Bool("keep", false, "leave the cluster running and say how to use it")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := run(ctx, newScreen(os.Stdout), *keep)
	stop()
	if err != nil {
		os.Exit(1)
	}
}

// run shows everything, cleans up whatever happened, and prints the error that it returns.
func run(ctx context.Context, out *screen, keep bool) error {
	begin := time.Now()
	out.title("Flux on autopilot: from an empty cluster to GitOps, and back")
	d := &demo{out: out}
	err := d.play(ctx, site.Options{Name: "demo", Flux: []string{"2.9.4"}, Keep: keep, Progress: out.progress()})
	switch {
	case err == nil:
	case ctx.Err() != nil:
		out.failed(errors.New("interrupted; cleaning up"))
	default:
		out.failed(err)
		if d.site != nil {
			out.quiet(d.site.Diagnosis(ctx))
		}
	}
	if d.site != nil {
		if downErr := d.site.Down(ctx); downErr != nil {
			out.failed(downErr)
			return downErr
		}
	}
	if err != nil {
		return err
	}
	out.title(fmt.Sprintf("All of it took %s.%s", seconds(time.Since(begin)), ending(d.site)))
	return nil
}

func ending(s *site.Site) string {
	if s.Kept() {
		return ""
	}
	return " The cluster is gone again; nothing is left of it."
}

// demo is what the steps share.
type demo struct {
	out  *screen
	site *site.Site
}

// step is one numbered part of the demonstration.
type step struct {
	title string
	play  func(context.Context) error
}

func (d *demo) play(ctx context.Context, opts site.Options) error {
	steps := []step{
		{"A real Kubernetes cluster with one node, a registry and a Git server", func(ctx context.Context) error { return d.cluster(ctx, opts) }},
		{"The operator, with the rights in config/rbac and no others", d.operator},
		{"A Git repository that says what the cluster should run", d.repository},
		{"One FluxInstance: which Flux, and what it deploys", d.instance},
		{"Flux comes up and deploys the repository", d.install},
		{"A second commit", d.commit},
		{"Somebody breaks Flux; the operator puts it back", d.drift},
		{"Somebody asks for a Flux that does not exist; the running one stays", d.mistake},
		{"Flux is removed; what it deployed keeps running", d.uninstall},
	}
	for i, s := range steps {
		d.out.begin(i+1, len(steps), s.title)
		if err := s.play(ctx); err != nil {
			return fmt.Errorf("step %d, %q: %w", i+1, s.title, err)
		}
		d.out.end()
	}
	return nil
}

// kubectl runs kubectl, showing the command and what it prints.
func (d *demo) kubectl(ctx context.Context, args ...string) error {
	return d.kubectlWith(ctx, "", args...)
}

func (d *demo) kubectlWith(ctx context.Context, input string, args ...string) error {
	d.out.command(append([]string{"kubectl"}, args...))
	printed, err := d.site.Cluster.Kubectl(ctx, input, args...)
	d.out.block(printed)
	return err
}

var _ io.Writer = (*progress)(nil)
