package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"
)

// limit bounds a whole run; a loaded machine needs a third of it.
const limit = 20 * time.Minute

// Options say what to measure.
type Options struct {
	// Root is the folder of the checkout, Distribution the generated distribution.
	Root, Distribution string
	// Program is this program, which is run again where a fresh process is measured.
	Program string
	// Only are the names of the parts to measure; empty means all of them.
	Only []string
	// Progress receives a line per step and each part when it is measured.
	Progress io.Writer
}

// bench is one run.
type bench struct {
	options      Options
	distribution *distribution
	machine      Machine
	// dir holds everything this run writes but the page; it is removed at the end.
	dir string
	// operator is the path of the binary.
	operator string
	// cluster is the one that is being measured in.
	cluster *cluster
}

// part is what can be measured on its own.
type part struct {
	name    string
	measure func(*bench, context.Context) (Part, error)
}

func parts() []part {
	return []part{
		{"size", (*bench).benchSize},
		{"render", (*bench).benchRender},
		{"install", (*bench).benchInstall},
		{"waiting", (*bench).benchWaiting},
		{"pass", (*bench).benchPasses},
		{"drift", (*bench).benchDrift},
		{"ready", (*bench).benchReady},
		{"start", (*bench).benchStart},
	}
}

// Names lists the parts that can be measured.
func Names() []string {
	var names []string
	for _, p := range parts() {
		names = append(names, p.name)
	}
	return names
}

// Run measures and returns where and what. What was measured before an error is returned with it.
func Run(ctx context.Context, options Options) (m Machine, measured []Part, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	b := &bench{options: options, machine: describeMachine()}
	defer func() {
		m = b.machine
		m.Took = time.Since(m.Date)
	}()
	if b.distribution, err = openDistribution(options.Distribution); err != nil {
		return m, nil, err
	}
	if b.dir, err = os.MkdirTemp("", "bench-"); err != nil {
		return m, nil, fmt.Errorf("making a folder for this run: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	if err := b.prepare(ctx); err != nil {
		return m, nil, err
	}
	wanted := slices.DeleteFunc(parts(), func(p part) bool {
		return len(options.Only) > 0 && !slices.Contains(options.Only, p.name)
	})
	for _, p := range wanted {
		b.sayf("measuring: %s", p.name)
		result, err := p.measure(b, ctx)
		if err != nil {
			return m, measured, fmt.Errorf("measuring %q: %w", p.name, err)
		}
		result.Print(options.Progress)
		measured = append(measured, result)
	}
	return m, measured, nil
}

func (b *bench) sayf(format string, args ...any) {
	fmt.Fprintf(b.options.Progress, "bench: "+format+"\n", args...)
}
