// Package process starts the programs of a testbed, keeps their output in log files and stops them in reverse order.
package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// pollInterval is how often a condition is asked again: short against the seconds a component needs to start.
	pollInterval = 100 * time.Millisecond
	// logTailBytes is how much of a log an error message repeats.
	logTailBytes = 3000
)

// Spec says what to run.
type Spec struct {
	// Name is what logs and messages call the program; unique within a group.
	Name string
	// Path is the program's file.
	Path string
	// Args are its arguments without the program's name.
	Args []string
	// Env holds additions to the environment, as KEY=value.
	Env []string
}

// State is what is known of one program.
type State struct {
	Name string `json:"name"`
	PID  int    `json:"pid"`
	// Exit is empty while the program runs, then it says how the program ended.
	Exit string `json:"exit,omitempty"`
}

// running is one started program.
type running struct {
	name string
	cmd  *exec.Cmd
	log  string
	// done is closed when the program has ended; only then may err be read.
	done chan struct{}
	err  error
}

// Group is a set of programs that belong together. Close must be called, also when a start failed.
type Group struct {
	logs   string
	starts chan func()
	closed chan struct{}
	once   sync.Once

	mu      sync.Mutex
	members []*running
}

// NewGroup makes a group whose programs write to <logs>/<name>.log; the folder is created when it is missing.
func NewGroup(logs string) (*Group, error) {
	if err := os.MkdirAll(logs, 0o755); err != nil {
		return nil, fmt.Errorf("making log folder: %w", err)
	}
	g := &Group{logs: logs, starts: make(chan func()), closed: make(chan struct{})}
	go g.serveStarts()
	return g, nil
}

// serveStarts starts all programs from one thread that lives as long as the group: on Linux they are told to end with
// their parent, and the kernel takes the thread that started them for the parent.
func (g *Group) serveStarts() {
	runtime.LockOSThread()
	for {
		select {
		case start := <-g.starts:
			start()
		case <-g.closed:
			return
		}
	}
}

// Start runs a program in the background. Its log of an earlier run is replaced.
func (g *Group) Start(s Spec) error {
	path := g.Log(s.Name)
	log, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("starting %q: %w", s.Name, err)
	}
	defer log.Close()
	cmd := exec.Command(s.Path, s.Args...) //nolint:noctx // its end belongs to the group, not to whoever started it
	cmd.Env = append(os.Environ(), s.Env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = attributes()
	if err := g.launch(cmd); err != nil {
		return fmt.Errorf("starting %q: %w", s.Name, err)
	}
	r := &running{name: s.Name, cmd: cmd, log: path, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.err = cmd.Wait()
	}()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.members = append(g.members, r)
	return nil
}

// launch has the command started by the group's own thread.
func (g *Group) launch(cmd *exec.Cmd) error {
	result := make(chan error, 1)
	select {
	case g.starts <- func() { result <- cmd.Start() }:
		return <-result
	case <-g.closed:
		return errors.New("its group is closed")
	}
}

// Log returns the path of a program's log.
func (g *Group) Log(name string) string {
	return filepath.Join(g.logs, name+".log")
}

// States lists the programs in the order of their start.
func (g *Group) States() []State {
	var states []State
	for _, r := range g.snapshot() {
		states = append(states, State{Name: r.name, PID: r.cmd.Process.Pid, Exit: r.exit()})
	}
	return states
}

func (g *Group) snapshot() []*running {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.members)
}

// exit says how the program ended, or nothing while it runs.
func (r *running) exit() string {
	select {
	case <-r.done:
	default:
		return ""
	}
	if r.err == nil {
		return "exit status 0"
	}
	return r.err.Error()
}

// Failed returns an error with the end of the log of the first program that has ended, or nil while all run.
func (g *Group) Failed() error {
	for _, r := range g.snapshot() {
		if exit := r.exit(); exit != "" {
			return fmt.Errorf("running %q: it ended with %s: %s", r.name, exit, tail(r.log))
		}
	}
	return nil
}

// Await asks check until it returns nil. It gives up when a program of the group ends or ctx does; the error then says what
// was waited for and what check said last.
func (g *Group) Await(ctx context.Context, what string, check func(context.Context) error) error {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		last := check(ctx)
		if last == nil {
			return nil
		}
		if err := g.Failed(); err != nil {
			return fmt.Errorf("waiting for %s: %w", what, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w: %w", what, ctx.Err(), last)
		case <-ticker.C:
		}
	}
}

// Close stops the programs, the last started first: SIGTERM, then SIGKILL for what has not ended when ctx ends. No program can be
// started afterwards.
func (g *Group) Close(ctx context.Context) {
	members := g.snapshot()
	slices.Reverse(members)
	for _, r := range members {
		r.stop(ctx)
	}
	// The thread that started the programs has to outlive them.
	g.once.Do(func() { close(g.closed) })
	g.mu.Lock()
	defer g.mu.Unlock()
	g.members = nil
}

func (r *running) stop(ctx context.Context) {
	if err := r.cmd.Process.Signal(syscall.SIGTERM); errors.Is(err, os.ErrProcessDone) {
		<-r.done
		return
	}
	select {
	case <-r.done:
		return
	case <-ctx.Done():
	}
	// A process that refuses to be killed is gone already, which done tells.
	_ = r.cmd.Process.Kill()
	<-r.done
}

// tail returns the end of a file, for messages.
func tail(path string) string {
	file, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err.Error()
	}
	data, err := io.ReadAll(io.NewSectionReader(file, max(0, info.Size()-logTailBytes), logTailBytes))
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(data))
}
