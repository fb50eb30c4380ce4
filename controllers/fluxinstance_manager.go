package controllers

import (
	"context"
	"errors"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/apply"
)

// Backoff bounds the delay between two passes that fail.
type Backoff struct {
	// Min is the delay after the first failure; it doubles with each further one.
	Min time.Duration
	// Max is the longest delay.
	Max time.Duration
}

// SetupWithManager registers the controller, its watch of FluxInstances in all namespaces, and the metadata cache of owned objects.
func (r *FluxInstanceReconciler) SetupWithManager(mgr ctrl.Manager, backoff Backoff) error {
	ownedCache, err := newOwnedCache(mgr, r.Facts.OperatorNamespace)
	if err != nil {
		return fmt.Errorf("making the cache of owned objects: %w", err)
	}
	if err := mgr.Add(ownedCache); err != nil {
		return fmt.Errorf("adding the cache of owned objects: %w", err)
	}
	c, err := ctrl.NewControllerManagedBy(mgr).
		Named("fluxinstance").
		WatchesRawSource(&instanceSource{
			cache:   mgr.GetCache(),
			handler: r.interrupts.handler(),
			updates: predicate.Or(predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{}),
		}).
		WatchesRawSource(source.Channel(r.ArtifactChanged, r.artifactHandler())).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: 1, // there is one instance to act upon
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](backoff.Min, backoff.Max),
		}).
		Build(reconcile.AsReconciler(mgr.GetClient(), r))
	if err != nil {
		return fmt.Errorf("building the FluxInstance controller: %w", err)
	}
	instance := client.ObjectKey{Namespace: r.Facts.OperatorNamespace, Name: v1.DefaultInstanceName}
	if err := errors.Join(r.followAuthorities(mgr, c, instance), r.followServer(c, instance)); err != nil {
		return err
	}
	r.owned = ownedObjects{cache: ownedCache, start: func(kind *metav1.PartialObjectMetadata) error {
		// What happened to objects between being applied and being watched shows in the first list alone: the next wait looks at it first.
		r.interrupts.fire(instance, errDrifted)
		return c.Watch(source.Kind[client.Object](ownedCache, kind, r.ownedHandler(instance, kind.GroupVersionKind()), driftOnly()))
	}}
	return nil
}

// artifactHandler enqueues the instance whose artifact changed, and ends a wait for what came from the artifact before. A registry that
// went away ends no wait: there is nothing else to wait for.
func (r *FluxInstanceReconciler) artifactHandler() handler.EventHandler {
	enqueue := &handler.EnqueueRequestForObject{}
	return handler.Funcs{GenericFunc: func(ctx context.Context, e event.GenericEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
		enqueue.Generic(ctx, e, q)
		if instance, ok := e.Object.(*v1.FluxInstance); ok && r.Artifacts.latest(instance).err == nil {
			r.interrupts.fire(client.ObjectKeyFromObject(instance), errSuperseded)
		}
	}}
}

// ownedHandler enqueues the instance for events of one kind of owned objects, and ends a wait when somebody changed an object.
func (r *FluxInstanceReconciler) ownedHandler(instance client.ObjectKey, gvk schema.GroupVersionKind) handler.EventHandler {
	enqueue := handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request {
		return []reconcile.Request{{NamespacedName: instance}}
	})
	look := func(obj client.Object, gone bool) {
		id := apply.ID{Group: gvk.Group, Kind: gvk.Kind, Namespace: obj.GetNamespace(), Name: obj.GetName()}
		if same, known := r.seen.matches(id, obj); known && (gone || !same) && !r.contests.leaves(id, time.Now()) {
			r.interrupts.fire(instance, errDrifted)
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			look(e.Object, false)
			enqueue.Create(ctx, e, q)
		},
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			look(e.ObjectNew, false)
			enqueue.Update(ctx, e, q)
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			look(e.Object, true)
			enqueue.Delete(ctx, e, q)
		},
	}
}

// newOwnedCache makes a cache that sees only objects with the owner labels of the one instance, and of those the metadata.
func newOwnedCache(mgr ctrl.Manager, namespace string) (cache.Cache, error) {
	return cache.New(mgr.GetConfig(), cache.Options{
		HTTPClient: mgr.GetHTTPClient(),
		Scheme:     mgr.GetScheme(),
		Mapper:     mgr.GetRESTMapper(),
		DefaultLabelSelector: labels.SelectorFromSet(labels.Set{
			v1.OwnerNameLabel:      v1.DefaultInstanceName,
			v1.OwnerNamespaceLabel: namespace,
		}),
		DefaultNamespaces: map[string]cache.Config{namespace: {}},
		DefaultTransform:  stripWhatGenerationsTell,
	})
}

// stripWhatGenerationsTell drops the managed fields of objects that count generations. Of the others they alone tell a change of the
// object from a write to its status.
func stripWhatGenerationsTell(in any) (any, error) {
	if obj, ok := in.(metav1.Object); ok && obj.GetGeneration() > 0 {
		obj.SetManagedFields(nil)
	}
	return in, nil
}
