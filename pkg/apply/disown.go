package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// heir is the field manager of the flux command line, which everybody who installs Flux afterwards can go on from: it, a bootstrap, and the next
// instance take over its fields, and drop those that they do not want. Fields of nobody would stay for ever.
const heir = "flux"

// managedByLabel says who manages an object.
const managedByLabel = "app.kubernetes.io/managed-by"

// Disown lets go of those of the objects that carry the labels of the owner, or that Adopt took and Apply did not get to, so that whoever installs
// Flux next finds them as if the flux command line had left them: what we marked them with goes, our fields become its fields, and what others have
// set stays. Nobody prunes them any more. Objects that are gone are fine; of those that cannot be changed, the error joins an *ObjectError each.
func (a *Applier) Disown(ctx context.Context, objects []*unstructured.Unstructured) error {
	errs := make([]error, len(objects))
	inParallel(ctx, a.concurrency, len(objects), func(i int) {
		err := persist(ctx, patienceWith, func() error { return a.disown(ctx, objects[i]) })
		if err != nil && !apierrors.IsNotFound(err) && !isUnserved(err) {
			errs[i] = objectError(IDOf(objects[i]), err)
		}
	})
	if ctx.Err() != nil {
		return &cutShortError{fmt.Sprintf("letting go of %d objects", len(objects)), whyDone(ctx)}
	}
	return errors.Join(errs...)
}

// disown is Disown for one object.
func (a *Applier) disown(ctx context.Context, obj *unstructured.Unstructured) error {
	live := metadataOf(obj)
	if err := a.client.Get(ctx, client.ObjectKeyFromObject(obj), live); err != nil {
		return err
	}
	if owner := a.ownerOf(obj); owner != nil && (contains(live.Labels, owner) || a.isOnlyAdopted(live)) {
		return a.handOver(ctx, live)
	}
	return nil
}

// handOver takes our marks from an object and gives our fields to the heir. An annotation that somebody else has set, too, stays.
func (a *Applier) handOver(ctx context.Context, live *metav1.PartialObjectMetadata) error {
	entries, others, err := a.bequeath(live.ManagedFields)
	if err != nil {
		return fmt.Errorf("reading managed fields: %w", err)
	}
	labels, annotations := []string{v1.OwnerNameLabel, v1.OwnerNamespaceLabel}, append([]string{v1.PruneAnnotation}, letGoAnnotations...)
	if live.Labels[managedByLabel] == v1.FieldManager {
		labels = append(labels, managedByLabel)
	}
	annotations = slices.DeleteFunc(annotations, func(key string) bool {
		return others.Has(fieldpath.MakePathOrDie("metadata", "annotations", key))
	})
	steps := leftovers("/metadata/labels/", labels, live.Labels, nil)
	steps = append(steps, leftovers("/metadata/annotations/", annotations, live.Annotations, nil)...)
	steps = append(steps, operation{Op: "replace", Path: "/metadata/managedFields", Value: entries})
	return a.amend(ctx, live, steps)
}

// bequeath returns the managed fields with ours as those of the heir, and the fields of everybody else.
func (a *Applier) bequeath(entries []metav1.ManagedFieldsEntry) (after []metav1.ManagedFieldsEntry, others *fieldpath.Set, err error) {
	estate, others := fieldpath.NewSet(), fieldpath.NewSet()
	inherited := metav1.ManagedFieldsEntry{Manager: heir, Operation: metav1.ManagedFieldsOperationApply, FieldsType: "FieldsV1"}
	for _, entry := range entries {
		set := &fieldpath.Set{}
		if entry.FieldsV1 != nil {
			if err := set.FromJSON(entry.FieldsV1.GetRawReader()); err != nil {
				return nil, nil, err
			}
		}
		ours := entry.Manager == a.manager && entry.Subresource == ""
		if !ours {
			others = others.Union(set)
		}
		if heirs := entry.Manager == heir && entry.Operation == metav1.ManagedFieldsOperationApply && entry.Subresource == ""; !ours && !heirs {
			after = append(after, entry)
			continue
		}
		estate, inherited.APIVersion = estate.Union(set), entry.APIVersion
	}
	raw, err := estate.ToJSON()
	if err != nil {
		return nil, nil, err
	}
	inherited.FieldsV1 = metav1.NewFieldsV1(string(raw))
	return append(after, inherited), others, nil
}
