package controllers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/artifact"
)

// ArtifactPoller asks the registry now and then whether the artifact of the instance is still the same, and starts a pass when it is not,
// or when the registry went away or came back. It has its own loop, so that a registry that hangs keeps no pass waiting, and a pass
// that waits for readiness keeps no newer artifact from being noticed. All fields are required unless they say otherwise.
type ArtifactPoller struct {
	// Artifacts is shared with the passes.
	Artifacts *Artifacts
	// Namespace of the instance that is acted upon.
	Namespace string
	// Jitter is the fraction by which intervals are lengthened at random, from 0 to 1. Optional.
	Jitter float64
	// Changed hears of an instance whose artifact changed.
	Changed chan<- event.GenericEvent
}

// SetupWithManager registers the poller.
func (p *ArtifactPoller) SetupWithManager(mgr ctrl.Manager, backoff Backoff) error {
	err := ctrl.NewControllerManagedBy(mgr).
		Named("fluxinstance-artifact").
		WatchesRawSource(&instanceSource{
			cache:   mgr.GetCache(),
			handler: &handler.EnqueueRequestForObject{},
			updates: predicate.Or(predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{}),
		}).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: 1, // there is one artifact to look at
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](backoff.Min, backoff.Max),
		}).
		Complete(reconcile.AsReconciler(mgr.GetClient(), p))
	if err != nil {
		return fmt.Errorf("building the artifact poller: %w", err)
	}
	return nil
}

// Reconcile looks at the registry when the last look is older than the instance's interval, or failed.
func (p *ArtifactPoller) Reconcile(ctx context.Context, instance *v1.FluxInstance) (ctrl.Result, error) {
	if instance.Namespace != p.Namespace {
		return ctrl.Result{}, nil
	}
	if !instance.DeletionTimestamp.IsZero() || instance.IsDisabled() || instance.Spec.Distribution.Artifact == "" {
		artifactChecked.Reset()
		return ctrl.Result{}, nil
	}
	before := p.Artifacts.latest(instance)
	maxAge := instance.ArtifactInterval()
	if before.err != nil {
		maxAge = 0
	}
	ctx, cancel := context.WithTimeout(ctx, instance.ArtifactTimeout())
	defer cancel()
	found := p.Artifacts.look(ctx, instance, maxAge)
	if found.err == nil {
		artifactChecked.WithLabelValues().Set(float64(found.at.Unix()))
	}
	if !found.same(before) {
		p.wake(instance)
	}
	return p.next(instance, found)
}

// wake starts a pass. One that waits to begin already will see what there is to see.
func (p *ArtifactPoller) wake(instance *v1.FluxInstance) {
	select {
	case p.Changed <- event.GenericEvent{Object: instance}:
	default:
	}
}

// next says when to look again: after the interval, when the registry asks to be left alone for longer after that, and after a failure with backoff.
func (p *ArtifactPoller) next(instance *v1.FluxInstance, found look) (ctrl.Result, error) {
	if found.err == nil {
		due := max(time.Until(found.at.Add(instance.ArtifactInterval())), time.Second)
		return ctrl.Result{RequeueAfter: wait.Jitter(due, p.Jitter)}, nil
	}
	if busy, ok := errors.AsType[*artifact.RegistryError](found.err); ok && busy.RetryAfter > 0 {
		return ctrl.Result{RequeueAfter: wait.Jitter(busy.RetryAfter, p.Jitter)}, nil
	}
	return ctrl.Result{}, found.err
}

var _ reconcile.ObjectReconciler[*v1.FluxInstance] = (*ArtifactPoller)(nil)
