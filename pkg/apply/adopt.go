package apply

import (
	"context"
	"errors"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// letGoAnnotations tell a kustomize-controller that still has the manifests of an object to leave the live one alone. It reads them there.
var letGoAnnotations = []string{"kustomize.toolkit.fluxcd.io/ssa", "kustomize.toolkit.fluxcd.io/prune"}

// Adopt makes those of the objects ours that are in the cluster and were managed by others, without changing anything but their metadata: no
// pod is restarted. Afterwards Apply changes each of them in one write at most, however many fields others had set, and so a pod template once.
//
// For each object, first the annotations are set that make a kustomize-controller let go, then, in one conditional write, what former owners
// have marked it with is removed and their fields become ours. Whoever calls Adopt for all objects before any is applied can be sure that a
// former owner does not put anything back meanwhile. Objects that are not there, or not in the wanted API version, are passed over.
//
// It returns how many objects were changed, also if there is an error, which joins an *ObjectError for each object that failed. What was done
// stays done, and another call does only what is left.
func (a *Applier) Adopt(ctx context.Context, objects []*unstructured.Unstructured) (int, error) {
	adopted := make([]bool, len(objects))
	failures := make([]error, len(objects))
	inParallel(ctx, a.concurrency, len(objects), func(i int) {
		err := persist(ctx, patienceWith, func() (err error) {
			changed, err := a.adopt(ctx, objects[i])
			adopted[i] = adopted[i] || changed
			return err
		})
		if err != nil && !endedBy(ctx, err) {
			failures[i] = objectError(IDOf(objects[i]), err)
		}
	})
	count := 0
	for _, changed := range adopted {
		if changed {
			count++
		}
	}
	return count, errors.Join(errors.Join(failures...), ctx.Err())
}

// adopt takes over one object and tells whether anything was written.
func (a *Applier) adopt(ctx context.Context, obj *unstructured.Unstructured) (bool, error) {
	live := metadataOf(obj)
	if err := a.client.Get(ctx, client.ObjectKeyFromObject(obj), live); err != nil {
		if apierrors.IsNotFound(err) || isUnserved(err) {
			return false, nil
		}
		return false, err
	}
	fields, err := a.leftOf(obj)
	if err != nil {
		return false, err
	}
	claimed := false
	if mark := markOf(obj); mark != nil && !a.applied(live) {
		if live, err = a.patch(ctx, mark, client.ForceOwnership); err != nil {
			return false, err
		}
		claimed = true
	}
	left := func(owned *fieldpath.Set) *fieldpath.Set { return ownedAt(owned, obj, fields) }
	steps, err := a.takeoverSteps(obj, live, left)
	if err != nil {
		return claimed, err
	}
	steps = append(keepFromHelm(live), steps...)
	if len(steps) == 0 {
		return claimed, nil
	}
	return true, a.amend(ctx, live, steps)
}

// applied tells whether we have applied the object before; what a new apply request lacks would then be removed.
func (a *Applier) applied(live *metav1.PartialObjectMetadata) bool {
	return slices.ContainsFunc(live.ManagedFields, a.isOurs)
}

// isOnlyAdopted tells whether the object was adopted and not applied since: fields of it are ours, and it carries no label of any owner, which comes
// with the first apply. Whoever had it before passes it over for as long as it bears our marks.
func (a *Applier) isOnlyAdopted(live *metav1.PartialObjectMetadata) bool {
	_, named := live.Labels[v1.OwnerNameLabel]
	_, placed := live.Labels[v1.OwnerNamespaceLabel]
	return !named && !placed && a.applied(live)
}

// markOf returns an object with nothing but the annotations that make others let go, nil if the object has none of them.
func markOf(obj *unstructured.Unstructured) *unstructured.Unstructured {
	wanted, found := obj.GetAnnotations(), map[string]string{}
	for _, key := range letGoAnnotations {
		if text, ok := wanted[key]; ok {
			found[key] = text
		}
	}
	if len(found) == 0 {
		return nil
	}
	mark := reference(obj)
	mark.SetAnnotations(found)
	return mark
}

// keepFromHelm returns the step that keeps an object of a Helm release when somebody drops it from the chart. Helm would not ask who owns it by then.
func keepFromHelm(live *metav1.PartialObjectMetadata) []operation {
	_, released := live.Annotations[helmReleaseAnnotation]
	if _, told := live.Annotations[helmPolicyAnnotation]; !released || told {
		return nil
	}
	return []operation{{Op: "add", Path: "/metadata/annotations/" + escaped(helmPolicyAnnotation), Value: "keep"}}
}
