package apply

import (
	"context"
	"errors"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Standing is an object that is there and not being deleted.
type Standing struct {
	// Object names the object.
	Object ID
	// Owned tells whether it carries the labels of the owner.
	Owned bool
	// Exempt tells whether it is to stay, as v1.PruneAnnotation says.
	Exempt bool
}

// Standing returns those of the objects that are there and not being deleted, in their order. It reads metadata: all that is owned of one kind in one
// namespace with one request, anything else one by one.
func (a *Applier) Standing(ctx context.Context, objects []*unstructured.Unstructured) ([]Standing, error) {
	found := make([]*Standing, len(objects))
	errs := make([]error, len(objects))
	listed := a.listed(ctx, objects)
	inParallel(ctx, a.concurrency, len(objects), func(i int) {
		live := listed[IDOf(objects[i])]
		if live == nil {
			live = metadataOf(objects[i])
			err := persist(ctx, patienceWith, func() error { return a.client.Get(ctx, client.ObjectKeyFromObject(objects[i]), live) })
			if apierrors.IsNotFound(err) || isUnserved(err) {
				return
			}
			if err != nil {
				errs[i] = objectError(IDOf(objects[i]), err)
				return
			}
		}
		if live.DeletionTimestamp == nil {
			owner := a.ownerOf(objects[i])
			found[i] = &Standing{Object: IDOf(objects[i]), Owned: owner != nil && contains(live.Labels, owner), Exempt: isExempt(live)}
		}
	})
	var standing []Standing
	for _, s := range found {
		if s != nil {
			standing = append(standing, *s)
		}
	}
	return standing, errors.Join(errors.Join(errs...), ctx.Err())
}
