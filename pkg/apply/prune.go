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
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// Prune deletes objects in reverse apply order, with background propagation, and does not wait until they are gone. A live object that does
// not carry the owner labels is left alone, one that is annotated or labelled v1.PruneAnnotation: disabled is disowned, and so is one that Adopt
// took and Apply did not get to (all are Skipped). The owner is the one whose labels the given object carries, else Options.Owner; an object of
// which neither is known is not deleted and is an error. What a Kustomization of Flux deployed stays, unless its deletion policy says otherwise.
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
		listed := a.listed(ctx, members)
		inParallel(ctx, a.concurrency, len(members), func(i int) {
			changes[i], errs[i] = a.prune(ctx, members[i], listed[IDOf(members[i])])
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

// listed reads those of the objects of which several are of one kind in one namespace, with one request for them instead of one each. It returns
// what carries the labels of their owner; what it does not find, or cannot read, is for the caller to read by name.
func (a *Applier) listed(ctx context.Context, objects []*unstructured.Unstructured) map[ID]*metav1.PartialObjectMetadata {
	count := map[selection]int{}
	for _, obj := range objects {
		if owner := a.ownerOf(obj); owner != nil {
			count[selection{kind: obj.GroupVersionKind(), namespace: obj.GetNamespace(), labels: labels.Set(owner).String()}]++
		}
	}
	found := map[ID]*metav1.PartialObjectMetadata{}
	for s, members := range count {
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(listKind(s.kind))
		if members == 1 || a.client.List(ctx, list, append(s.options(), client.Limit(pageSize))...) != nil {
			continue
		}
		for i := range list.Items {
			list.Items[i].SetGroupVersionKind(s.kind)
			found[s.idOf(&list.Items[i])] = &list.Items[i]
		}
	}
	return found
}

// prune deletes one object if it is still ours. known is what was read of it a moment ago; nil means that it is to be read.
func (a *Applier) prune(ctx context.Context, obj *unstructured.Unstructured, known *metav1.PartialObjectMetadata) (*Change, error) {
	owner := a.ownerOf(obj)
	if owner == nil {
		return nil, fmt.Errorf("deciding on deletion: the object does not carry the labels %s and %s, and no owner is configured",
			v1.OwnerNameLabel, v1.OwnerNamespaceLabel)
	}
	change := &Change{Object: reference(obj)}
	// A conflict means that the object was changed or replaced by another one of the same name since it was read; it is looked at anew.
	err := persist(ctx, patienceWith, func() error {
		live := known
		known = nil
		if live == nil {
			live = metadataOf(obj)
			if err := a.client.Get(ctx, client.ObjectKeyFromObject(obj), live); err != nil {
				return err
			}
		}
		change.Action = Skipped
		switch owned := contains(live.Labels, owner); {
		case owned && isExempt(live), a.isOnlyAdopted(live):
			return a.handOver(ctx, live)
		case !owned:
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

// remove deletes exactly the object whose metadata is given, as it is there: not one that has another owner since, or is to stay. An object that
// is gone or being deleted is fine.
func (a *Applier) remove(ctx context.Context, live *metav1.PartialObjectMetadata) error {
	if live.DeletionTimestamp != nil {
		return nil
	}
	uid, version := live.GetUID(), live.GetResourceVersion()
	return client.IgnoreNotFound(a.client.Delete(ctx, live,
		client.PropagationPolicy(metav1.DeletePropagationBackground),
		client.Preconditions{UID: &uid, ResourceVersion: &version},
	))
}
