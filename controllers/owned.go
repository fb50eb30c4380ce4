package controllers

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
)

// lookupTimeout bounds the wait for a watch that has not delivered its first list yet.
const lookupTimeout = 10 * time.Second

// ownedObjects follows the metadata of what the instance owns, so that drift is noticed when it happens and an unchanged pass asks nobody.
type ownedObjects struct {
	cache cache.Cache
	start func(kind *metav1.PartialObjectMetadata) error

	mu    sync.Mutex
	kinds map[schema.GroupVersionKind]bool
}

// follow watches exactly the kinds of these objects from now on.
func (o *ownedObjects) follow(ctx context.Context, objects []*unstructured.Unstructured) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	wanted := map[schema.GroupVersionKind]bool{}
	for _, obj := range objects {
		wanted[obj.GroupVersionKind()] = true
	}
	for gvk := range o.kinds {
		if wanted[gvk] {
			continue
		}
		if err := o.cache.RemoveInformer(ctx, metadataOf(gvk)); err != nil {
			return fmt.Errorf("ending the watch of %s: %w", gvk.Kind, err)
		}
		delete(o.kinds, gvk)
	}
	for gvk := range wanted {
		if o.kinds[gvk] {
			continue
		}
		if err := o.start(metadataOf(gvk)); err != nil {
			return fmt.Errorf("starting the watch of %s: %w", gvk.Kind, err)
		}
		if o.kinds == nil {
			o.kinds = map[schema.GroupVersionKind]bool{}
		}
		o.kinds[gvk] = true
	}
	return nil
}

// live returns the metadata of an object as the watch last saw it.
func (o *ownedObjects) live(ctx context.Context, obj *unstructured.Unstructured) (metav1.Object, error) {
	gvk := obj.GroupVersionKind()
	o.mu.Lock()
	followed := o.kinds[gvk]
	o.mu.Unlock()
	if !followed {
		return nil, fmt.Errorf("%s is not watched yet", gvk.Kind)
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	live := metadataOf(gvk)
	if err := o.cache.Get(ctx, client.ObjectKeyFromObject(obj), live); err != nil {
		return nil, err
	}
	return live, nil
}

func metadataOf(gvk schema.GroupVersionKind) *metav1.PartialObjectMetadata {
	object := &metav1.PartialObjectMetadata{}
	object.SetGroupVersionKind(gvk)
	return object
}

// driftOnly lets through what may be drift: status updates of kinds that count generations are none.
func driftOnly() predicate.Predicate {
	return predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool {
			if e.ObjectNew.GetGeneration() == 0 || e.ObjectNew.GetGeneration() != e.ObjectOld.GetGeneration() {
				return true
			}
			if e.ObjectNew.GetDeletionTimestamp() != nil {
				return true
			}
			return !maps.Equal(e.ObjectNew.GetLabels(), e.ObjectOld.GetLabels()) ||
				!maps.Equal(e.ObjectNew.GetAnnotations(), e.ObjectOld.GetAnnotations())
		},
	}
}
