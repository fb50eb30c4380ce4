package controllers

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/apply"
	"github.com/flux-autopilot/flux-operator/pkg/report"
)

// DefaultReportingInterval is how often a report looks at what no watch tells: the API server's version, the nodes and the entitlement.
const DefaultReportingInterval = 5 * time.Minute

// gathering is how long changes are gathered before a report is written: so often is one written at most while everything changes.
const gathering = 2 * time.Second

const (
	// readingPatience is how long a report waits for kinds that are read for the first time, before it says that they could not be.
	readingPatience = 10 * time.Second
	// readingPause is the time between two looks meanwhile.
	readingPause = 500 * time.Millisecond
)

// FluxReportReconciler keeps the FluxReport of the operator's namespace true. It writes one when something in it changed, and never polls what
// can be watched. All fields are required unless they say otherwise, and must not change after SetupWithManager.
type FluxReportReconciler struct {
	// Client reads FluxReports, FluxInstances and Deployments from the cache, and writes the report.
	Client client.Client
	// Reader reads nodes and the entitlement from the API server.
	Reader client.Reader
	// Observer knows the objects of Flux.
	Observer *report.Observer
	// Applier finds out what keeps the pods of a controller from running.
	Applier *apply.Applier
	// Namespace of Flux and of the report.
	Namespace string
	// Operator is what the report says of the operator.
	Operator v1.OperatorInfo
	// Server tells the version of the API server.
	Server *APIServer
	// Platform finds out what kind of cluster this is. Optional.
	Platform *Platform
	// Interval is how often version, nodes and entitlement are looked at, DefaultReportingInterval for 0. An annotation of the report has the last word.
	Interval time.Duration

	components atomic.Pointer[[]report.Component]
	upgrade    atomic.Pointer[v1.FluxUpgradeStatus]
	reading    time.Time // since when something is read for the first time
	late       lateness
	slow       slowFacts
}

// SetupWithManager registers the controller and the observer, which runs where this replica leads.
func (r *FluxReportReconciler) SetupWithManager(mgr ctrl.Manager, backoff Backoff) error {
	changed := make(chan event.GenericEvent, 1)
	own := predicate.NewPredicateFuncs(func(obj client.Object) bool { return obj.GetNamespace() == r.Namespace })
	err := ctrl.NewControllerManagedBy(mgr).
		Named("fluxreport").
		Watches(&v1.FluxReport{}, &handler.EnqueueRequestForObject{}, builder.WithPredicates(own, predicate.AnnotationChangedPredicate{})).
		Watches(&appsv1.Deployment{}, r.soon(), builder.WithPredicates(own)).
		WatchesRawSource(&instanceSource{cache: mgr.GetCache(), handler: r.soon(), updates: own}).
		WatchesRawSource(source.Channel(changed, r.soon())).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: 1, // there is one report
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](backoff.Min, backoff.Max),
		}).
		Complete(r)
	if err != nil {
		return fmt.Errorf("building the FluxReport controller: %w", err)
	}
	if err := mgr.Add(&observing{r.Observer, changed}); err != nil {
		return fmt.Errorf("adding the observer: %w", err)
	}
	return nil
}

// Components are the controllers of Flux as the last report knew them.
func (r *FluxReportReconciler) Components() []report.Component {
	if components := r.components.Load(); components != nil {
		return *components
	}
	return nil
}

// Upgrade is what the last report knew of the releases of Flux, nil before it.
func (r *FluxReportReconciler) Upgrade() *v1.FluxUpgradeStatus { return r.upgrade.Load() }

// soon enqueues the report after the time in which changes are gathered. Further changes in that time add nothing.
func (r *FluxReportReconciler) soon() handler.EventHandler {
	request := reconcile.Request{NamespacedName: client.ObjectKey{Namespace: r.Namespace, Name: v1.DefaultInstanceName}}
	type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]
	add := func(q queue) { q.AddAfter(request, gathering) }
	return handler.Funcs{
		CreateFunc:  func(_ context.Context, _ event.CreateEvent, q queue) { add(q) },
		UpdateFunc:  func(_ context.Context, _ event.UpdateEvent, q queue) { add(q) },
		DeleteFunc:  func(_ context.Context, _ event.DeleteEvent, q queue) { add(q) },
		GenericFunc: func(_ context.Context, _ event.GenericEvent, q queue) { add(q) },
	}
}

// observing runs the observer and tells of what it saw.
type observing struct {
	observer *report.Observer
	changed  chan<- event.GenericEvent
}

// Start observes until the context ends. The first report is asked for at once: it says what is not known yet.
func (o *observing) Start(ctx context.Context) error {
	go func() {
		for {
			select {
			case o.changed <- event.GenericEvent{Object: &v1.FluxReport{}}:
			case <-ctx.Done():
				return
			}
			select {
			case <-o.observer.Changes():
			case <-ctx.Done():
				return
			}
		}
	}()
	return o.observer.Start(ctx)
}

// Reconcile computes the report and writes it if it says something new.
func (r *FluxReportReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	if req.Namespace != r.Namespace || req.Name != v1.DefaultInstanceName {
		return ctrl.Result{}, nil
	}
	current := &v1.FluxReport{}
	if err := r.Client.Get(ctx, req.NamespacedName, current); client.IgnoreNotFound(err) != nil {
		return ctrl.Result{}, fmt.Errorf("reading the FluxReport: %w", err)
	}
	if !current.DeletionTimestamp.IsZero() {
		return ctrl.Result{RequeueAfter: gathering}, nil
	}
	if instance := r.instance(ctx); instance.Err == nil {
		r.Observer.SetShardKey(shardKey(instance.Value)) // first, or everything is read twice
	}
	if r.isReading(time.Now()) {
		return ctrl.Result{RequeueAfter: readingPause}, nil
	}
	asked, requested := meta.ReconcileAnnotationValue(current.Annotations)
	requested = requested && asked != current.Status.LastHandledReconcileAt && !current.IsDisabled() // what is disabled answers later
	interval := current.IntervalOr(r.interval())
	in := r.inputs(ctx, interval, requested)
	if in.Components.Err == nil {
		r.components.Store(&in.Components.Value)
	}
	spec := report.Compute(r.Observer.Snapshot(), in, current.Spec)
	r.upgrade.Store(spec.Upgrade.DeepCopy()) // writing the report reads the answer into it
	if current.IsDisabled() {
		// The metrics go on.
		return ctrl.Result{RequeueAfter: r.next(interval)}, nil
	}
	saved, err := r.save(ctx, current, spec)
	if err != nil {
		return ctrl.Result{}, err
	}
	if err := r.conclude(ctx, saved, asked); err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: r.next(interval)}, nil
}

// shardKey is the label by which an instance assigns objects to shards, empty for the default one.
func shardKey(instance *v1.FluxInstance) string {
	if instance == nil || instance.Spec.Sharding == nil {
		return ""
	}
	return instance.Spec.Sharding.Key
}

// isReading tells whether there are kinds whose first reading is worth waiting for.
func (r *FluxReportReconciler) isReading(now time.Time) bool {
	if r.Observer.Snapshot().IsComplete() {
		if !r.reading.IsZero() {
			debug.FreeOSMemory() // reading leaves as much garbage as objects, which the runtime would keep for minutes
		}
		r.reading = time.Time{}
		return false
	}
	if r.reading.IsZero() {
		r.reading = now
	}
	return now.Sub(r.reading) < readingPatience
}

// save writes the content of the report if it differs from what is there.
func (r *FluxReportReconciler) save(ctx context.Context, current *v1.FluxReport, spec v1.FluxReportSpec) (*v1.FluxReport, error) {
	if current.UID != "" && equality.Semantic.DeepEqual(current.Spec, spec) {
		return current, nil
	}
	written := &v1.FluxReport{Spec: spec}
	written.SetGroupVersionKind(v1.GroupVersion.WithKind(v1.FluxReportKind))
	written.Name, written.Namespace = v1.DefaultInstanceName, r.Namespace
	//nolint:staticcheck // the typed apply of newer clients needs generated types
	err := r.Client.Patch(ctx, written, client.Apply, client.ForceOwnership, client.FieldOwner(v1.FieldManager))
	if apierrors.IsForbidden(err) && apierrors.HasStatusCause(err, "NamespaceTerminating") {
		return current, nil
	}
	if err != nil {
		return nil, fmt.Errorf("writing the FluxReport: %w", err)
	}
	return written, nil
}

// conclude says in the status whether the report is whole, and which request it answers, if that is new.
func (r *FluxReportReconciler) conclude(ctx context.Context, written *v1.FluxReport, asked string) error {
	if written.UID == "" {
		return nil
	}
	base := written.DeepCopy()
	condition := report.Condition(&written.Spec)
	condition.ObservedGeneration = written.Generation
	before := apimeta.FindStatusCondition(base.Status.Conditions, condition.Type)
	apimeta.SetStatusCondition(&written.Status.Conditions, condition)
	if before != nil && before.ObservedGeneration != condition.ObservedGeneration {
		// Readers take this time for that of the report, as kubectl does in its table: Ready says something new of another content.
		apimeta.FindStatusCondition(written.Status.Conditions, condition.Type).LastTransitionTime = metav1.Now()
	}
	if asked != "" {
		written.Status.LastHandledReconcileAt = asked
	}
	if equality.Semantic.DeepEqual(base.Status, written.Status) {
		return nil
	}
	err := r.Client.Status().Patch(ctx, written, client.MergeFrom(base), client.FieldOwner(v1.FieldManager))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("writing the status of the FluxReport: %w", err)
	}
	if len(written.Spec.Stale) > 0 {
		log.FromContext(ctx).Info("the report is incomplete", "reason", condition.Message)
	}
	return nil
}

// next is when to look again: when what no watch tells is old, when the pods of a controller are to be asked what keeps them, or when a watch has
// failed for so long that it is to be told.
func (r *FluxReportReconciler) next(interval time.Duration) time.Duration {
	if r.late.some() {
		interval = min(interval, causePatience)
	}
	if left := r.Observer.Snapshot().Untold(time.Now()); left > 0 {
		interval = min(interval, left)
	}
	return interval
}

func (r *FluxReportReconciler) interval() time.Duration {
	if r.Interval <= 0 {
		return DefaultReportingInterval
	}
	return r.Interval
}

var _ reconcile.Reconciler = (*FluxReportReconciler)(nil)
