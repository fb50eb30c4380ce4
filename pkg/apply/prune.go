package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// Prune deletes objects in reverse apply order, with background propagation, and does not wait until they are gone. A live object that does
// not carry the owner labels, or is annotated or labelled v1.PruneAnnotation: disabled, is left alone (Skipped). The owner is the one whose
// labels the given object carries, else Options.Owner; an object of which neither is known is not deleted and is an error. What a
// Kustomization of Flux deployed stays, unless its deletion policy says otherwise.
//
// It returns what was done in that order, the survivors, which are the objects whose deletion was not confirmed as accepted and is to be
// tried again, and a joined *ObjectError for each of them. A failed object does not keep others from being deleted, unless the context ends.
func (a *Applier) Prune(ctx context.Context, stale []*unstructured.Unstructured) (deleted []Change, survivors []*unstructured.Unstructured, err error) {
	stages := staged(stale)
	slices.Reverse(stages)
	var failures []error
	for _, members := range stages {
		changes := make([]*Change, len(members))
		errs := make([]error, len(members))
		inParallel(ctx, a.concurrency, len(members), func(i int) {
			changes[i], errs[i] = a.prune(ctx, members[i])
		})
		for i, obj := range members {
			if changes[i] != nil {
				deleted = append(deleted, *changes[i])
				continue
			}
			survivors = append(survivors, obj)
			if errs[i] != nil && !endedBy(ctx, errs[i]) {
				failures = append(failures, objectError(IDOf(obj), errs[i]))
			}
		}
	}
	if ctx.Err() != nil && len(survivors) > 0 {
		failures = append(failures, &cutShortError{fmt.Sprintf("deleting %d objects, %d left", len(stale), len(survivors)), whyDone(ctx)})
	}
	return deleted, survivors, errors.Join(failures...)
}

// prune deletes one object if it is still ours.
func (a *Applier) prune(ctx context.Context, obj *unstructured.Unstructured) (*Change, error) {
	owner := a.ownerOf(obj)
	if owner == nil {
		return nil, fmt.Errorf("deciding on deletion: the object does not carry the labels %s and %s, and no owner is configured",
			v1.OwnerNameLabel, v1.OwnerNamespaceLabel)
	}
	change := &Change{Object: reference(obj)}
	// A conflict means that the object was replaced by another one of the same name since it was read; it is looked at anew.
	err := persist(ctx, patienceWith, func() error {
		live := metadataOf(obj)
		if err := a.client.Get(ctx, client.ObjectKeyFromObject(obj), live); err != nil {
			return err
		}
		if !contains(live.Labels, owner) || isExempt(live) {
			change.Action = Skipped
			return nil
		}
		change.Action = Deleted
		if err := a.keepDeployed(ctx, obj); err != nil {
			return err
		}
		return a.remove(ctx, live)
	})
	if apierrors.IsNotFound(err) || isUnserved(err) {
		change.Action = Deleted
		return change, nil
	}
	if err != nil {
		return nil, err
	}
	return change, nil
}

// ownerOf returns the labels that a live object must carry to be deleted, or nil if that is not known.
func (a *Applier) ownerOf(obj *unstructured.Unstructured) map[string]string {
	if owner := ownerLabels(obj.GetLabels()); owner != nil {
		return owner
	}
	return ownerLabels(map[string]string{
		v1.OwnerNameLabel:      a.owner.Name,
		v1.OwnerNamespaceLabel: a.owner.Namespace,
	})
}

// isExempt tells whether the user said, by annotation or label, that the object is to stay.
func isExempt(live *metav1.PartialObjectMetadata) bool {
	return strings.EqualFold(live.Annotations[v1.PruneAnnotation], v1.DisabledValue) ||
		strings.EqualFold(live.Labels[v1.PruneAnnotation], v1.DisabledValue)
}

// remove deletes exactly the object whose metadata is given. An object that is gone or being deleted is fine.
func (a *Applier) remove(ctx context.Context, live *metav1.PartialObjectMetadata) error {
	if live.DeletionTimestamp != nil {
		return nil
	}
	uid := live.GetUID()
	return client.IgnoreNotFound(a.client.Delete(ctx, live,
		client.PropagationPolicy(metav1.DeletePropagationBackground),
		client.Preconditions{UID: &uid},
	))
}
