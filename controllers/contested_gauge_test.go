package controllers

import (
	"sync"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/metrics"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// contestedSeries counts the series that a scrape sees.
func contestedSeries(t *testing.T) int {
	t.Helper()
	families, err := metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == "flux_operator_contested_objects" {
			return len(family.GetMetric())
		}
	}
	return 0
}

func TestScrapesAlwaysSeeWhatIsContested(t *testing.T) {
	r := &FluxInstanceReconciler{}
	t.Cleanup(func() { r.forgetContests(&v1.FluxInstance{}) })
	r.contests.enter(scope{uid: "1"})
	for range maxCorrections + 1 {
		changed(t, &r.contests, noon)
	}
	r.reportContests(&v1.FluxInstance{})
	done := make(chan struct{})
	var reports sync.WaitGroup
	reports.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				r.reportContests(&v1.FluxInstance{})
			}
		}
	})
	for range 200 {
		if got := contestedSeries(t); got != 1 {
			t.Errorf("a scrape during a report saw %d series, want 1", got)
			break
		}
	}
	close(done)
	reports.Wait()
	r.forgetContests(&v1.FluxInstance{})
	if got := contestedSeries(t); got != 0 {
		t.Errorf("got %d series after the contest, want none", got)
	}
}
