package snapshot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// putter makes objects in the cluster equal to saved ones.
//
// Missing objects are created and others updated, not applied: what others added to an object since it was saved would survive an apply, and the
// content would be another one. What did not change keeps its owners in an update.
type putter struct {
	client client.Client
}

// put makes one object equal to a saved one. Its version is the saved one, or where that is not served the storage version, if the saved content
// fits its schema.
func (p *putter) put(ctx context.Context, saved *unstructured.Unstructured, k kind) (Change, error) {
	wanted := saved.DeepCopy()
	version := saved.GroupVersionKind().Version
	wanted.SetGroupVersionKind(k.in(version))
	var change Change
	err := persist(ctx, func() (err error) {
		change, err = p.send(ctx, wanted.DeepCopy())
		return err
	})
	if err != nil && !slices.Contains(k.versions, version) {
		return Change{}, fmt.Errorf("the version %s that it was saved in is not served any more, and as %s it is refused (served are %s): %w",
			version, k.in(version).Version, strings.Join(k.versions, ", "), err)
	}
	return change, err
}

// send makes the requests for one object. Somebody who was faster makes it a conflict, which is tried again.
func (p *putter) send(ctx context.Context, wanted *unstructured.Unstructured) (Change, error) {
	live := &unstructured.Unstructured{}
	live.SetGroupVersionKind(wanted.GroupVersionKind())
	err := p.client.Get(ctx, client.ObjectKeyFromObject(wanted), live)
	if apierrors.IsNotFound(err) && !isUnserved(err) {
		err = p.client.Create(ctx, wanted)
		if apierrors.IsAlreadyExists(err) {
			err = conflict(wanted, err)
		}
		return Change{Action: Created}, err
	}
	if err != nil {
		return Change{}, err
	}
	if live.GetDeletionTimestamp() != nil {
		return Change{}, conflict(wanted, errors.New("it is being deleted, wait until it is gone"))
	}
	before := content(live)
	if equality.Semantic.DeepEqual(before.Object, content(wanted).Object) {
		return Change{Action: Unchanged}, nil
	}
	setContent(live, wanted)
	if err := p.client.Update(ctx, live); err != nil {
		return Change{}, err
	}
	// A newer schema may have filled in what was not there to be saved, as it did before.
	after := content(live)
	if equality.Semantic.DeepEqual(before.Object, after.Object) {
		return Change{Action: Unchanged}, nil
	}
	return Change{Action: Configured, Before: before, After: after}, nil
}

// conflict is an error that may be another one when it is tried again.
func conflict(obj *unstructured.Unstructured, err error) error {
	kind := obj.GroupVersionKind()
	return apierrors.NewConflict(schema.GroupResource{Group: kind.Group, Resource: kind.Kind}, obj.GetName(), err)
}
