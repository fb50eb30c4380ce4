package apply

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// fluxFinalizers are the finalizers of the Flux controllers, in all releases: that of source-watcher is another than that of all others.
var fluxFinalizers = []string{"finalizers.fluxcd.io", "source.extensions.fluxcd.io/finalizer"}

const (
	// pageSize is how many objects are listed with one request.
	pageSize = 500
	// fruitlessRounds is how often the objects of a kind are gone through without releasing one before giving up.
	fruitlessRounds = 3
)

// ReleaseFinalizers removes the finalizers of the Flux controllers, and no others, from all objects, in all namespaces, of those of the definitions
// with these names that carry the labels of Options.Owner, or of all of them where no owner is configured, and returns how many objects had one.
// The objects of another definition are held by the controllers of whoever owns that, which may be running.
//
// It pages through metadata, goes through each kind again until no such finalizer is left, and tolerates objects and kinds that disappear
// meanwhile and objects that others change. If some cannot be released, the others still are, and the error joins an *ObjectError for each, at
// most ten a kind. progress, which may be nil, is called with the number so far after each page, never concurrently.
func (a *Applier) ReleaseFinalizers(ctx context.Context, crds []string, progress func(released int)) (int, error) {
	return a.ReleaseFinalizersIn(ctx, metav1.NamespaceAll, crds, progress)
}

// ReleaseFinalizersIn is ReleaseFinalizers for the objects in one namespace, and there whoever owns their definitions: it is for a namespace that
// goes as a whole, together with the controllers in it.
func (a *Applier) ReleaseFinalizersIn(ctx context.Context, namespace string, crds []string, progress func(released int)) (int, error) {
	total := 0
	var failures []error
	for _, name := range crds {
		var crd *slimCRD
		err := persist(ctx, patienceWith, func() (err error) {
			crd, err = a.readCRD(ctx, name)
			return err
		})
		if apierrors.IsNotFound(err) || err == nil && namespace == metav1.NamespaceAll && !a.mayOwn(crd) {
			continue
		}
		if err != nil {
			failures = append(failures, fmt.Errorf("reading CustomResourceDefinition %q: %w", name, err))
			continue
		}
		gvk, ok := crd.served()
		if !ok {
			failures = append(failures, fmt.Errorf("releasing objects of %q: no version is served", name))
			continue
		}
		list := metav1.TypeMeta{APIVersion: gvk.GroupVersion().String(), Kind: gvk.Kind}
		r := &release{Applier: a, list: list, namespace: namespace, total: &total, progress: progress}
		if err := r.kind(ctx); err != nil {
			failures = append(failures, err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	return total, errors.Join(failures...)
}

// release is the work on one kind.
type release struct {
	*Applier
	list      metav1.TypeMeta
	namespace string
	total     *int
	progress  func(int)
}

// kind goes through all objects until one round finds nothing to release.
func (r *release) kind(ctx context.Context) error {
	backoff := newBackoff()
	for fruitless := 0; ; {
		before := *r.total
		stuck, err := r.round(ctx)
		if isUnserved(err) || err == nil && len(stuck) == 0 && *r.total == before {
			return nil
		}
		if ctx.Err() != nil {
			return &cutShortError{"releasing objects of kind " + r.list.Kind, whyDone(ctx)}
		}
		if fruitless++; *r.total > before {
			fruitless = 0
		}
		if fruitless == fruitlessRounds {
			return fmt.Errorf("releasing objects of kind %s: %w", r.list.Kind, errors.Join(append(stuck[:min(len(stuck), listLimit)], err)...))
		}
		if fruitless > 0 {
			pause(ctx, backoff.Step()) // if it is cut short, the next round says why
		}
	}
}

// round goes through all objects once, page by page. It returns an error for each object that could not be released, and one if the objects
// could not be listed to the end.
func (r *release) round(ctx context.Context) ([]error, error) {
	var stuck []error
	page := &metav1.PartialObjectMetadataList{}
	for next := ""; ; {
		page.SetGroupVersionKind(listKind(r.list.GroupVersionKind()))
		err := persist(ctx, patienceWith, func() error {
			return r.client.List(ctx, page, client.InNamespace(r.namespace), client.Limit(pageSize), client.Continue(next))
		})
		if err != nil {
			return stuck, err
		}
		released, failures := r.items(ctx, page.Items)
		stuck = append(stuck, failures...)
		*r.total += released
		if r.progress != nil {
			r.progress(*r.total)
		}
		if next = page.Continue; next == "" || ctx.Err() != nil {
			return stuck, ctx.Err()
		}
	}
}

// items releases the objects of one page.
func (r *release) items(ctx context.Context, items []metav1.PartialObjectMetadata) (int, []error) {
	var mu sync.Mutex
	var failures []error
	released := 0
	held := slices.DeleteFunc(items, func(item metav1.PartialObjectMetadata) bool {
		return !slices.ContainsFunc(item.Finalizers, isFlux)
	})
	inParallel(ctx, r.concurrency, len(held), func(i int) {
		err := persist(ctx, patienceWith, func() error { return r.item(ctx, &held[i]) })
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err == nil:
			released++
		case !apierrors.IsNotFound(err):
			gvk := r.list.GroupVersionKind()
			failures = append(failures, objectError(ID{Group: gvk.Group, Kind: gvk.Kind, Namespace: held[i].Namespace, Name: held[i].Name}, err))
		}
	})
	return released, failures
}

// isFlux tells whether a finalizer is one of the Flux controllers.
func isFlux(finalizer string) bool {
	return slices.Contains(fluxFinalizers, finalizer)
}

// item removes the finalizers from one object. The patch fails if one of them is no longer in its place, so that nothing else is removed. It goes
// from the last to the first, as what comes after a removed one moves up.
func (r *release) item(ctx context.Context, item *metav1.PartialObjectMetadata) error {
	var steps []operation
	for i, finalizer := range slices.Backward(item.Finalizers) {
		if isFlux(finalizer) {
			path := fmt.Sprintf("/metadata/finalizers/%d", i)
			steps = append(steps, operation{Op: "test", Path: path, Value: finalizer}, operation{Op: "remove", Path: path})
		}
	}
	body, err := json.Marshal(steps)
	if err != nil {
		return fmt.Errorf("encoding a patch: %w", err)
	}
	target := &metav1.PartialObjectMetadata{TypeMeta: r.list}
	target.SetNamespace(item.Namespace)
	target.SetName(item.Name)
	return r.client.Patch(ctx, target, client.RawPatch(types.JSONPatchType, body), client.FieldOwner(r.manager))
}
