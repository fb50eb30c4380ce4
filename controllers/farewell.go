package controllers

import (
	"cmp"
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/apply"
	"github.com/flux-autopilot/flux-operator/pkg/preflight"
)

const (
	// FarewellTimeout bounds the whole farewell. With the time that the manager takes to end it fits into the grace period of the operator's pod.
	FarewellTimeout = 285 * time.Second
	// lastWords is what of it is kept for the end: to find out what is left, and to let the instance go.
	lastWords = 20 * time.Second
	// farewellLook is how long an attempt waits at most before the instance is read anew: the user may have changed what it says meanwhile.
	farewellLook = 15 * time.Second
	// namespaceTimeout bounds the one question that every shutdown asks, and namespacePatience how long it is repeated when it is not answered.
	namespaceTimeout  = 2 * time.Second
	namespacePatience = 8 * time.Second
	// farewellRetry is the delay between two attempts, and between two questions.
	farewellRetry = 2 * time.Second
)

// Farewell is what the operator does last, when its process is told to end. Where its whole namespace is being deleted nobody would come after
// it to release what it holds: the namespace would never go, and neither would Flux's definitions and roles outside of it. Kubernetes ends
// the pods of a namespace before it removes what gives them their rights, so there is the time of a grace period to uninstall Flux. What is not
// done by then is let go of.
type Farewell struct {
	// Client reads from the API server, and not from a cache, which has ended by now.
	Client client.Client
	// Applier changes everything but the instance.
	Applier *apply.Applier
	// Namespace is the operator's own.
	Namespace string
	// Timeout bounds the farewell, and is longer than 20 seconds. Optional, FarewellTimeout by default.
	Timeout time.Duration
}

// Say uninstalls Flux, as the deletion policy says, if the namespace is being deleted, and lets the instance go when there is no more time for it.
// Else it does nothing, after a single request.
func (f *Farewell) Say(ctx context.Context) error {
	limit := cmp.Or(f.Timeout, FarewellTimeout)
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	since, dying := f.deleted(ctx)
	if !dying {
		return nil
	}
	log.FromContext(ctx).Info("the namespace is being deleted: uninstalling Flux", "namespace", f.Namespace, "limit", limit.String())
	r := &FluxInstanceReconciler{
		Client: f.Client, Applier: f.Applier, Recorder: loggedEvents{ctx},
		Facts: preflight.Facts{OperatorNamespace: f.Namespace}, Watchdog: &Watchdog{},
	}
	deadline, _ := ctx.Deadline()
	trying, end := context.WithDeadline(ctx, deadline.Add(-lastWords))
	defer end()
	if repeat(trying, func() error { return f.part(trying, r, since) }) == nil {
		return nil
	}
	told := false
	err := repeat(ctx, func() error {
		u, err := f.uninstall(ctx, r)
		if u == nil || err != nil {
			return err
		}
		if !told {
			told = true
			giveUp(ctx, u)
		}
		return r.letGo(ctx, u.instance)
	})
	if err != nil {
		return fmt.Errorf("uninstalling Flux while namespace %q is being deleted: %w", f.Namespace, err)
	}
	return nil
}

// repeat does something until it succeeds, or until there is no time for it any more.
func repeat(ctx context.Context, do func() error) error {
	for {
		err := do()
		if err == nil {
			return nil
		}
		log.FromContext(ctx).Error(err, "uninstalling Flux while its namespace is being deleted")
		select {
		case <-ctx.Done():
			return err
		case <-time.After(farewellRetry):
		}
	}
}

// deleted tells since when the namespace is being deleted, if it is. An answer that does not come at once is waited for a little: nobody asks again.
func (f *Farewell) deleted(ctx context.Context) (since time.Time, dying bool) {
	patience, cancel := context.WithTimeout(ctx, namespacePatience)
	defer cancel()
	namespace := &corev1.Namespace{}
	for {
		err := f.ask(patience, namespace)
		if err == nil {
			break
		}
		log.FromContext(ctx).Error(err, "asking whether the namespace is being deleted", "namespace", f.Namespace)
		if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
			return time.Time{}, false
		}
		select {
		case <-patience.Done():
			return time.Time{}, false
		case <-time.After(farewellRetry):
		}
	}
	if namespace.DeletionTimestamp == nil {
		return time.Time{}, false
	}
	return namespace.DeletionTimestamp.Time, true
}

// ask reads the namespace.
func (f *Farewell) ask(ctx context.Context, namespace *corev1.Namespace) error {
	ctx, cancel := context.WithTimeout(ctx, namespaceTimeout)
	defer cancel()
	return f.Client.Get(ctx, client.ObjectKey{Name: f.Namespace}, namespace)
}

// part is one attempt to uninstall and to let the instance go. The instance itself need not be deleted yet: its namespace takes it along.
func (f *Farewell) part(ctx context.Context, r *FluxInstanceReconciler, since time.Time) error {
	u, err := f.uninstall(ctx, r)
	if u == nil || err != nil {
		return err
	}
	if err := u.within(ctx, since); err != nil {
		_ = u.report(ctx, err) // where this cannot be said in the status, it is in the log
		return err
	}
	return r.letGo(ctx, u.instance)
}

// uninstall begins with the instance as it is now. It returns nil where there is none that is kept.
func (f *Farewell) uninstall(ctx context.Context, r *FluxInstanceReconciler) (*uninstall, error) {
	instance := &v1.FluxInstance{}
	err := f.Client.Get(ctx, client.ObjectKey{Namespace: f.Namespace, Name: v1.DefaultInstanceName}, instance)
	if apierrors.IsNotFound(err) || err == nil && !controllerutil.ContainsFinalizer(instance, v1.Finalizer) {
		return nil, nil //nolint:nilnil // there is nothing to do, and nothing went wrong
	}
	if err != nil {
		return nil, fmt.Errorf("reading the FluxInstance: %w", err)
	}
	u := r.newUninstall(instance, r.Watchdog.Enter(FarewellTimeout))
	u.dying, u.patience = f.Namespace, farewellLook
	return u, nil
}

// giveUp does the least that can be done for a namespace that goes, and tells what is left. Nothing that is left keeps the namespace because of us:
// what others hold goes when they let go of it, and the definition with it.
func giveUp(ctx context.Context, u *uninstall) {
	if err := u.read(); err != nil {
		log.FromContext(ctx).Error(err, "looking at what is left")
		return
	}
	releasing, cancel := context.WithTimeout(ctx, lastWords/4)
	defer cancel()
	if err := u.releaseDying(releasing); err != nil {
		log.FromContext(ctx).Error(err, "releasing what is in the namespace")
	}
	u.abandon(ctx, "the grace period of the operator, whose namespace is being deleted,")
}

// loggedEvents writes events to the log: none can be created in a namespace that is being deleted.
type loggedEvents struct {
	ctx context.Context //nolint:containedctx // carries the logger through an interface that has no context
}

// Event implements record.EventRecorder.
func (l loggedEvents) Event(_ runtime.Object, kind, reason, message string) {
	log.FromContext(l.ctx).Info(message, "type", kind, "reason", reason)
}

// Eventf implements record.EventRecorder.
func (l loggedEvents) Eventf(object runtime.Object, kind, reason, format string, args ...any) {
	l.Event(object, kind, reason, fmt.Sprintf(format, args...))
}

// AnnotatedEventf implements record.EventRecorder.
func (l loggedEvents) AnnotatedEventf(object runtime.Object, _ map[string]string, kind, reason, format string, args ...any) { //nolint:revive // the interface wants that many
	l.Event(object, kind, reason, fmt.Sprintf(format, args...))
}

var _ record.EventRecorder = loggedEvents{}
