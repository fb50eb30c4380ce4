package controllers

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/apply"
)

// uninstallRetry is the delay between two attempts of an uninstall. It does not grow: what keeps one goes away by somebody's hand, and that
// somebody waits for the end.
const uninstallRetry = 5 * time.Second

// finalize removes what the instance installed and then lets the instance go. The finalizer stays until everything is done.
// A disabled instance is let go at once and leaves Flux running: the documented way to part with the operator.
func (r *FluxInstanceReconciler) finalize(ctx context.Context, instance *v1.FluxInstance, watched *Watched) (ctrl.Result, error) {
	if !controllerutil.ContainsFinalizer(instance, v1.Finalizer) {
		return ctrl.Result{}, nil
	}
	r.last = nil
	// From here on drift is wanted.
	if err := r.owned.follow(ctx, nil); err != nil {
		return ctrl.Result{}, err
	}
	if instance.IsDisabled() {
		return ctrl.Result{}, r.letGo(ctx, instance)
	}
	// A change of the instance, of its policy or its annotations, begins the attempt anew.
	attempt, end := r.interrupts.begin(ctx, client.ObjectKeyFromObject(instance))
	defer end()
	u := r.newUninstall(instance, watched)
	err := u.within(attempt, instance.DeletionTimestamp.Time)
	switch {
	case err == nil:
		return ctrl.Result{}, r.letGo(ctx, instance)
	case ctx.Err() != nil:
		return ctrl.Result{}, ctx.Err()
	case attempt.Err() != nil:
		return ctrl.Result{RequeueAfter: time.Millisecond}, nil
	}
	return ctrl.Result{RequeueAfter: uninstallRetry}, u.report(ctx, err)
}

// letGo removes the operator's finalizer.
func (r *FluxInstanceReconciler) letGo(ctx context.Context, instance *v1.FluxInstance) error {
	controllerutil.RemoveFinalizer(instance, v1.Finalizer)
	r.upgrades.forget()
	return client.IgnoreNotFound(r.saveFinalizers(ctx, instance))
}

// uninstallLimit is the time that the user gives an uninstall; 0 means that it may take for ever. An annotation that is no time is an error.
func uninstallLimit(instance *v1.FluxInstance) (time.Duration, error) {
	said, ok := instance.Annotations[v1.UninstallTimeoutAnnotation]
	if limit := instance.UninstallTimeout(); !ok || limit > 0 {
		return limit, nil
	}
	return 0, fmt.Errorf("the annotation %s is %q, which is not a duration above zero such as 30m, and has no effect", v1.UninstallTimeoutAnnotation, said)
}

// leastTry is for how long a process tries to uninstall at least, unless the user gives an uninstall less: the time may have been over before
// the operator came to it, and nothing would be removed at all.
const leastTry = time.Minute

// tried is since when this process tries to remove an instance.
type tried struct {
	instance types.UID
	since    time.Time
}

// by notes the first attempt at an instance, and returns when it began.
func (t *tried) by(instance *v1.FluxInstance) time.Time {
	if t.instance != instance.UID || t.since.IsZero() {
		*t = tried{instance.UID, time.Now()}
	}
	return t.since
}

// uninstallDeadline is when the time is over that the user gives an uninstall, which this process tries since a while.
func uninstallDeadline(deleted, tried time.Time, limit time.Duration) time.Time {
	deadline, least := deleted.Add(limit), tried.Add(min(limit, leastTry))
	if least.After(deadline) {
		return least
	}
	return deadline
}

// held are objects that somebody else's finalizers keep.
type held struct {
	first []apply.Remaining
	total int
}

// leftError says what is left of an uninstall, and who keeps it.
type leftError struct {
	remaining *apply.RemainingError
	held      held
}

// Error names the objects that remain, then those that keep them.
func (e *leftError) Error() string {
	var parts []string
	if e.remaining != nil {
		parts = append(parts, e.remaining.Error())
	}
	if e.held.total > 0 {
		var names []string
		for _, object := range e.held.first {
			names = append(names, fmt.Sprintf("%s (%s)", object.Object, strings.Join(object.Finalizers, ", ")))
		}
		if more := e.held.total - len(names); more > 0 {
			names = append(names, fmt.Sprintf("and %d more", more))
		}
		parts = append(parts, fmt.Sprintf("Flux objects are kept by finalizers that only their owners may remove, %d: %s", e.held.total, strings.Join(names, "; ")))
	}
	return strings.Join(parts, "; ")
}

// says tells whether the instance is Ready or not for that reason.
func says(instance *v1.FluxInstance, reason string) bool {
	ready := apimeta.FindStatusCondition(instance.Status.Conditions, meta.ReadyCondition)
	return ready != nil && ready.Reason == reason
}

// readyMessage is why the instance is Ready or not, in words.
func readyMessage(instance *v1.FluxInstance) string {
	ready := apimeta.FindStatusCondition(instance.Status.Conditions, meta.ReadyCondition)
	if ready == nil {
		return ""
	}
	return ready.Reason + ": " + ready.Message
}

// oneLine joins the lines of an error.
func oneLine(text string) string {
	return strings.ReplaceAll(text, "\n", "; ")
}
