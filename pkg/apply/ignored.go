package apply

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// leftOf returns the fields of an object that are left to others: those that its annotation names, and those that Leaving was told of.
func (a *Applier) leftOf(obj *unstructured.Unstructured) ([][]string, error) {
	fields, err := v1.IgnoredFields(obj.GetAnnotations())
	return append(fields, a.left[IDOf(obj)]...), err
}

// putWithout applies an object of which some fields are left to others. An object that is not there is created whole, as the API may require the
// fields. From then on they are neither applied nor ours: what we own and do not apply would be removed.
func (a *Applier) putWithout(ctx context.Context, obj *unstructured.Unstructured, fields [][]string) (*applied, error) {
	result := &applied{object: without(obj, fields)}
	live := metadataOf(obj)
	err := a.client.Get(ctx, client.ObjectKeyFromObject(obj), live)
	existed := live.ResourceVersion
	if apierrors.IsNotFound(err) && !isUnserved(err) {
		result.action = Created
		live, err = a.patch(ctx, obj, client.ForceOwnership)
	}
	if err != nil {
		return nil, err
	}
	ignored := func(owned *fieldpath.Set) *fieldpath.Set { return ownedAt(owned, obj, fields) }
	if err := a.separable(live, obj, fields); err != nil {
		return nil, err
	}
	taken, err := a.takeOver(ctx, obj, live, ignored)
	if err != nil {
		return nil, err
	}
	if result.live, err = a.send(ctx, result.object); err != nil {
		return nil, err
	}
	switch {
	case result.action == Created:
	case taken:
		result.action = Configured
	case result.live.ResourceVersion == existed:
		result.action = Unchanged
	}
	return result, nil
}

// without returns a copy of the object that lacks the fields.
func without(obj *unstructured.Unstructured, fields [][]string) *unstructured.Unstructured {
	rest := obj.DeepCopy()
	if obj.GroupVersionKind().GroupKind() == secretKind {
		foldStringData(rest.Object)
	}
	for _, field := range fields {
		drop(rest.Object, field)
	}
	return rest
}

// drop removes a field and the maps that it leaves empty, which would be applied as empty, and tells whether there was one.
func drop(node any, field []string) bool {
	child, found := childOf(node, field[0])
	if !found {
		return false
	}
	parent, isMap := node.(map[string]any)
	if len(field) == 1 {
		delete(parent, field[0])
		return isMap
	}
	dropped := drop(child, field[1:])
	if rest, ok := child.(map[string]any); isMap && ok && dropped && len(rest) == 0 {
		delete(parent, field[0])
	}
	return dropped
}

// childOf returns what a map has by that name, or a list at that position.
func childOf(node any, token string) (any, bool) {
	switch node := node.(type) {
	case map[string]any:
		child, found := node[token]
		return child, found
	case []any:
		if at, err := strconv.Atoi(token); err == nil && at >= 0 && at < len(node) {
			return node[at], true
		}
	}
	return nil, false
}

// ownedAt returns the fields of the object, as paths in a set of owned fields, of which the set has at least a part.
func ownedAt(owned *fieldpath.Set, obj *unstructured.Unstructured, fields [][]string) *fieldpath.Set {
	found := fieldpath.NewSet()
	for _, field := range fields {
		path, ok := pathOf(owned, obj.Object, field)
		if ok && (owned.Has(path) || !inside(owned, path).Empty()) {
			found.Insert(path)
		}
	}
	return found
}

// pathOf returns a field of the object as the path in a set of owned fields. Where the way leads through a list, the set knows by which keys its
// items are told apart; ok is false if it has no such item.
func pathOf(owned *fieldpath.Set, node any, field []string) (path fieldpath.Path, ok bool) {
	for _, token := range field {
		child, _ := childOf(node, token)
		element := fieldpath.FieldNameElement(token)
		if _, isList := node.([]any); isList {
			if element, ok = itemOf(owned, child); !ok {
				return nil, false
			}
		}
		path, owned, node = append(path, element), owned.WithPrefix(element), child
	}
	return path, true
}

// itemOf returns the element of a set that stands for an item of a list. Keys that the item leaves to the API server's defaults match anything.
func itemOf(owned *fieldpath.Set, item any) (fieldpath.PathElement, bool) {
	for element := range owned.Children.All() {
		if element.Key != nil && hasKeys(item, *element.Key) {
			return element, true
		}
	}
	return fieldpath.PathElement{}, false
}

// separable returns an error where a field cannot be left to others by itself, as the API takes what it is in as a whole: some lists and maps.
func (a *Applier) separable(live *metav1.PartialObjectMetadata, obj *unstructured.Unstructured, fields [][]string) error {
	var problems []error
	for _, entry := range live.ManagedFields {
		if !a.isOurs(entry) || entry.FieldsV1 == nil {
			continue
		}
		owned := &fieldpath.Set{}
		if err := owned.FromJSON(entry.FieldsV1.GetRawReader()); err != nil {
			return fmt.Errorf("reading managed fields: %w", err)
		}
		for _, field := range fields {
			if whole := wholeAbove(owned, obj.Object, field); whole != nil {
				problems = append(problems, fmt.Errorf("annotation %s: /%s cannot be left to others by itself: name /%s",
					v1.IgnoreFieldsAnnotation, strings.Join(field, "/"), strings.Join(whole, "/")))
			}
		}
	}
	return errors.Join(problems...)
}

// wholeAbove returns the list or map above a field of the object that is owned as a whole, nil if there is none.
func wholeAbove(owned *fieldpath.Set, obj map[string]any, field []string) []string {
	var node any = obj
	for _, token := range field {
		var found bool
		if node, found = childOf(node, token); !found {
			return nil
		}
	}
	for i := 1; i < len(field); i++ {
		path, ok := pathOf(owned, obj, field[:i])
		if ok && owned.Has(path) && inside(owned, path).Empty() {
			return field[:i]
		}
	}
	return nil
}

// inside returns what a set has below a path.
func inside(owned *fieldpath.Set, path fieldpath.Path) *fieldpath.Set {
	for _, element := range path {
		owned = owned.WithPrefix(element)
	}
	return owned
}
