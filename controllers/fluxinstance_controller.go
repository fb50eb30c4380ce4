package controllers

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/apply"
	"github.com/flux-autopilot/flux-operator/pkg/artifact"
	"github.com/flux-autopilot/flux-operator/pkg/inventory"
	"github.com/flux-autopilot/flux-operator/pkg/migrate"
	"github.com/flux-autopilot/flux-operator/pkg/preflight"
	"github.com/flux-autopilot/flux-operator/pkg/render"
	"github.com/flux-autopilot/flux-operator/pkg/snapshot"
	"github.com/flux-autopilot/flux-operator/pkg/version"
)

// passSlack is what a pass may take beyond its health check before it counts as stuck: rendering, applying, pruning.
const passSlack = 10 * time.Minute

// maxRepairs bounds how often a wait is interrupted by changes of which nothing has to be put back; objects of which something has to are contested
// before long. A pass that is interrupted more often fails and is tried again with backoff.
const maxRepairs = 10

// FluxInstanceReconciler makes the cluster match the FluxInstance of its own namespace.
// All exported fields are required unless they say otherwise, and must not change after SetupWithManager.
type FluxInstanceReconciler struct {
	// Client reads FluxInstances from the cache and writes their status and finalizer.
	Client client.Client
	// Applier changes everything else in the cluster.
	Applier *apply.Applier
	// Migrator rewrites stored objects.
	Migrator *migrate.Migrator
	// Snapshots keeps copies of the instance and all Flux custom resources.
	Snapshots *snapshot.Store
	// Recorder tells users what happened.
	Recorder record.EventRecorder
	// Artifacts opens the distribution that the instance installs from.
	Artifacts *Artifacts
	// ArtifactChanged is told of an instance whose artifact changed.
	ArtifactChanged <-chan event.GenericEvent
	// Facts are what preflight needs to know of the cluster. Server is optional, and has the last word on its version.
	Facts  preflight.Facts
	Server *APIServer
	// Watchdog hears of every pass.
	Watchdog *Watchdog
	// Jitter is the fraction by which intervals are lengthened at random, from 0 to 1. Optional.
	Jitter float64
	// Platform finds out where Flux runs. Optional.
	Platform *Platform
	// OverrideManagers are the names of further field managers whose fields the Applier takes over. Optional.
	OverrideManagers []string
	// CoolDown is for how long an object is left alone at first that somebody else changes again and again. Optional, 5 minutes by default.
	CoolDown time.Duration

	interrupts interrupts
	contests   contests
	owned      ownedObjects
	seen       sightings
	last       *memory
	upgrades   upgrades
	written    written
	tried      tried
}

// attempt is what one pass found and did, for the report at its end.
type attempt struct {
	started  time.Time
	watched  *Watched
	revision version.Revision
	previous version.Revision
	// from is the release that ran before, or whose definitions were found, empty when there is none.
	from string
	// heading is the release that is wanted in the end; revision may be one on the way to it.
	heading string
	// attempted is the revision that the pass before this one tried, well or not.
	attempted string
	// look is what the registry said of the artifact; zero for an instance that names none.
	look look
	// degraded says why the artifact cannot be had; what artifact names, or the built-in distribution, stands in for it then.
	degraded error
	artifact *v1.ArtifactStatus
	images   []v1.ComponentImage
	changes  []apply.Change
	// corrected are the objects that somebody had changed and that were put back, before or during the wait.
	corrected []apply.Change
	// by is who had changed them, where that is known.
	by map[apply.ID][]apply.Contender
	// before are the versions of the drifted objects, right before they are put back.
	before map[apply.ID]string
}

// Reconcile runs one pass over a FluxInstance.
func (r *FluxInstanceReconciler) Reconcile(ctx context.Context, instance *v1.FluxInstance) (ctrl.Result, error) {
	watched := r.Watchdog.Enter(instance.Timeout() + passSlack)
	defer watched.Leave()
	if instance.Namespace != r.Facts.OperatorNamespace {
		return r.refuse(ctx, instance)
	}
	if r.written.isNewerThan(instance) {
		return ctrl.Result{RequeueAfter: cacheLag}, nil
	}
	defer func() { r.written = written{instance.UID, instance.ResourceVersion} }()
	if !instance.DeletionTimestamp.IsZero() {
		r.forgetContests(instance)
		return r.finalize(ctx, instance, watched)
	}
	if instance.IsDisabled() {
		return r.pause(ctx, instance)
	}
	if r.unchanged(ctx, instance) {
		return r.next(instance), nil
	}
	if controllerutil.AddFinalizer(instance, v1.Finalizer) {
		if err := r.saveFinalizers(ctx, instance); err != nil {
			return ctrl.Result{}, err
		}
	}
	status := newStatusWriter(r.Client, instance)
	run := &attempt{started: time.Now(), watched: watched, attempted: instance.Status.LastAttemptedRevision}
	err := r.install(ctx, instance, status, run)
	return r.conclude(ctx, instance, status, run, err)
}

// install is the pipeline: each stage takes the value of the one before it.
func (r *FluxInstanceReconciler) install(ctx context.Context, instance *v1.FluxInstance, status *statusWriter, run *attempt) error {
	var err error
	if run.previous, err = parseRevision(instance.Status.LastAppliedRevision); err != nil {
		return err
	}
	catalog, err := r.open(ctx, instance, run)
	r.reportArtifact(instance, run)
	if err != nil {
		return retry(v1.ReasonArtifactFailed, err)
	}
	defer func() { _ = catalog.Close() }() // it was only read
	err = r.pursue(ctx, instance, status, run, catalog)
	if !isStalled(err) {
		return err
	}
	if healErr := r.heal(ctx, instance, run, catalog); healErr != nil {
		return retry(asFailure(err).reason, errors.Join(err, healErr))
	}
	return err
}

// pursue makes the cluster match the spec.
func (r *FluxInstanceReconciler) pursue(ctx context.Context, instance *v1.FluxInstance, status *statusWriter, run *attempt, catalog *artifact.Catalog) error {
	wanted, err := r.desire(ctx, instance, catalog, run.previous)
	if err := run.accept(instance, wanted, err); err != nil {
		return err
	}
	way, err := r.plan(ctx, instance, catalog, run, wanted)
	if err != nil {
		return err
	}
	return r.change(ctx, instance, status, run, way)
}

// change makes the cluster match a set of objects.
func (r *FluxInstanceReconciler) change(ctx context.Context, instance *v1.FluxInstance, status *statusWriter, run *attempt, way *journey) error {
	set := way.set
	run.revision, run.images, run.from, run.heading = set.Revision, set.Images, way.from, way.wanted
	owned, err := inventory.FromStatus(instance.Status.Inventory)
	if err != nil {
		return stall(v1.ReasonReconciliationFailed, fmt.Errorf("reading status.inventory: %w", err))
	}
	wanted := inventory.Of(set.Objects)
	if err := r.survey(ctx, instance, way, owned); err != nil {
		return err
	}
	all := owned.Union(wanted)
	if err := r.own(ctx, instance, status, set, all); err != nil {
		return err
	}
	if err := r.snapshot(ctx, instance, status, run, all); err != nil {
		return err
	}
	if err := r.adopt(ctx, instance, set.Objects); err != nil {
		return err
	}
	if err := r.cross(ctx, instance, status, run, way); err != nil {
		return err
	}
	if err := r.migrate(ctx, instance, status, run, way.before); err != nil {
		return err
	}
	if err := r.apply(ctx, instance, run, set); err != nil {
		return err
	}
	if err := r.owned.follow(ctx, wanted.Objects()); err != nil {
		return retry(v1.ReasonReconciliationFailed, err)
	}
	if err := r.awaitReady(ctx, instance, run, set); err != nil {
		return err
	}
	if err := r.tidy(ctx, instance, status, run, way); err != nil {
		return err
	}
	return r.prune(ctx, instance, run, wanted, owned.Minus(wanted))
}

// desire selects a release, renders it and checks that it may be applied.
func (r *FluxInstanceReconciler) desire(ctx context.Context, instance *v1.FluxInstance, catalog *artifact.Catalog, current version.Revision) (*render.Set, error) {
	candidates, err := r.candidates(catalog)
	if err != nil {
		return nil, err
	}
	release, err := choose(instance.Spec.Distribution, candidates, current.Version)
	if err != nil {
		return nil, err
	}
	r.tellOutdated(instance, compare(instance.Spec.Distribution.Version, release, catalog.Versions, candidates))
	return r.build(ctx, instance, catalog, release)
}

// build renders a release and checks that it may be applied.
func (r *FluxInstanceReconciler) build(ctx context.Context, instance *v1.FluxInstance, catalog *artifact.Catalog, release string) (*render.Set, error) {
	platform, err := r.Platform.Look(ctx)
	if err != nil {
		return nil, retry(v1.ReasonPreflightFailed, err)
	}
	set, err := platform.Render(catalog.FS, release, withoutDefaultType(instance))
	if err != nil {
		return nil, stall(v1.ReasonBuildFailed, withCure(err, instance))
	}
	facts, err := r.facts(ctx, instance, set)
	if err != nil {
		return nil, retry(v1.ReasonPreflightFailed, err)
	}
	return set, judged(preflight.Check(instance, set, facts))
}

// own writes down everything that will be owned before anything is applied, so that a pass which dies half-way orphans nothing.
// Ready turns Unknown only for what was not tried before: a pass that puts drift back, or tries again what failed, leaves it as it is.
func (r *FluxInstanceReconciler) own(ctx context.Context, instance *v1.FluxInstance, status *statusWriter, set *render.Set, union inventory.Inventory) error {
	revision := set.Revision.String()
	if revision != instance.Status.LastAttemptedRevision {
		r.announce(instance, set)
	}
	if revision != instance.Status.LastAttemptedRevision || !isSettled(instance) {
		progress(instance, v1.ReasonProgressing, "Reconciliation in progress")
	}
	instance.Status.LastAttemptedRevision = revision
	instance.Status.Inventory = union.ToStatus()
	return retry(v1.ReasonReconciliationFailed, status.save(ctx, instance))
}

// apply applies what differs: all objects of a new state, else those that somebody changed since the last pass.
func (r *FluxInstanceReconciler) apply(ctx context.Context, instance *v1.FluxInstance, run *attempt, set *render.Set) error {
	if r.last == nil || r.last.uid != instance.UID {
		r.last = &memory{uid: instance.UID}
		r.seen.reset()
	}
	r.contests.enter(scopeOf(instance, set))
	repairs := r.last.repairs(instance, set.Revision)
	r.last.settled = false
	if repairs {
		_, err := r.repair(ctx, instance, run, set)
		return err
	}
	r.last.spec = nil // from here on something else runs
	changes, err := r.applyUncontested(ctx, instance, run, set.Objects)
	corrected, made := r.last.attribute(run, changes)
	r.count(corrected, time.Now())
	run.corrected, run.changes = append(run.corrected, corrected...), append(run.changes, made...)
	return err
}

// prune deletes what is no longer wanted and ends with the exact inventory: what could not be deleted stays in it. Where a kind goes, with the
// component that serves it, its controller goes first: it would take the end of its objects for the user's wish to remove what they deployed.
func (r *FluxInstanceReconciler) prune(ctx context.Context, instance *v1.FluxInstance, run *attempt, wanted, stale inventory.Inventory) error {
	objects := stale.Objects()
	if len(ofKind(objects, "CustomResourceDefinition")) > 0 {
		if err := r.quiesce(ctx, objects); err != nil {
			return retry(v1.ReasonPruneFailed, err)
		}
	}
	deleted, survivors, err := r.Applier.Prune(ctx, objects)
	run.changes = append(run.changes, deleted...)
	r.seen.forget(deleted)
	instance.Status.Inventory = wanted.Union(inventory.Of(survivors)).ToStatus()
	return retry(v1.ReasonPruneFailed, err)
}

// next is the result of a pass that has nothing to do until the interval is over, or what is contested is to be looked at. While something
// stands in for the artifact, that is the interval at which artifacts are looked at.
func (r *FluxInstanceReconciler) next(instance *v1.FluxInstance) ctrl.Result {
	interval := instance.Interval()
	if r.last.degraded {
		interval = min(interval, instance.ArtifactInterval())
	}
	interval = r.contests.next(time.Now(), wait.Jitter(interval, r.Jitter))
	return ctrl.Result{RequeueAfter: max(interval, time.Millisecond)}
}

// saveFinalizers writes the finalizers alone, with the optimistic lock that keeps others' finalizers.
func (r *FluxInstanceReconciler) saveFinalizers(ctx context.Context, instance *v1.FluxInstance) error {
	base := &v1.FluxInstance{}
	base.SetName(instance.Name)
	base.SetNamespace(instance.Namespace)
	base.SetResourceVersion(instance.ResourceVersion)
	target := base.DeepCopy()
	target.SetFinalizers(instance.Finalizers)
	patch := client.MergeFromWithOptimisticLock{}
	if len(instance.Finalizers) == 0 {
		base.SetFinalizers([]string{v1.Finalizer})
	}
	if err := r.Client.Patch(ctx, target, client.MergeFromWithOptions(base, patch), client.FieldOwner(v1.FieldManager)); err != nil {
		return fmt.Errorf("saving the finalizers of FluxInstance %q: %w", client.ObjectKeyFromObject(instance), err)
	}
	instance.ResourceVersion = target.ResourceVersion
	return nil
}

// refuse marks an instance outside the operator's namespace, which would otherwise be ignored without a word.
func (r *FluxInstanceReconciler) refuse(ctx context.Context, instance *v1.FluxInstance) (ctrl.Result, error) {
	if !instance.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil
	}
	status := newStatusWriter(r.Client, instance)
	fail(instance, asFailure(stall(v1.ReasonNotWatched, fmt.Errorf(
		"this operator acts in namespace %q only: move the FluxInstance there", r.Facts.OperatorNamespace))))
	return ctrl.Result{}, status.save(ctx, instance)
}

// pause leaves everything as it is. Only an instance that never ran gets a condition; of the others an event tells once.
func (r *FluxInstanceReconciler) pause(ctx context.Context, instance *v1.FluxInstance) (ctrl.Result, error) {
	status := newStatusWriter(r.Client, instance)
	if len(instance.Status.Conditions) == 0 {
		succeed(instance, v1.ReasonReconciliationDisabled, "Initialized with reconciliation suspended")
	}
	r.last = nil
	r.forgetContests(instance)
	// What somebody changes from here on is nothing to look at, or to tell again.
	if err := r.owned.follow(ctx, nil); err != nil {
		return ctrl.Result{}, err
	}
	r.event(instance, corev1.EventTypeWarning, v1.ReasonReconciliationDisabled,
		"Reconciliation is disabled by the annotation "+v1.ReconcileAnnotation)
	return ctrl.Result{}, status.save(ctx, instance)
}

func parseRevision(text string) (version.Revision, error) {
	if text == "" {
		return version.Revision{}, nil
	}
	revision, err := version.ParseRevision(text)
	return revision, stall(v1.ReasonReconciliationFailed, err)
}

var _ reconcile.ObjectReconciler[*v1.FluxInstance] = (*FluxInstanceReconciler)(nil)
