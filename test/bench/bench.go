package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"time"
)

const (
	// limit bounds a whole run; a loaded machine needs a third of it.
	limit = 40 * time.Minute
	// apartLimit bounds what is measured in a fresh process.
	apartLimit = 6 * time.Minute
)

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
		{"artifact", (*bench).benchArtifact},
		{"lifecycle", (*bench).benchLifecycle},
		{"insights", (*bench).benchInsights},
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
	b := &bench{options: options}
	if b.machine, err = describeMachine(); err != nil {
		return m, nil, err
	}
	defer func() {
		m = b.machine
		m.Took, m.LoadAfter = time.Since(m.Date), load()
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

// Measure measures one way of doing something in this process, which must be a fresh one: [Run] runs this program again for it, and tells it
// more by its input where more is needed.
func Measure(way, dir string, input io.Reader) (any, error) {
	if slices.Contains(fetchWays(), way) {
		return measureFetch(way, input)
	}
	if way == goPoll {
		return measurePolling(input)
	}
	if isGoing(way) {
		return measureGoing(way, dir, input)
	}
	return measureRender(way, dir)
}

// measureApart measures one way in a fresh process.
func (b *bench) measureApart(ctx context.Context, way string, input, result any) error {
	ctx, cancel := context.WithTimeout(ctx, apartLimit)
	defer cancel()
	told, err := json.Marshal(input)
	if err != nil {
		return fmt.Errorf("telling what to measure of %s: %w", way, err)
	}
	cmd := exec.CommandContext(ctx, b.options.Program, "--measure", way, "--distribution", b.distribution.dir)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(told), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("measuring %s in a fresh process: %w", way, err)
	}
	if err := json.Unmarshal(out, result); err != nil {
		return fmt.Errorf("reading the measurement of %s: %w", way, err)
	}
	return nil
}
