package controllers

import (
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flux-autopilot/flux-operator/pkg/apply"
)

var (
	noon    = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	fought  = apply.ID{Group: "apps", Kind: "Deployment", Namespace: "flux-system", Name: "source-controller"}
	cooling = coolDown{first: 5 * time.Minute, longest: 12 * time.Minute}
	rival   = []apply.Contender{{Manager: "rival", Fields: []string{".metadata.labels.x"}}}
)

// changed lets somebody change the object and the operator do what it does then; it tells whether the object was put back.
func changed(t *testing.T, c *contests, at time.Time) (putBack, begins bool) {
	t.Helper()
	if c.leaves(fought, at) {
		return false, false
	}
	putBack, begins = c.judge(fought, rival, at, cooling)
	if putBack {
		c.corrected(fought, at)
	}
	c.advance(at, cooling)
	return putBack, begins
}

// contest changes the object until it is contested and returns when.
func contestAt(t *testing.T, c *contests, at time.Time) time.Time {
	t.Helper()
	for i := range maxCorrections {
		if putBack, begins := changed(t, c, at); !putBack || begins {
			t.Fatalf("change %d: put back %v, contested %v", i, putBack, begins)
		}
		at = at.Add(time.Minute)
	}
	if putBack, begins := changed(t, c, at); putBack || !begins {
		t.Fatalf("put back %v, contested %v", putBack, begins)
	}
	return at
}

func TestContestIsFoughtLessAndLess(t *testing.T) {
	c := &contests{}
	at := contestAt(t, c, noon)
	corrections := maxCorrections
	for _, alone := range []time.Duration{5 * time.Minute, 10 * time.Minute, 12 * time.Minute, 12 * time.Minute} {
		if got := c.next(at, time.Hour); got != alone {
			t.Fatalf("left alone for %s, want %s", got, alone)
		}
		end := at.Add(alone)
		for ; at.Before(end); at = at.Add(time.Second) {
			if putBack, _ := changed(t, c, at); putBack {
				t.Fatalf("put back %s before the end", end.Sub(at))
			}
		}
		if putBack, begins := changed(t, c, at); !putBack || begins {
			t.Fatal("a try after the cool-down, which is no new contest")
		}
		corrections++
		at = at.Add(time.Second)
		if putBack, begins := changed(t, c, at); putBack || begins {
			t.Fatal("changed after the try: left alone again, without a new contest")
		}
	}
	if diff := cmp.Diff(map[apply.ID][]apply.Contender{fought: rival}, c.contested()); diff != "" {
		t.Error(diff)
	}
	if corrections != maxCorrections+4 {
		t.Errorf("%d corrections", corrections)
	}
}

func TestContestEndsWhenATryHolds(t *testing.T) {
	for name, drifted := range map[string]bool{"put back": true, "found as it should be": false} {
		t.Run(name, func(t *testing.T) {
			c := &contests{}
			at := contestAt(t, c, noon).Add(cooling.first)
			if drifted {
				changed(t, c, at)
			}
			c.advance(at, cooling)
			if got := c.next(at, time.Hour); got != cooling.first {
				t.Fatalf("on trial for %s", got)
			}
			at = at.Add(cooling.first)
			if got := c.next(at, time.Hour); got != 0 {
				t.Fatalf("the trial is over in %s", got)
			}
			c.advance(at, cooling)
			if len(c.contested()) != 0 {
				t.Fatal("still contested")
			}
			contestAt(t, c, at.Add(time.Second))
		})
	}
}

func TestRareChangesAreNoContest(t *testing.T) {
	c, at := &contests{}, noon
	for range 100 {
		if putBack, begins := changed(t, c, at); !putBack || begins {
			t.Fatalf("put back %v, contested %v", putBack, begins)
		}
		at = at.Add(contestWindow / maxCorrections)
	}
	c.advance(at.Add(contestWindow), cooling)
	if len(c.objects) != 0 {
		t.Error("what does not count any more is remembered")
	}
}

func TestContestsOfSomethingElseAreForgotten(t *testing.T) {
	c := &contests{}
	wanted := scope{generation: 1}
	c.enter(wanted)
	at := contestAt(t, c, noon)
	c.enter(wanted)
	if !c.leaves(fought, at) {
		t.Fatal("the same pass again ends nothing")
	}
	wanted.requestedAt = "now"
	c.enter(wanted)
	if c.leaves(fought, at) || len(c.contested()) != 0 {
		t.Fatal("somebody asked for another pass")
	}
	if putBack, _ := changed(t, c, at); !putBack {
		t.Fatal("not put back")
	}
}

func TestWhoContestsStaysKnown(t *testing.T) {
	c := &contests{}
	at := contestAt(t, c, noon).Add(cooling.first)
	changed(t, c, at)
	c.judge(fought, nil, at.Add(time.Second), cooling)
	if diff := cmp.Diff(rival, c.contested()[fought]); diff != "" {
		t.Error(diff)
	}
}

func TestContestsRememberNoMoreThanTheyNeed(t *testing.T) {
	c := &contests{}
	for i := range 1000 {
		c.corrected(apply.ID{Kind: "ConfigMap", Name: strconv.Itoa(i % 10)}, noon)
	}
	for id, o := range c.objects {
		if len(o.corrected) != maxCorrections {
			t.Errorf("%s: %d times", id, len(o.corrected))
		}
	}
	if len(c.objects) != 10 {
		t.Errorf("%d objects", len(c.objects))
	}
}
