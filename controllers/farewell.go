package controllers

import (
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
	// namespaceTimeout bounds the one question that every shutdown asks.
	namespaceTimeout = 2 * time.Second
	// farewellRetry is the delay between two attempts.
	farewellRetry = 2 * time.Second
)

// Farewell is what the operator does last, when its process is told to end. Where its whole namespace is being deleted nobody would come after
// it to release what it holds: the namespace would never go, and neither would Flux's definitions and roles outside of it. Kubernetes ends
// the pods of a namespace before it removes what gives them their rights, so there is the time of a grace period to uninstall Flux.
type Farewell struct {
	// Client reads from the API server, and not from a cache, which has ended by now.
	Client client.Client
	// Applier changes everything but the instance.
	Applier *apply.Applier
	// Namespace is the operator's own.
	Namespace string
}

// Say uninstalls Flux, as the deletion policy says, if the namespace is being deleted. Else it does nothing, after a single request.
func (f *Farewell) Say(ctx context.Context) error {
	since, dying := f.deleted(ctx)
	if !dying {
		return nil
	}
	log.FromContext(ctx).Info("the namespace is being deleted: uninstalling Flux", "namespace", f.Namespace, "limit", FarewellTimeout.String())
	ctx, cancel := context.WithTimeout(ctx, FarewellTimeout)
	defer cancel()
	for {
		err := f.part(ctx, since)
		if err == nil {
			return nil
		}
		log.FromContext(ctx).Error(err, "uninstalling Flux while its namespace is being deleted")
		select {
		case <-ctx.Done():
			return fmt.Errorf("uninstalling Flux while namespace %q is being deleted: %w", f.Namespace, err)
		case <-time.After(farewellRetry):
		}
	}
}

// deleted tells since when the namespace is being deleted, if it is.
func (f *Farewell) deleted(ctx context.Context) (since time.Time, dying bool) {
	ctx, cancel := context.WithTimeout(ctx, namespaceTimeout)
	defer cancel()
	namespace := &corev1.Namespace{}
	if err := f.Client.Get(ctx, client.ObjectKey{Name: f.Namespace}, namespace); err != nil {
		log.FromContext(ctx).Error(err, "asking whether the namespace is being deleted", "namespace", f.Namespace)
		return time.Time{}, false
	}
	if namespace.DeletionTimestamp == nil {
		return time.Time{}, false
	}
	return namespace.DeletionTimestamp.Time, true
}

// part is one attempt to uninstall and to let the instance go. The instance itself need not be deleted yet: its namespace takes it along.
func (f *Farewell) part(ctx context.Context, since time.Time) error {
	instance := &v1.FluxInstance{}
	err := f.Client.Get(ctx, client.ObjectKey{Namespace: f.Namespace, Name: v1.DefaultInstanceName}, instance)
	if apierrors.IsNotFound(err) || err == nil && !controllerutil.ContainsFinalizer(instance, v1.Finalizer) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the FluxInstance: %w", err)
	}
	r := &FluxInstanceReconciler{
		Client: f.Client, Applier: f.Applier, Recorder: loggedEvents{ctx},
		Facts: preflight.Facts{OperatorNamespace: f.Namespace}, Watchdog: &Watchdog{},
	}
	u := r.newUninstall(instance, r.Watchdog.Enter(FarewellTimeout))
	u.dying = f.Namespace
	if err := u.within(ctx, since); err != nil {
		_ = u.report(ctx, err) // where this cannot be said in the status, it is in the log
		return err
	}
	return r.letGo(ctx, instance)
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
