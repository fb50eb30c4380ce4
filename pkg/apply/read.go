package apply

import (
	"context"
	"errors"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Read returns the objects as they are in the cluster, in the given order and without those that are not there. The error joins an
// *ObjectError for each object that could not be read.
func (a *Applier) Read(ctx context.Context, objects []*unstructured.Unstructured) ([]*unstructured.Unstructured, error) {
	live := make([]*unstructured.Unstructured, len(objects))
	failures := make([]error, len(objects))
	inParallel(ctx, a.concurrency, len(objects), func(i int) {
		found := reference(objects[i])
		err := persist(ctx, patienceWith, func() error { return a.client.Get(ctx, client.ObjectKeyFromObject(found), found) })
		switch {
		case err == nil:
			live[i] = found
		case !apierrors.IsNotFound(err):
			failures[i] = objectError(IDOf(objects[i]), err)
		}
	})
	missing := func(obj *unstructured.Unstructured) bool { return obj == nil }
	return slices.DeleteFunc(live, missing), errors.Join(errors.Join(failures...), ctx.Err())
}
