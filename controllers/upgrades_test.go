package controllers

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/version"
)

func revision(t *testing.T, text string) version.Revision {
	t.Helper()
	found, err := version.ParseRevision(text)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// digest is one of many.
func digest(mark string) string { return "@sha256:" + strings.Repeat(mark, 64) }

// observed is how many upgrades were measured.
func observed(t *testing.T, action, outcome string) uint64 {
	t.Helper()
	var found dto.Metric
	if err := upgradeDuration.WithLabelValues(action, outcome).(prometheus.Metric).Write(&found); err != nil {
		t.Fatal(err)
	}
	return found.GetHistogram().GetSampleCount()
}

func TestUpgradesAreMeasured(t *testing.T) {
	old, other, next := "v2.8.8"+digest("a"), "v2.8.8"+digest("b"), "v2.9.4"+digest("c")
	cases := map[string]struct {
		from, to, action, outcome string
		err                       error
		success                   float64
	}{
		"install":         {"", next, actionInstall, outcomeSuccess, nil, 1},
		"upgrade":         {old, next, actionUpgrade, outcomeSuccess, nil, 1},
		"reconfigure":     {old, other, actionReconfigure, outcomeSuccess, nil, 1},
		"failed upgrade":  {old, next, actionUpgrade, outcomeFailure, retry(v1.ReasonHealthCheckFailed, errBoom), 0},
		"overtaken":       {old, next, actionUpgrade, outcomeCanceled, retry(v1.ReasonHealthCheckCanceled, errSuperseded), -1},
		"nothing changed": {old, old, "", "", nil, -1},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var told upgrades
			told.forget()
			run := &attempt{started: time.Now()}
			run.revision = revision(t, c.to)
			if c.from != "" {
				run.previous = revision(t, c.from)
			}
			var before uint64
			if c.action != "" {
				before = observed(t, c.action, c.outcome)
			}
			told.note(&v1.FluxInstance{}, run, c.err)
			if c.action != "" && observed(t, c.action, c.outcome) != before+1 {
				t.Error("its duration was not measured")
			}
			if series := testutil.CollectAndCount(lastUpgradeSuccess); c.success < 0 {
				if series != 0 {
					t.Error("it is told as the last upgrade")
				}
				return
			}
			if got := testutil.ToFloat64(lastUpgradeSuccess.WithLabelValues()); got != c.success {
				t.Errorf("success is %v", got)
			}
			if at := testutil.ToFloat64(lastUpgrade.WithLabelValues(c.outcome)); time.Since(time.Unix(int64(at), 0)) > time.Minute {
				t.Errorf("it is told to have been at %v", at)
			}
		})
	}
}

func TestUpgradesOfEarlierProcessesAreRecalled(t *testing.T) {
	var told upgrades
	told.forget()
	at := time.Now().Add(-time.Hour).Truncate(time.Second)
	instance := &v1.FluxInstance{}
	instance.Status.History.Upsert("sha256:aa", at, time.Second, v1.ReasonReconciliationSucceeded, nil)
	same := &attempt{revision: revision(t, "v2.8.8"+digest("a")), previous: revision(t, "v2.8.8"+digest("a"))}
	told.note(instance, same, nil)
	if got := testutil.ToFloat64(lastUpgrade.WithLabelValues(outcomeSuccess)); got != float64(at.Unix()) {
		t.Errorf("the last upgrade is told to have been at %v, want %d", got, at.Unix())
	}
	failed := &attempt{started: time.Now(), revision: revision(t, "v2.9.4"+digest("b")), previous: same.previous}
	told.note(instance, failed, errors.New("no image"))
	told.note(instance, same, nil)
	if got := testutil.ToFloat64(lastUpgradeSuccess.WithLabelValues()); got != 0 {
		t.Error("the history has the last word over what this process saw itself")
	}
}
