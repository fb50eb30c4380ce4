// Package inventory is set algebra over the objects an instance owns, and their encoding in its status.
package inventory

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/fluxcd/cli-utils/pkg/object"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// Inventory is a set of objects, known by group, kind, namespace and name. Values are immutable; the zero value is the empty set.
type Inventory struct {
	// entries are sorted by id and hold each id once.
	entries []entry
}

// entry is one object; version says through which API version it was last seen and is no part of what the object is.
type entry struct {
	id      string
	version string
	object  object.ObjMetadata
}

// Of returns the set of the given objects; where one object is given twice, the first wins.
func Of(objects []*unstructured.Unstructured) Inventory {
	entries := make([]entry, 0, len(objects))
	for _, o := range objects {
		entries = append(entries, entryOf(o))
	}
	return normalise(entries)
}

// FromStatus reads a set from a status; nil is the empty set.
//
// Entries that cannot be read are left out and named in the error, so that a caller may go on with the others.
func FromStatus(status *v1.ResourceInventory) (Inventory, error) {
	if status == nil {
		return Inventory{}, nil
	}
	var problems []error
	entries := make([]entry, 0, len(status.Entries))
	for _, ref := range status.Entries {
		parsed, err := object.ParseObjMetadata(ref.ID)
		if err == nil && (parsed.Name == "" || parsed.GroupKind.Kind == "" || ref.Version == "") {
			err = errors.New("name, kind or version is empty")
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("reading inventory entry %q: %w", ref.ID, err))
			continue
		}
		entries = append(entries, entry{id: parsed.String(), version: ref.Version, object: parsed})
	}
	return normalise(entries), errors.Join(problems...)
}

// ToStatus returns the set as it is kept in a status, sorted by id; nil for the empty set.
func (i Inventory) ToStatus() *v1.ResourceInventory {
	if i.Len() == 0 {
		return nil
	}
	refs := make([]v1.ResourceRef, 0, i.Len())
	for _, e := range i.entries {
		refs = append(refs, v1.ResourceRef{ID: e.id, Version: e.version})
	}
	return &v1.ResourceInventory{Entries: refs}
}

// Union returns the objects of both sets; for an object in both the API version of the receiver is kept.
func (i Inventory) Union(other Inventory) Inventory {
	return normalise(slices.Concat(i.entries, other.entries))
}

// Minus returns the objects of the receiver that are not in the other set, whatever their API version there.
func (i Inventory) Minus(other Inventory) Inventory {
	var rest []entry
	for _, e := range i.entries {
		if _, found := other.find(e.id); !found {
			rest = append(rest, e)
		}
	}
	return Inventory{entries: rest}
}

// Has tells whether the object is in the set, whatever its API version.
func (i Inventory) Has(obj *unstructured.Unstructured) bool {
	_, found := i.find(entryOf(obj).id)
	return found
}

// Len is the number of objects.
func (i Inventory) Len() int { return len(i.entries) }

// Objects returns for each object a new skeleton that holds API version, kind, namespace and name only, sorted by id.
func (i Inventory) Objects() []*unstructured.Unstructured {
	objects := make([]*unstructured.Unstructured, 0, i.Len())
	for _, e := range i.entries {
		o := &unstructured.Unstructured{}
		o.SetGroupVersionKind(schema.GroupVersionKind{Group: e.object.GroupKind.Group, Version: e.version, Kind: e.object.GroupKind.Kind})
		o.SetNamespace(e.object.Namespace)
		o.SetName(e.object.Name)
		objects = append(objects, o)
	}
	return objects
}

func (i Inventory) find(id string) (int, bool) {
	return slices.BinarySearchFunc(i.entries, id, func(e entry, id string) int { return cmp.Compare(e.id, id) })
}

func entryOf(o *unstructured.Unstructured) entry {
	gvk := o.GroupVersionKind()
	meta := object.ObjMetadata{Namespace: o.GetNamespace(), Name: o.GetName(), GroupKind: gvk.GroupKind()}
	return entry{id: meta.String(), version: gvk.Version, object: meta}
}

// normalise sorts and drops repeated ids; the stable sort lets the first of equal ids win.
func normalise(entries []entry) Inventory {
	slices.SortStableFunc(entries, func(a, b entry) int { return cmp.Compare(a.id, b.id) })
	return Inventory{entries: slices.CompactFunc(entries, func(a, b entry) bool { return a.id == b.id })}
}
