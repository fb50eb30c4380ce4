package migrate

import (
	"bytes"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// carry returns the managed fields with every version that may not stay replaced by the version of the step, and whether there was one.
// Entries that become those of one manager are united: the API server would keep the last of them and forget who owns the other fields.
func (s Step) carry(entries []metav1.ManagedFieldsEntry) ([]metav1.ManagedFieldsEntry, bool, error) {
	if !slices.ContainsFunc(entries, s.isStale) {
		return nil, false, nil
	}
	var carried []metav1.ManagedFieldsEntry
	for _, entry := range entries {
		if s.isStale(entry) {
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

// isStale tells whether an entry is in a version that may not stay.
func (s Step) isStale(entry metav1.ManagedFieldsEntry) bool {
	gv, err := schema.ParseGroupVersion(entry.APIVersion)
	return err == nil && gv.Group == s.Definition.Group && !slices.Contains(s.Keep, gv.Version)
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
		if err := owned.FromJSON(bytes.NewReader(entry.FieldsV1.Raw)); err != nil {
			return a, err
		}
		fields = fields.Union(owned)
	}
	raw, err := fields.ToJSON()
	if err != nil {
		return a, err
	}
	a.FieldsV1 = &metav1.FieldsV1{Raw: raw}
	if a.Time.Before(b.Time) {
		a.Time = b.Time
	}
	return a, nil
}
