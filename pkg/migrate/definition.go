package migrate

import (
	"errors"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// crdKind is the kind of definitions, in the version in which they are read and written.
var crdKind = schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"}

// Definition is what migrating needs of a CustomResourceDefinition: everything but the schemas, which are nine tenths of it.
type Definition struct {
	// Name is the name of the definition, such as kustomizations.kustomize.toolkit.fluxcd.io.
	Name string
	// Group is the API group of the objects.
	Group string
	// Kind is the kind of the objects.
	Kind string
	// Versions are the API versions in the order of the definition.
	Versions []Version
	// Stored are the versions in which objects may be stored. Only a definition that was read from a cluster has them.
	Stored []string

	// release is what its label says it came with.
	release         string
	uid             string
	resourceVersion string
	generation      int64
	// changed is when something but the status was changed last.
	changed time.Time
	// leaving tells whether the definition is being deleted, and all objects with it.
	leaving bool
}

// Version is one API version of a definition.
type Version struct {
	// Name is the version, such as v1beta2.
	Name string `json:"name"`
	// Served tells whether objects can be read and written in this version.
	Served bool `json:"served"`
	// Storage tells whether this is the version in which objects are stored when they are written; it is true for one version.
	Storage bool `json:"storage"`
}

// Definitions returns the definitions among the objects, in their order, and an error for those that are not well-formed.
func Definitions(objects []*unstructured.Unstructured) ([]Definition, error) {
	var found []Definition
	var malformed []error
	for _, obj := range objects {
		if obj.GroupVersionKind().GroupKind() != crdKind.GroupKind() {
			continue
		}
		definition, err := definitionOf(obj)
		found = append(found, definition)
		malformed = append(malformed, err)
	}
	return found, errors.Join(malformed...)
}

// definitionOf reads one definition.
func definitionOf(obj *unstructured.Unstructured) (Definition, error) {
	var crd struct {
		metav1.ObjectMeta `json:"metadata"`

		Spec struct {
			Group string `json:"group"`
			Names struct {
				Kind string `json:"kind"`
			} `json:"names"`
			Versions []Version `json:"versions"`
		} `json:"spec"`
		Status struct {
			StoredVersions []string `json:"storedVersions"`
		} `json:"status"`
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(obj.Object, &crd); err != nil {
		return Definition{}, fmt.Errorf("reading CustomResourceDefinition %q: %w", obj.GetName(), err)
	}
	definition := Definition{
		Name: crd.Name, Group: crd.Spec.Group, Kind: crd.Spec.Names.Kind, Versions: crd.Spec.Versions, Stored: crd.Status.StoredVersions,
		release: crd.Labels[versionLabel], uid: string(crd.UID), resourceVersion: crd.ResourceVersion, generation: crd.Generation, changed: lastChange(crd.ManagedFields),
		leaving: crd.DeletionTimestamp != nil,
	}
	if definition.Group == "" || definition.Kind == "" || definition.storage() == "" {
		return Definition{}, fmt.Errorf("reading CustomResourceDefinition %q: spec.group, spec.names.kind or the storage version is missing", crd.Name)
	}
	return definition, nil
}

// lastChange returns the latest time at which something but the status was changed; the zero time if that is not known.
func lastChange(entries []metav1.ManagedFieldsEntry) time.Time {
	var last time.Time
	for _, entry := range entries {
		if entry.Subresource == "" && entry.Time != nil && entry.Time.After(last) {
			last = entry.Time.Time
		}
	}
	return last
}

// storage returns the version in which objects are stored when they are written.
func (d Definition) storage() string {
	for _, version := range d.Versions {
		if version.Storage {
			return version.Name
		}
	}
	return ""
}

// names returns all versions.
func (d Definition) names() []string {
	names := make([]string, 0, len(d.Versions))
	for _, version := range d.Versions {
		names = append(names, version.Name)
	}
	return names
}

// served returns the versions in which objects can be read and written.
func (d Definition) served() []string {
	var served []string
	for _, version := range d.Versions {
		if version.Served {
			served = append(served, version.Name)
		}
	}
	return served
}

// without returns the members of a that are not in b.
func without(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
}

// common returns the members of a that are in b, too.
func common(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return !slices.Contains(b, s) })
}
