package apply

import (
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Held returns the objects of the definitions with these names that have a finalizer of somebody else than Flux, and so keep their definition from
// going: the first ten, with these finalizers, and how many there are in all. It pages through metadata. Definitions and kinds that are not there
// hold nothing, nor do definitions that do not carry the labels of Options.Owner, if one is configured: they are not to go.
func (a *Applier) Held(ctx context.Context, crds []string) (first []Remaining, total int, err error) {
	for _, name := range crds {
		var crd *slimCRD
		err := persist(ctx, patienceWith, func() (err error) {
			crd, err = a.readCRD(ctx, name)
			return err
		})
		if apierrors.IsNotFound(err) || err == nil && !a.mayOwn(crd) {
			continue
		}
		if err != nil {
			return first, total, fmt.Errorf("reading CustomResourceDefinition %q: %w", name, err)
		}
		gvk, ok := crd.served()
		if !ok {
			continue
		}
		held, count, err := a.heldOf(ctx, gvk)
		if err != nil {
			return first, total, fmt.Errorf("listing objects of kind %s: %w", gvk.Kind, err)
		}
		total += count
		first = append(first, held[:min(len(held), listLimit-len(first))]...)
	}
	return first, total, nil
}

// heldOf is Held for one kind.
func (a *Applier) heldOf(ctx context.Context, gvk schema.GroupVersionKind) (first []Remaining, total int, err error) {
	page := &metav1.PartialObjectMetadataList{}
	for next := ""; ; {
		page.SetGroupVersionKind(listKind(gvk))
		err := persist(ctx, patienceWith, func() error { return a.client.List(ctx, page, client.Limit(pageSize), client.Continue(next)) })
		if isUnserved(err) {
			return nil, 0, nil
		}
		if err != nil {
			return nil, 0, err
		}
		for i := range page.Items {
			item := &page.Items[i]
			foreign := slices.DeleteFunc(item.Finalizers, isFlux)
			if len(foreign) == 0 {
				continue
			}
			if total++; len(first) < listLimit {
				first = append(first, Remaining{
					Object:      selection{kind: gvk}.idOf(item),
					Terminating: item.DeletionTimestamp != nil, Finalizers: foreign,
				})
			}
		}
		if next = page.Continue; next == "" {
			return first, total, nil
		}
	}
}
