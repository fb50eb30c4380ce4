package apply

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/value"
)

// Contender is a field manager that set what is the operator's to set.
type Contender struct {
	// Manager is the name of the field manager, Somebody where none is known.
	Manager string
	// Fields are paths such as .spec.replicas, at most twenty, sorted.
	Fields []string
}

// Somebody is who removed fields: nobody owns those.
const Somebody = "somebody"

// Bounds of what is said of one object.
const (
	maxContenders      = 5
	maxContendedFields = 20
	maxShownFields     = 5
)

// String names the manager and some of its fields.
func (c Contender) String() string {
	text := c.Manager + ": " + strings.Join(c.Fields[:min(len(c.Fields), maxShownFields)], ", ")
	if more := len(c.Fields) - maxShownFields; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// Metadata returns the live metadata, with managed fields, of those of the objects that are there and can be read.
func (a *Applier) Metadata(ctx context.Context, objects []*unstructured.Unstructured) map[ID]*metav1.PartialObjectMetadata {
	found := make([]*metav1.PartialObjectMetadata, len(objects))
	inParallel(ctx, a.concurrency, len(objects), func(i int) {
		live := metadataOf(objects[i])
		if err := a.client.Get(ctx, client.ObjectKeyFromObject(live), live); err == nil {
			found[i] = live
		}
	})
	metadata := make(map[ID]*metav1.PartialObjectMetadata, len(objects))
	for i, live := range found {
		if live != nil {
			metadata[IDOf(objects[i])] = live
		}
	}
	return metadata
}

// Contenders returns who set fields of a live object that are ours to set, the newest writer first: fields of the wanted object that were
// taken from us, and whatever is set by those whose fields we take over. Labels and annotations that are gone come last. Fields that are left
// to others are nobody's to contend for, nor are the replicas of those that scale by themselves.
func (a *Applier) Contenders(live *metav1.PartialObjectMetadata, wanted *unstructured.Unstructured) []Contender {
	left, err := a.leftOf(wanted)
	if err != nil {
		return nil
	}
	ours := fieldpath.NewSet()
	for _, entry := range live.ManagedFields {
		if a.isOurs(entry) {
			ours = ours.Union(fieldsIn(entry))
		}
	}
	rest := without(wanted, left)
	entries := slices.Clone(live.ManagedFields)
	slices.SortStableFunc(entries, newestFirst)
	var found []Contender
	for _, entry := range entries {
		if a.isOurs(entry) || entry.Subresource == "scale" && a.scales(entry.Manager) || len(found) == maxContenders {
			continue
		}
		theirs := fieldsIn(entry)
		ignored := ownedAt(theirs, wanted, left)
		theirs = theirs.RecursiveDifference(ignored).Difference(kept).Difference(ours)
		foreign := a.isForeign(entry)
		if fields := contended(theirs, func(path fieldpath.Path) bool { return foreign || states(rest.Object, path) }); len(fields) > 0 {
			found = append(found, Contender{Manager: entry.Manager, Fields: fields})
		}
	}
	if fields := append(removed("labels", rest.GetLabels(), live.Labels), removed("annotations", rest.GetAnnotations(), live.Annotations)...); len(fields) > 0 {
		found = append(found, Contender{Manager: Somebody, Fields: fields[:min(len(fields), maxContendedFields)]})
	}
	return found
}

// removed returns which labels or annotations that were set are not there any more, sorted.
func removed(what string, set, live map[string]string) []string {
	var fields []string
	for _, key := range slices.Sorted(maps.Keys(set)) {
		if _, there := live[key]; !there {
			fields = append(fields, fieldpath.MakePathOrDie("metadata", what, key).String())
		}
	}
	return fields
}

// fieldsIn returns the fields of an entry, none if they cannot be read: naming somebody is not worth an error.
func fieldsIn(entry metav1.ManagedFieldsEntry) *fieldpath.Set {
	set := &fieldpath.Set{}
	if entry.FieldsV1 == nil || set.FromJSON(entry.FieldsV1.GetRawReader()) != nil {
		return fieldpath.NewSet()
	}
	return set
}

// newestFirst orders entries by the time of the last write, to the second; those without one come last.
func newestFirst(a, b metav1.ManagedFieldsEntry) int {
	switch {
	case a.Time == nil && b.Time == nil:
		return 0
	case a.Time == nil:
		return 1
	case b.Time == nil:
		return -1
	}
	return b.Time.Compare(a.Time.Time)
}

// contended returns the innermost fields of a set that are selected, sorted.
func contended(set *fieldpath.Set, selected func(fieldpath.Path) bool) []string {
	var fields []string
	for path := range set.Leaves().All() {
		if selected(path) {
			fields = append(fields, path.String())
		}
	}
	slices.Sort(fields)
	return fields[:min(len(fields), maxContendedFields)]
}

// states tells whether an object has the field that a path of managed fields names.
func states(node any, path fieldpath.Path) bool {
	for _, element := range path {
		var found bool
		if node, found = memberOf(node, element); !found {
			return false
		}
	}
	return true
}

// memberOf returns what an element of a path stands for: a field of a map, or an item of a list. Keys that an item leaves to the API server's
// defaults match anything.
func memberOf(node any, element fieldpath.PathElement) (any, bool) {
	if element.FieldName != nil {
		fields, _ := node.(map[string]any)
		child, found := fields[*element.FieldName]
		return child, found
	}
	items, _ := node.([]any)
	if element.Index != nil {
		if at := *element.Index; at >= 0 && at < len(items) {
			return items[at], true
		}
		return nil, false
	}
	at := slices.IndexFunc(items, func(item any) bool {
		if element.Value != nil {
			return value.Equals(value.NewValueInterface(item), *element.Value)
		}
		return element.Key != nil && hasKeys(item, *element.Key)
	})
	if at < 0 {
		return nil, false
	}
	return items[at], true
}

// hasKeys tells whether an item of a list is the one with these keys.
func hasKeys(item any, keys value.FieldList) bool {
	fields, ok := item.(map[string]any)
	return ok && !slices.ContainsFunc(keys, func(key value.Field) bool {
		has, stated := fields[key.Name]
		return stated && !value.Equals(value.NewValueInterface(has), key.Value)
	})
}
