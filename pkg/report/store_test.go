package report

import (
	"errors"
	"testing"
	"time"
)

func TestFailuresAreToldInTime(t *testing.T) {
	t.Parallel()
	now := time.Now()
	failing := func(ago time.Duration) Health { return Health{Observed: true, Failing: now.Add(-ago), Problem: "x"} }
	for name, c := range map[string]struct {
		definitions Health
		kinds       []Health
		want        time.Duration
	}{
		"all is well":       {Health{Observed: true}, []Health{{Observed: true}}, 0},
		"told already":      {Health{Observed: true}, []Health{failing(patience)}, 0},
		"never read":        {Health{Observed: true}, []Health{{Failing: now, Problem: "x"}}, 0},
		"the first of many": {failing(3 * time.Second), []Health{failing(patience), failing(4 * time.Second), failing(2 * time.Second)}, patience - 4*time.Second},
		"definitions alone": {failing(3 * time.Second), []Health{{Observed: true}}, patience - 3*time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			snapshot := &Snapshot{Definitions: c.definitions}
			for _, health := range c.kinds {
				snapshot.Kinds = append(snapshot.Kinds, Kind{Health: health})
			}
			left := snapshot.Untold(now)
			if left != c.want {
				t.Errorf("got %s, want %s", left, c.want)
			}
			if again := snapshot.Untold(now.Add(left)); left > 0 && again == left {
				t.Errorf("nothing is told after %s", left)
			}
		})
	}
}

func TestHealthKeepsWhenItBegan(t *testing.T) {
	t.Parallel()
	first := Health{Observed: true}.with(errors.New("one"))
	second := first.with(errors.New("two"))
	if second.Failing.IsZero() || !second.Failing.Equal(first.Failing) || second.Problem != "two" {
		t.Errorf("got %+v after %+v", second, first)
	}
	if healed := second.with(nil); healed != (Health{Observed: true}) {
		t.Errorf("got %+v", healed)
	}
}
