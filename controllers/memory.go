package controllers

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/apply"
	"github.com/flux-autopilot/flux-operator/pkg/inventory"
	"github.com/flux-autopilot/flux-operator/pkg/version"
)

// memory is what the last pass left behind: enough to see without a request that nothing has to be done, and nothing more.
// It is lost with the process; the first pass after a start therefore applies everything once.
type memory struct {
	uid        types.UID
	generation int64
	revision   version.Revision
	settled    bool
	// spec is what was asked for by the last pass that succeeded, nil when something else was applied since.
	spec *v1.FluxInstanceSpec
	// applied are the objects that were applied of the revision that was tried last, well or not.
	applied map[apply.ID]bool
	tried   version.Revision
	// look is what the registry said of the artifact, and degraded that the artifact could not be had all the same.
	look     look
	degraded bool
}

// cacheLag is how long a pass waits for the cache to show what the pass before it wrote.
const cacheLag = 20 * time.Millisecond

// written is the instance as the last pass left it.
type written struct {
	uid             types.UID
	resourceVersion string
}

// isNewerThan tells whether the cache has not caught up yet: a pass over what it shows would write an old status over a newer one.
func (w written) isNewerThan(instance *v1.FluxInstance) bool {
	order, err := resourceversion.CompareResourceVersion(w.resourceVersion, instance.ResourceVersion)
	return w.uid == instance.UID && err == nil && order > 0
}

// sightings are how the owned objects looked right after they were last applied. Passes write them, watches read them.
type sightings struct {
	mu       sync.Mutex
	observed map[apply.ID]apply.Observed
}

// reset forgets all objects.
func (s *sightings) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.observed = map[apply.ID]apply.Observed{}
}

// all returns a copy.
func (s *sightings) all() map[apply.ID]apply.Observed {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.observed)
}

// has tells whether all objects were applied.
func (s *sightings) has(objects []*unstructured.Unstructured) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !slices.ContainsFunc(objects, func(obj *unstructured.Unstructured) bool {
		_, known := s.observed[apply.IDOf(obj)]
		return !known
	})
}

// remember notes what was applied.
func (s *sightings) remember(changes []apply.Change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, change := range changes {
		s.observed[apply.IDOf(change.Object)] = change.Observed
	}
}

// forget drops deleted objects.
func (s *sightings) forget(deleted []apply.Change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, change := range deleted {
		delete(s.observed, apply.IDOf(change.Object))
	}
}

// matches tells whether a live object looks as it did when it was applied; known is false for objects that were not.
func (s *sightings) matches(id apply.ID, live metav1.Object) (matches, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	observed, known := s.observed[id]
	return known && observed.Matches(live), known
}

// settle notes that a pass succeeded in full.
func (m *memory) settle(instance *v1.FluxInstance, run *attempt) {
	m.generation = instance.Generation
	m.revision = run.revision
	m.spec = withoutDefaultType(instance).Spec.DeepCopy()
	m.look = run.look
	m.degraded = run.degraded != nil
	m.settled = true
}

// attribute tells what a pass over all objects put back, as somebody had changed it, from what it changed on its own account, and notes for the next
// one what was applied. An object that was applied before as it is wanted now was changed by somebody; so was any other one, where this revision is
// the last one that was tried, and ended well.
func (m *memory) attribute(run *attempt, changes []apply.Change) (corrected, made []apply.Change) {
	if m.tried != run.revision {
		m.tried, m.applied = run.revision, map[apply.ID]bool{}
	}
	ended := run.previous == run.revision && run.attempted == run.revision.String()
	for _, change := range changes {
		id := apply.IDOf(change.Object)
		if ended || m.applied[id] {
			corrected = append(corrected, change)
		} else {
			made = append(made, change)
		}
		m.applied[id] = true
	}
	return corrected, made
}

// unsettle has the next pass look at everything again.
func (m *memory) unsettle() {
	if m != nil {
		m.settled = false
	}
}

// repairs tells whether a pass only has to put drift back: nothing was asked for since the last pass, which succeeded in full.
func (m *memory) repairs(instance *v1.FluxInstance, revision version.Revision) bool {
	return m.settled && m.revision == revision && m.generation == instance.Generation && !requested(instance)
}

// unchanged tells whether a pass would do nothing: the spec, the requests, the artifact, the platform and the live objects are those of the last successful pass.
func (r *FluxInstanceReconciler) unchanged(ctx context.Context, instance *v1.FluxInstance) bool {
	m := r.last
	if m == nil || m.uid != instance.UID || !m.settled || m.generation != instance.Generation || requested(instance) {
		return false
	}
	if r.contests.next(time.Now(), contestWindow) == 0 {
		return false
	}
	if m.degraded || !m.look.same(r.Artifacts.latest(instance)) || r.Platform.changed(ctx) {
		return false
	}
	owned, err := inventory.FromStatus(instance.Status.Inventory)
	return err == nil && owned.Len() == len(r.seen.all()) && len(r.drifted(ctx, owned.Objects())) == 0
}

// drifted returns the objects that do not look as they did when they were last applied, but for those that are left alone.
func (r *FluxInstanceReconciler) drifted(ctx context.Context, objects []*unstructured.Unstructured) []*unstructured.Unstructured {
	var drifted []*unstructured.Unstructured
	for _, obj := range r.uncontested(objects, time.Now()) {
		live, err := r.owned.live(ctx, obj)
		if err == nil {
			if same, _ := r.seen.matches(apply.IDOf(obj), live); same {
				continue
			}
		}
		drifted = append(drifted, obj)
	}
	return drifted
}

// requested tells whether somebody asked for a pass that has not been made yet.
func requested(instance *v1.FluxInstance) bool {
	at, ok := meta.ReconcileAnnotationValue(instance.Annotations)
	return ok && at != instance.Status.LastHandledReconcileAt
}

// isSettled tells whether a pass over this generation has ended, well or not.
func isSettled(instance *v1.FluxInstance) bool {
	ready := apimeta.FindStatusCondition(instance.Status.Conditions, meta.ReadyCondition)
	return ready != nil && ready.Status != metav1.ConditionUnknown && ready.ObservedGeneration == instance.Generation
}

func isReady(instance *v1.FluxInstance) bool {
	return apimeta.IsStatusConditionTrue(instance.Status.Conditions, meta.ReadyCondition)
}
