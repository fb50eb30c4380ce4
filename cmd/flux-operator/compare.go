package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// action is what would be done to an object.
type action string

const (
	create    action = "create"
	configure action = "configure"
	unchanged action = "unchanged"
	remove    action = "delete"
)

// change is what would become of one object.
type change struct {
	action action
	object *unstructured.Unstructured
	// before and after are without what only the API server writes; nil for an object that is not there.
	before, after *unstructured.Unstructured
}

// comparison holds what the objects of one call are judged by.
type comparison struct {
	client  client.Client
	owner   map[string]string
	defined map[schema.GroupKind]bool
	created map[string]bool
}

// compare returns what would become of the objects, in their order, then which of the stale ones would be deleted.
// What could be found out is returned even if there is an error.
func (c *cluster) compare(ctx context.Context, instance *v1.FluxInstance, wanted, stale []*unstructured.Unstructured) ([]change, error) {
	with := &comparison{
		client:  c.client,
		owner:   map[string]string{v1.OwnerNameLabel: instance.Name, v1.OwnerNamespaceLabel: instance.Namespace},
		defined: definedKinds(wanted),
		created: namespaces(wanted),
	}
	applied, err := each(ctx, wanted, named(with.apply))
	pruned, pruneErr := each(ctx, stale, named(with.prune))
	var changes []change
	for _, c := range append(applied, pruned...) {
		if c != nil {
			changes = append(changes, *c)
		}
	}
	return changes, errors.Join(err, pruneErr)
}

// judge finds out what would become of an object; nil means that it is left alone.
type judge func(context.Context, *unstructured.Unstructured) (*change, error)

// named has errors say which object they are about.
func named(inner judge) judge {
	return func(ctx context.Context, obj *unstructured.Unstructured) (*change, error) {
		c, err := inner(ctx, obj)
		if err != nil {
			return nil, fmt.Errorf("comparing %s: %w", describe(obj), err)
		}
		return c, nil
	}
}

// apply finds out what applying an object would change.
func (c *comparison) apply(ctx context.Context, obj *unstructured.Unstructured) (*change, error) {
	live, err := c.read(ctx, obj)
	if apimeta.IsNoMatchError(err) && c.defined[obj.GroupVersionKind().GroupKind()] {
		return &change{action: create, object: obj, after: plain(obj)}, nil
	}
	if err != nil {
		return nil, err
	}
	applied := obj.DeepCopy()
	unstructured.RemoveNestedField(applied.Object, "status")
	if live != nil {
		if err := leaveIgnored(applied, live); err != nil {
			return nil, err
		}
	}
	err = c.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(applied),
		client.DryRunAll, client.ForceOwnership, client.FieldOwner(v1.FieldManager))
	// A dry run creates no namespace that the next one could be in.
	if live == nil && apierrors.IsNotFound(err) && c.created[obj.GetNamespace()] {
		return &change{action: create, object: obj, after: plain(obj)}, nil
	}
	if err != nil {
		return nil, err
	}
	if live == nil {
		return &change{action: create, object: obj, after: plain(applied)}, nil
	}
	result := &change{action: configure, object: obj, before: plain(live), after: plain(applied)}
	if equality.Semantic.DeepEqual(result.before.Object, result.after.Object) {
		result.action = unchanged
	}
	return result, nil
}

// prune finds out whether the operator would delete an object that is no longer wanted; nil means that it would not.
func (c *comparison) prune(ctx context.Context, obj *unstructured.Unstructured) (*change, error) {
	live, err := c.read(ctx, obj)
	if apimeta.IsNoMatchError(err) || err == nil && live == nil {
		return nil, nil //nolint:nilnil // it is gone: no change and no error
	}
	if err != nil {
		return nil, err
	}
	labels, annotations := live.GetLabels(), live.GetAnnotations()
	for label, owner := range c.owner {
		if labels[label] != owner {
			return nil, nil //nolint:nilnil // it is somebody else's
		}
	}
	if strings.EqualFold(labels[v1.PruneAnnotation], v1.DisabledValue) || strings.EqualFold(annotations[v1.PruneAnnotation], v1.DisabledValue) {
		return nil, nil //nolint:nilnil // its owner wants to keep it
	}
	return &change{action: remove, object: obj, before: plain(live)}, nil
}

// read returns the live object, nil when there is none.
func (c *comparison) read(ctx context.Context, obj *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	live := &unstructured.Unstructured{}
	live.SetGroupVersionKind(obj.GroupVersionKind())
	err := c.client.Get(ctx, client.ObjectKeyFromObject(obj), live)
	if apierrors.IsNotFound(err) {
		return nil, nil //nolint:nilnil // that it is not there is an answer
	}
	return live, err
}

// definedKinds are the kinds that CustomResourceDefinitions among the objects bring along.
func definedKinds(objects []*unstructured.Unstructured) map[schema.GroupKind]bool {
	kinds := map[schema.GroupKind]bool{}
	for _, obj := range objects {
		if obj.GetKind() != "CustomResourceDefinition" {
			continue
		}
		group, _, _ := unstructured.NestedString(obj.Object, "spec", "group")
		kind, _, _ := unstructured.NestedString(obj.Object, "spec", "names", "kind")
		kinds[schema.GroupKind{Group: group, Kind: kind}] = true
	}
	return kinds
}

// namespaces are the names of the Namespaces among the objects.
func namespaces(objects []*unstructured.Unstructured) map[string]bool {
	names := map[string]bool{}
	for _, obj := range objects {
		if obj.GroupVersionKind() == (schema.GroupVersionKind{Version: "v1", Kind: "Namespace"}) {
			names[obj.GetName()] = true
		}
	}
	return names
}

// plain returns a copy without what only the API server and controllers write.
func plain(obj *unstructured.Unstructured) *unstructured.Unstructured {
	out := obj.DeepCopy()
	unstructured.RemoveNestedField(out.Object, "status")
	for _, field := range []string{"managedFields", "resourceVersion", "uid", "generation", "creationTimestamp", "deletionTimestamp", "selfLink"} {
		unstructured.RemoveNestedField(out.Object, "metadata", field)
	}
	return out
}

// describe names an object as users of the output know it.
func describe(obj *unstructured.Unstructured) string {
	if obj.GetNamespace() == "" {
		return obj.GetKind() + "/" + obj.GetName()
	}
	return obj.GetKind() + "/" + obj.GetNamespace() + "/" + obj.GetName()
}
