package process

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

func newGroup(t *testing.T) *Group {
	t.Helper()
	g, err := NewGroup(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close(context.Background()) })
	return g
}

func start(t *testing.T, g *Group, name, script string) {
	t.Helper()
	if err := g.Start(Spec{Name: name, Path: "/bin/sh", Args: []string{"-c", script}, Env: []string{"WORD=said"}}); err != nil {
		t.Fatal(err)
	}
}

func TestAwait(t *testing.T) {
	for _, tc := range []struct {
		reason, script string
		check          error
		within         time.Duration
		want           string
	}{
		{"the condition holds", "exec sleep 60", nil, time.Minute, ""},
		{"the program ends", "echo $WORD why; exit 4", errors.New("not yet"), time.Minute, "exit status 4: said why"},
		{"time is over", "exec sleep 60", errors.New("not yet"), 2 * time.Second, "deadline exceeded: not yet"},
	} {
		g := newGroup(t)
		start(t, g, "program", tc.script)
		ctx, cancel := context.WithTimeout(t.Context(), tc.within)
		err := g.Await(ctx, "something", func(context.Context) error { return tc.check })
		cancel()
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v", tc.reason, err)
		}
	}
}

func TestCloseStopsInReverseOrder(t *testing.T) {
	g := newGroup(t)
	order := t.TempDir() + "/order"
	for _, name := range []string{"first", "second"} {
		start(t, g, name, "trap 'echo "+name+" >> "+order+"; exit 0' TERM; echo ready; while :; do sleep 0.05; done")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		err := g.Await(ctx, "the trap to be set", func(context.Context) error {
			if !strings.Contains(tail(g.Log(name)), "ready") {
				return errors.New("not yet")
			}
			return nil
		})
		cancel()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	g.Close(ctx)
	if data, err := os.ReadFile(order); err != nil || string(data) != "second\nfirst\n" {
		t.Errorf("the programs ended as %q (%v)", data, err)
	}
	if err := g.Start(Spec{Name: "late", Path: "/bin/true"}); err == nil {
		t.Error("a closed group started a program")
	}
}

func TestCloseKillsWhatDoesNotListen(t *testing.T) {
	g := newGroup(t)
	start(t, g, "deaf", "trap '' TERM; while :; do sleep 0.05; done")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	g.Close(ctx)
	if states := g.States(); len(states) != 0 {
		t.Errorf("left are %v", states)
	}
}

func TestStates(t *testing.T) {
	g := newGroup(t)
	start(t, g, "stays", "exec sleep 60")
	if states := g.States(); len(states) != 1 || states[0].Name != "stays" || states[0].PID == 0 || states[0].Exit != "" {
		t.Errorf("got %+v", states)
	}
	if err := g.Start(Spec{Name: "missing", Path: "/no/such/program"}); err == nil {
		t.Error("a missing program was started")
	}
}
