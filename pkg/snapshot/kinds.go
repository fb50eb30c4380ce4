package snapshot

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/fluxcd/pkg/apis/meta"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// instances is the kind that brings those of Flux.
var instances = schema.GroupKind{Group: v1.Group, Kind: v1.FluxInstanceKind}

// UnservedError means that objects were passed over, since their kinds are not served, and that everything else was put back, or would be by a
// dry run.
type UnservedError struct {
	// Kinds are those that are not served, as in ImagePolicy.image.toolkit.fluxcd.io, sorted.
	Kinds []string
	// Objects is how many objects were passed over.
	Objects int
	// Instance is why the FluxInstance, which might have brought them, is not ready; empty if it has brought all that it does.
	Instance string
}

// Error names the kinds and says what to do.
func (e *UnservedError) Error() string {
	cure := "install what defines them"
	if e.Instance != "" {
		cure = "see to the FluxInstance" + inBrackets(e.Instance) + ", or install what defines them"
	}
	return fmt.Sprintf("%d objects are passed over, since their kinds are not served: %s; %s, and restore once more", e.Objects, strings.Join(e.Kinds, ", "), cure)
}

// lookForKinds finds out which kinds are there, and which are about to be.
func (r *restoring) lookForKinds(ctx context.Context) error {
	kinds, err := kindsOf(ctx, r.client)
	if err != nil {
		return err
	}
	clear(r.served)
	clear(r.pending)
	for _, k := range kinds {
		if k.isServed() {
			r.served[k.GroupKind] = k
		}
		r.pending[k.GroupKind] = k.pending
	}
	return nil
}

// unserved are the kinds in the snapshot that the API server does not serve.
func (r *restoring) unserved() []schema.GroupKind {
	var missing []schema.GroupKind
	for k := range r.saved {
		if _, served := r.served[k]; !served {
			missing = append(missing, k)
		}
	}
	slices.SortFunc(missing, func(a, b schema.GroupKind) int { return strings.Compare(a.String(), b.String()) })
	return missing
}

// awaited are those of them that an instance may bring. The kinds of its own group come with an operator, and not all of them with this one.
func (r *restoring) awaited() []schema.GroupKind {
	return slices.DeleteFunc(r.unserved(), func(k schema.GroupKind) bool { return k.Group == v1.Group })
}

// canBegin refuses what somebody else has to begin: without the operator nobody acts upon the instance, and where no kind is served nothing can be
// put back.
func (r *restoring) canBegin() error {
	unserved := r.unserved()
	switch {
	case slices.Contains(unserved, instances):
		return fmt.Errorf("the kind %s is not served: install the operator first, it brings the definition along", instances)
	case len(unserved) > 0 && len(unserved) == len(r.saved):
		return fmt.Errorf("kinds are not served, and there is no FluxInstance in the snapshot that would install them: %s; "+
			"install Flux first, or whatever defines them", strings.Join(namesOf(unserved), ", "))
	}
	return nil
}

// expect finds out whether more kinds may come: only an instance brings any, and while it is put back nobody knows which. A dry run knows where
// the instance would stay as it is and has come to rest.
func (r *restoring) expect(ctx context.Context) {
	awaited := r.awaited()
	r.final = len(awaited) == 0 || len(r.instances) == 0 || r.opts.DryRun && r.rests(ctx)
	if r.opts.DryRun && !r.final {
		r.wait(awaited)
	}
}

// rests tells whether the instances would stay as they are and bring nothing more. Errors are for the check of all objects to tell.
func (r *restoring) rests(ctx context.Context) bool {
	same := true
	err := r.each(ctx, func(ctx context.Context, obj *unstructured.Unstructured) error {
		if groupKind(obj) != instances {
			return nil
		}
		change, err := r.check.put(ctx, obj, r.served[instances])
		same = same && change.Action == Unchanged
		return err
	})
	if err != nil || !same {
		return false
	}
	final, err := r.isFinal(ctx)
	return err == nil && final
}

// await waits until all kinds are served that the instance brings.
func (r *restoring) await(ctx context.Context) error {
	told := false
	err := wait.PollUntilContextCancel(ctx, lookEvery, true, func(ctx context.Context) (bool, error) {
		// In this order: what an instance brings is there when it says that it is done.
		final, err := r.isFinal(ctx)
		if err != nil {
			return false, err
		}
		if err := r.lookForKinds(ctx); err != nil {
			return false, err
		}
		awaited := r.awaited()
		r.final = len(awaited) == 0 || final && !slices.ContainsFunc(awaited, func(k schema.GroupKind) bool { return r.pending[k] })
		if !r.final && !told {
			told = true
			r.wait(awaited)
		}
		return r.final, nil
	})
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("the FluxInstance is back, waiting until Flux serves %s: %w; see to the FluxInstance%s, and restore once more",
			strings.Join(namesOf(r.awaited()), ", "), err, inBrackets(r.unwell))
	}
	return nil
}

// wait tells what is waited for.
func (r *restoring) wait(awaited []schema.GroupKind) {
	if r.opts.Waiting != nil {
		r.opts.Waiting(namesOf(awaited))
	}
}

// isFinal tells whether all instances have come to rest, and notes down what is unwell with them.
func (r *restoring) isFinal(ctx context.Context) (bool, error) {
	r.unwell = ""
	for _, key := range r.instances {
		live := &unstructured.Unstructured{}
		live.SetGroupVersionKind(r.served[instances].in(""))
		if err := persist(ctx, func() error { return r.client.Get(ctx, key, live) }); err != nil {
			return false, fmt.Errorf("reading FluxInstance %q: %w", key, err)
		}
		instance := &v1.FluxInstance{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(live.Object, instance); err != nil {
			return false, fmt.Errorf("reading FluxInstance %q: %w", key, err)
		}
		unwell, final := isAtRest(instance)
		r.unwell = cmp.Or(unwell, r.unwell)
		if !final {
			return false, nil
		}
	}
	return true, nil
}

// isAtRest tells whether an instance brings no more kinds until somebody changes it, and why it is not ready where it says so. When its health check
// fails everything has been applied.
func isAtRest(instance *v1.FluxInstance) (unwell string, rests bool) {
	if instance.IsDisabled() {
		return "its reconciliation is disabled by the annotation " + v1.ReconcileAnnotation, true
	}
	ready := apimeta.FindStatusCondition(instance.Status.Conditions, meta.ReadyCondition)
	if ready == nil || ready.ObservedGeneration != instance.Generation {
		return "", false
	}
	if ready.Status != metav1.ConditionFalse {
		return "", ready.Status == metav1.ConditionTrue
	}
	stalled := apimeta.IsStatusConditionTrue(instance.Status.Conditions, meta.StalledCondition)
	return ready.Reason + ": " + ready.Message, stalled || ready.Reason == v1.ReasonHealthCheckFailed
}

// isBeyond tells whether an object cannot be put back, since its kind is not served and will not be.
func (r *restoring) isBeyond(obj *unstructured.Unstructured) bool {
	kind := groupKind(obj)
	_, served := r.served[kind]
	return !served && (r.final || kind.Group == v1.Group)
}

// skip passes over an object.
func (r *restoring) skip(obj *unstructured.Unstructured) {
	r.skipped[groupKind(obj)]++
	r.report(obj, Change{Action: Skipped})
}

// passedOver says what was passed over, if anything.
func (r *restoring) passedOver() error {
	if len(r.skipped) == 0 {
		return nil
	}
	e := &UnservedError{}
	for k, n := range r.skipped {
		if k.Group != v1.Group {
			e.Instance = r.unwell
		}
		e.Kinds = append(e.Kinds, k.String())
		e.Objects += n
	}
	slices.Sort(e.Kinds)
	return e
}

// inBrackets adds a reason to a sentence, if there is one.
func inBrackets(reason string) string {
	if reason == "" {
		return ""
	}
	return " (" + reason + ")"
}

func namesOf(kinds []schema.GroupKind) []string {
	names := make([]string, 0, len(kinds))
	for _, k := range kinds {
		names = append(names, k.String())
	}
	return names
}
