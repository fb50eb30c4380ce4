package controllers

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/fluxcd/pkg/apis/meta"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

var errBoom = errors.New("boom")

func TestAsFailure(t *testing.T) {
	cases := map[string]struct {
		err     error
		reason  string
		stalled bool
	}{
		"retry":            {retry(v1.ReasonPruneFailed, errBoom), v1.ReasonPruneFailed, false},
		"stall":            {stall(v1.ReasonBuildFailed, errBoom), v1.ReasonBuildFailed, true},
		"wrapped":          {fmt.Errorf("on the way: %w", stall(v1.ReasonBuildFailed, errBoom)), v1.ReasonBuildFailed, true},
		"without a reason": {errBoom, v1.ReasonReconciliationFailed, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			f := asFailure(c.err)
			if f.reason != c.reason || f.stalled != c.stalled {
				t.Errorf("got %s stalled %t, want %s stalled %t", f.reason, f.stalled, c.reason, c.stalled)
			}
			if !errors.Is(f, errBoom) {
				t.Error("the cause is lost")
			}
		})
	}
	if retry(v1.ReasonPruneFailed, nil) != nil || stall(v1.ReasonBuildFailed, nil) != nil {
		t.Error("no error must stay no error")
	}
}

func TestConditions(t *testing.T) {
	instance := &v1.FluxInstance{ObjectMeta: metav1.ObjectMeta{Generation: 3}}
	status := func(kind string) string {
		condition := apimeta.FindStatusCondition(instance.Status.Conditions, kind)
		if condition == nil {
			return "absent"
		}
		if condition.ObservedGeneration != 3 {
			t.Errorf("%s observed generation %d", kind, condition.ObservedGeneration)
		}
		return string(condition.Status) + " " + condition.Reason
	}
	expect := func(step, ready, reconciling, stalled string) {
		t.Helper()
		got := [3]string{status(meta.ReadyCondition), status(meta.ReconcilingCondition), status(meta.StalledCondition)}
		if want := [3]string{ready, reconciling, stalled}; got != want {
			t.Errorf("%s: got %q, want %q", step, got, want)
		}
	}
	progress(instance, v1.ReasonProgressing, "working")
	expect("progress", "Unknown Progressing", "True Progressing", "absent")
	fail(instance, asFailure(retry(v1.ReasonHealthCheckFailed, errBoom)))
	expect("retried failure", "False HealthCheckFailed", "True ProgressingWithRetry", "absent")
	fail(instance, asFailure(stall(v1.ReasonBuildFailed, errBoom)))
	expect("stalled failure", "False BuildFailed", "absent", "True BuildFailed")
	succeed(instance, v1.ReasonReconciliationSucceeded, "done")
	expect("success", "True ReconciliationSucceeded", "absent", "absent")
}

func TestTruncate(t *testing.T) {
	long := strings.Repeat("é", 100)
	for limit := 10; limit < 30; limit++ {
		short := truncate(long, limit)
		if len(short) > limit || !utf8.ValidString(short) || !strings.HasSuffix(short, "…") {
			t.Errorf("limit %d: %q", limit, short)
		}
	}
	if truncate("short", 10) != "short" {
		t.Error("a short message must stay as it is")
	}
}

func TestWatchdog(t *testing.T) {
	watchdog := &Watchdog{}
	if err := watchdog.Check(nil); err != nil {
		t.Errorf("idle: %v", err)
	}
	running := watchdog.Enter(time.Hour)
	stuck := watchdog.Enter(-time.Minute)
	if err := watchdog.Check(nil); err == nil {
		t.Error("a pass beyond its limit goes unnoticed")
	}
	stuck.Leave()
	if err := watchdog.Check(nil); err != nil {
		t.Errorf("within the limit: %v", err)
	}
	running.Leave()
	late := watchdog.Enter(-time.Minute)
	late.limit = time.Hour
	late.Renew()
	if err := watchdog.Check(nil); err != nil {
		t.Errorf("renewed: %v", err)
	}
	late.Leave()
}

func TestInterrupts(t *testing.T) {
	var i interrupts
	key := client.ObjectKey{Namespace: "flux-system", Name: "flux"}
	i.fire(key, errSuperseded) // at nobody
	waiting, end := i.begin(context.Background(), key)
	i.fire(client.ObjectKey{Namespace: "flux-system", Name: "other"}, errSuperseded)
	if waiting.Err() != nil {
		t.Fatal("interrupted by another object")
	}
	i.fire(key, errSuperseded)
	if !errors.Is(context.Cause(waiting), errSuperseded) {
		t.Errorf("cause is %v", context.Cause(waiting))
	}
	end()
	if len(i.running) != 0 {
		t.Error("an ended wait is still registered")
	}
	i.fire(key, errDrifted) // while nobody waits
	waiting, end = i.begin(context.Background(), key)
	if !errors.Is(context.Cause(waiting), errDrifted) {
		t.Errorf("drift before the wait is lost, cause is %v", context.Cause(waiting))
	}
	end()
	waiting, end = i.begin(context.Background(), key)
	if waiting.Err() != nil {
		t.Error("the same drift is told twice")
	}
	end()
}

func TestWritten(t *testing.T) {
	instance := &v1.FluxInstance{}
	instance.UID, instance.ResourceVersion = "a", "99"
	for reason, tt := range map[string]struct {
		last written
		want bool
	}{
		"nothing written yet":  {written{}, false},
		"what was written":     {written{"a", "99"}, false},
		"changed since":        {written{"a", "98"}, false},
		"not seen yet":         {written{"a", "100"}, true},
		"another instance":     {written{"b", "100"}, false},
		"no number to compare": {written{"a", "x"}, false},
	} {
		if got := tt.last.isNewerThan(instance); got != tt.want {
			t.Errorf("%s: %t", reason, got)
		}
	}
}
