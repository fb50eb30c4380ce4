package migrate

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// pageSize is how many objects are listed with one request, and held at a time.
	pageSize = 500
	// patience is how often the API server may refuse to continue a list, which it does after some minutes.
	patience = 10
)

// rewriting is the work on the objects of one definition.
type rewriting struct {
	*Migrator

	step     Step
	progress func(Progress)

	mu     sync.Mutex
	failed []ObjectError
}

// all goes through all objects, page by page. What others write meanwhile is stored in the right version, so the pages need not be of one moment.
func (r *rewriting) all(ctx context.Context) error {
	done, refused := 0, 0
	for next := ""; ; {
		page, err := r.list(ctx, next)
		if apierrors.IsResourceExpired(err) && refused < patience {
			refused++
			if next = continuation(err); next == "" {
				done = 0
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("listing objects of CustomResourceDefinition %q: %w", r.step.Definition.Name, err)
		}
		r.objects(ctx, page.Items)
		done += len(page.Items)
		r.report(done, page.RemainingItemCount)
		if next = page.Continue; next == "" || r.isHopeless() || ctx.Err() != nil {
			return r.outcome(ctx)
		}
	}
}

// list returns the metadata of one page of objects.
func (r *rewriting) list(ctx context.Context, next string) (*metav1.PartialObjectMetadataList, error) {
	page := &metav1.PartialObjectMetadataList{}
	page.SetGroupVersionKind(r.kind("List"))
	err := persist(ctx, func() error { return r.client.List(ctx, page, client.Limit(pageSize), client.Continue(next)) })
	return page, err
}

// continuation returns where to go on with a list that took too long, which the API server tells along with its refusal.
func continuation(err error) string {
	var answer apierrors.APIStatus
	if !errors.As(err, &answer) {
		return ""
	}
	return answer.Status().Continue
}

// report tells how far the work has come.
func (r *rewriting) report(done int, remaining *int64) {
	total := done
	if remaining != nil {
		total += int(*remaining)
	}
	r.progress(Progress{Definition: r.step.Definition.Name, Done: done, Total: total})
}

// objects deals with the objects of one page, a few at a time, until too many have failed.
func (r *rewriting) objects(ctx context.Context, items []metav1.PartialObjectMetadata) {
	var taken atomic.Int64
	var workers sync.WaitGroup
	for range r.concurrency {
		workers.Go(func() {
			for i := taken.Add(1) - 1; int(i) < len(items) && ctx.Err() == nil && !r.isHopeless(); i = taken.Add(1) - 1 {
				r.note(&items[i], r.object(ctx, &items[i]))
			}
		})
	}
	workers.Wait()
}

// object rewrites one object. If somebody else changed it meanwhile it is read again; if it is gone, all is well.
func (r *rewriting) object(ctx context.Context, item *metav1.PartialObjectMetadata) error {
	err := persist(ctx, func() error {
		err := r.send(ctx, item)
		if apierrors.IsConflict(err) {
			item.SetGroupVersionKind(r.kind(""))
			err = cmp.Or(r.client.Get(ctx, client.ObjectKeyFromObject(item), item), err)
		}
		return err
	})
	if isGone(err, item.Name) {
		return nil
	}
	return err
}

// isGone tells whether the API server does not have the object, as opposed to not serving its version.
func isGone(err error, name string) bool {
	var answer apierrors.APIStatus
	if !apierrors.IsNotFound(err) || !errors.As(err, &answer) {
		return false
	}
	details := answer.Status().Details
	return details != nil && details.Name == name
}

// send makes the request that stores one object anew, if there is anything to do for it.
//
// An empty patch changes nothing, yet the API server writes the object if what is stored is not what it would store, and only then: the
// version is part of that. Managed fields are changed under an optimistic lock, and that write stores the object anew, too.
func (r *rewriting) send(ctx context.Context, item *metav1.PartialObjectMetadata) error {
	carried, changed, err := r.step.carry(item.ManagedFields)
	if err != nil || !changed && !r.step.Rewrite {
		return err
	}
	body := []byte("{}")
	if changed {
		metadata := map[string]any{"resourceVersion": item.ResourceVersion, "managedFields": carried}
		if body, err = json.Marshal(map[string]any{"metadata": metadata}); err != nil {
			return fmt.Errorf("encoding a patch: %w", err)
		}
	}
	target := &metav1.PartialObjectMetadata{}
	target.SetGroupVersionKind(r.kind(""))
	target.SetNamespace(item.Namespace)
	target.SetName(item.Name)
	return r.client.Patch(ctx, target, client.RawPatch(types.MergePatchType, body), client.FieldOwner(r.manager))
}

// kind returns the kind of the objects in the version of the step, with a suffix.
func (r *rewriting) kind(suffix string) schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: r.step.Definition.Group, Version: r.step.To, Kind: r.step.Definition.Kind + suffix}
}

// note remembers an object that failed.
func (r *rewriting) note(item *metav1.PartialObjectMetadata, err error) {
	if err == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = append(r.failed, ObjectError{Object: client.ObjectKeyFromObject(item), Err: err})
}

// isHopeless tells whether so many objects failed that the others are not worth trying.
func (r *rewriting) isHopeless() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.failed) >= failureLimit
}

// outcome returns what became of the objects.
func (r *rewriting) outcome(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if len(r.failed) == 0 {
		return nil
	}
	slices.SortFunc(r.failed, func(a, b ObjectError) int { return cmp.Compare(a.Object.String(), b.Object.String()) })
	return &ObjectsError{Definition: r.step.Definition.Name, Version: r.step.To, Objects: r.failed}
}
