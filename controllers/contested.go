package controllers

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/fluxcd/pkg/apis/meta"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/apply"
	"github.com/flux-autopilot/flux-operator/pkg/render"
)

// coolDown says for how long contested objects of an instance are left alone.
func (r *FluxInstanceReconciler) coolDown(instance *v1.FluxInstance) coolDown {
	return coolDown{first: cmp.Or(r.CoolDown, defaultCoolDown), longest: instance.Interval()}
}

// scopeOf is what a pass was asked for.
func scopeOf(instance *v1.FluxInstance, set *render.Set) scope {
	at, _ := meta.ReconcileAnnotationValue(instance.Annotations)
	return scope{uid: instance.UID, generation: instance.Generation, requestedAt: at, revision: set.Revision}
}

// applier returns an Applier that leaves to autoscalers what they set in these objects.
func (r *FluxInstanceReconciler) applier(ctx context.Context, objects []*unstructured.Unstructured) (*apply.Applier, error) {
	fields, err := r.Applier.Autoscaled(ctx, objects)
	return r.Applier.Leaving(fields), retry(v1.ReasonReconciliationFailed, err)
}

// applyWith applies objects and remembers how they looked afterwards.
func (r *FluxInstanceReconciler) applyWith(ctx context.Context, applier *apply.Applier, objects []*unstructured.Unstructured) ([]apply.Change, error) {
	changes, err := applier.Apply(ctx, objects, r.seen.all())
	r.seen.remember(changes)
	return changes, retry(v1.ReasonReconciliationFailed, err)
}

// applyUncontested applies the objects that are not left alone. Those that were put back before are judged as in a repair: passes that fail for
// another reason, one after the other, would put them back without end.
func (r *FluxInstanceReconciler) applyUncontested(ctx context.Context, instance *v1.FluxInstance, run *attempt, objects []*unstructured.Unstructured) ([]apply.Change, error) {
	now := time.Now()
	applier, err := r.applier(ctx, objects)
	if err != nil {
		return nil, err
	}
	if again := r.drifted(ctx, r.contests.among(objects)); len(again) > 0 {
		r.judge(instance, again, run.identify(ctx, applier, again), now)
	}
	changes, err := r.applyWith(ctx, applier, r.uncontested(objects, now))
	if err == nil {
		r.contests.advance(now, r.coolDown(instance))
	}
	return changes, err
}

// repair applies the objects that somebody changed, but for those that are contested, and tells whether it came to anything.
func (r *FluxInstanceReconciler) repair(ctx context.Context, instance *v1.FluxInstance, run *attempt, set *render.Set) (done bool, err error) {
	now := time.Now()
	drifted := r.drifted(ctx, set.Objects)
	applier, err := r.applier(ctx, drifted)
	if err != nil {
		return false, err
	}
	by := run.identify(ctx, applier, drifted)
	putBack := r.judge(instance, drifted, by, now)
	changes, err := r.applyWith(ctx, applier, putBack)
	done = len(putBack) < len(drifted)
	for i := range changes {
		id := apply.IDOf(changes[i].Object)
		// Managed fields tell the time to the second: alone they do not tell a change from one that was made a moment ago.
		switch {
		case changes[i].Action == apply.Configured && changes[i].Observed.ResourceVersion == run.before[id]:
			changes[i].Action = apply.Unchanged
		case changes[i].Action == apply.Unchanged && changes[i].Observed.ResourceVersion != run.before[id] && len(by[id]) > 0:
			changes[i].Action = apply.Configured
		}
	}
	done = r.count(changes, now) || done
	run.corrected = append(run.corrected, changes...)
	if err == nil {
		r.contests.advance(now, r.coolDown(instance))
	}
	return done, err
}

// count notes what was put back, and tells whether anything was.
func (r *FluxInstanceReconciler) count(changes []apply.Change, now time.Time) bool {
	counted := false
	for _, change := range changes {
		if isEffective(change) {
			id := apply.IDOf(change.Object)
			r.contests.corrected(id, now)
			driftCorrections.WithLabelValues(id.Kind, id.Namespace, id.Name).Inc()
			counted = true
		}
	}
	return counted
}

// identify finds out who changed the objects, as far as they tell, and notes their versions.
func (run *attempt) identify(ctx context.Context, applier *apply.Applier, drifted []*unstructured.Unstructured) map[apply.ID][]apply.Contender {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	live := applier.Metadata(ctx, drifted)
	by := make(map[apply.ID][]apply.Contender, len(live))
	run.before = make(map[apply.ID]string, len(live))
	for _, obj := range drifted {
		if found := live[apply.IDOf(obj)]; found != nil {
			by[apply.IDOf(obj)] = applier.Contenders(found, obj)
			run.before[apply.IDOf(obj)] = found.ResourceVersion
		}
	}
	if run.by == nil {
		run.by = map[apply.ID][]apply.Contender{}
	}
	maps.Copy(run.by, by)
	return by
}

// judge returns the drifted objects that are put back, and tells of each that is contested from now on.
func (r *FluxInstanceReconciler) judge(instance *v1.FluxInstance, drifted []*unstructured.Unstructured, by map[apply.ID][]apply.Contender, now time.Time) []*unstructured.Unstructured {
	var putBack []*unstructured.Unstructured
	for _, obj := range drifted {
		id := apply.IDOf(obj)
		may, begins := r.contests.judge(id, by[id], now, r.coolDown(instance))
		if may {
			putBack = append(putBack, obj)
		}
		if begins {
			r.event(instance, corev1.EventTypeWarning, v1.ReasonFieldsContested, fmt.Sprintf(
				"Put back %d times within %s, and changed again: %s. It is left as it is for a while. %s",
				maxCorrections, contestWindow, contestedBy(id, by[id]), peace))
		}
	}
	return putBack
}

// peace is how a contest is ended for good.
const peace = "Have the other one let go, or leave the fields to it with the annotation " + v1.IgnoreFieldsAnnotation

// uncontested returns the objects without those that are left alone for now.
func (r *FluxInstanceReconciler) uncontested(objects []*unstructured.Unstructured, now time.Time) []*unstructured.Unstructured {
	return slices.DeleteFunc(slices.Clone(objects), func(obj *unstructured.Unstructured) bool {
		return r.contests.leaves(apply.IDOf(obj), now)
	})
}

// reportContests says in a condition and in metrics which objects are contested, and by whom.
func (r *FluxInstanceReconciler) reportContests(instance *v1.FluxInstance) {
	contested := r.contests.contested()
	contestedObjects.set(contested)
	lines := make([]string, 0, len(contested))
	for id, by := range contested {
		lines = append(lines, contestedBy(id, by))
	}
	if len(lines) == 0 {
		apimeta.RemoveStatusCondition(&instance.Status.Conditions, v1.ContestedCondition)
		return
	}
	slices.Sort(lines)
	message := "Changed again whenever they are put back, and left as they are for a while: " + strings.Join(lines, ", ") + ". " + peace
	setCondition(instance, v1.ContestedCondition, metav1.ConditionTrue, v1.ReasonFieldsContested, truncate(message, maxConditionMessage))
}

// forgetContests ends all contests.
func (r *FluxInstanceReconciler) forgetContests(instance *v1.FluxInstance) {
	r.contests.enter(scope{})
	r.reportContests(instance)
}

// contestedBy names an object and those who change it.
func contestedBy(id apply.ID, by []apply.Contender) string {
	if len(by) == 0 {
		return id.String() + " (" + apply.Somebody + ")"
	}
	return id.String() + inBrackets(by)
}

// inBrackets names those who changed an object, nothing if they are not known.
func inBrackets(by []apply.Contender) string {
	if len(by) == 0 {
		return ""
	}
	names := make([]string, len(by))
	for i, contender := range by {
		names[i] = contender.String()
	}
	return " (" + strings.Join(names, "; ") + ")"
}

// correctionLines names what was put back, one object a line, and who had changed it.
func (run *attempt) correctionLines() []string {
	var lines []string
	for _, change := range run.corrected {
		for _, line := range changeLines([]apply.Change{change}) {
			lines = append(lines, line+inBrackets(run.by[apply.IDOf(change.Object)]))
		}
	}
	return lines
}
