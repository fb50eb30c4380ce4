package migrate

import (
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// carry returns the managed fields with every other version replaced by the version of the step, and whether there was one. Left as they are,
// they would be lost: an API server that cannot write an object in the version of an entry, because it does not serve that version any more or
// because that version lacks a field which a newer one has a default for, drops all managed fields of the object when it is updated. In
// the former case it refuses to apply the object, too.
//
// Entries that become those of one manager are united: the API server would keep the last of them and forget who owns the other fields.
func (s Step) carry(entries []metav1.ManagedFieldsEntry) ([]metav1.ManagedFieldsEntry, bool, error) {
	if !slices.ContainsFunc(entries, s.isElsewhere) {
		return nil, false, nil
	}
	var carried []metav1.ManagedFieldsEntry
	for _, entry := range entries {
		if s.isElsewhere(entry) {
			entry.APIVersion = schema.GroupVersion{Group: s.Definition.Group, Version: s.To}.String()
		}
		i := slices.IndexFunc(carried, func(other metav1.ManagedFieldsEntry) bool { return sameManager(entry, other) })
		if i < 0 {
			carried = append(carried, entry)
			continue
		}
		united, err := unite(carried[i], entry)
		if err != nil {
			return nil, false, fmt.Errorf("uniting the managed fields of %q: %w", entry.Manager, err)
		}
		carried[i] = united
	}
	return carried, true, nil
}

// isElsewhere tells whether an entry is in another version than that of the step.
func (s Step) isElsewhere(entry metav1.ManagedFieldsEntry) bool {
	gv, err := schema.ParseGroupVersion(entry.APIVersion)
	return err == nil && gv.Group == s.Definition.Group && gv.Version != s.To
}

// sameManager tells whether the API server takes two entries for one.
func sameManager(a, b metav1.ManagedFieldsEntry) bool {
	return a.Manager == b.Manager && a.Operation == b.Operation && a.APIVersion == b.APIVersion && a.Subresource == b.Subresource
}

// unite returns an entry with the fields of both and the later time.
func unite(a, b metav1.ManagedFieldsEntry) (metav1.ManagedFieldsEntry, error) {
	fields := fieldpath.NewSet()
	for _, entry := range []metav1.ManagedFieldsEntry{a, b} {
		if entry.FieldsV1 == nil {
			continue
		}
		owned := fieldpath.NewSet()
		if err := owned.FromJSON(entry.FieldsV1.GetRawReader()); err != nil {
			return a, err
		}
		fields = fields.Union(owned)
	}
	raw, err := fields.ToJSON()
	if err != nil {
		return a, err
	}
	a.FieldsV1 = metav1.NewFieldsV1(string(raw))
	if a.Time.Before(b.Time) {
		a.Time = b.Time
	}
	return a, nil
}
