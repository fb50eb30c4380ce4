package snapshot

import (
	"context"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// maxDefinitions bounds how many definitions of Flux a cluster may have; it has two dozen.
const maxDefinitions = 500

// definitions is the kind of CustomResourceDefinitions.
var definitions = schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"}

// kind is a kind of Flux that the API server serves.
type kind struct {
	schema.GroupKind

	// versions are those served, the storage version first.
	versions []string
	// pending means that none is served yet, and that the API server has not refused to.
	pending bool
}

// in returns the kind in a version, if it is served, else in the one that objects are stored in.
func (k kind) in(version string) schema.GroupVersionKind {
	if !slices.Contains(k.versions, version) {
		version = k.versions[0]
	}
	return k.WithVersion(version)
}

// kindsOf finds the kinds of Flux that are defined, in the order in which objects are put back.
func kindsOf(ctx context.Context, from client.Reader) ([]kind, error) {
	names, err := definitionNames(ctx, from)
	if err != nil {
		return nil, err
	}
	return readKinds(ctx, from, names)
}

// isServed tells whether objects of the kind can be read and written now.
func (k kind) isServed() bool { return len(k.versions) > 0 }

// readKinds returns those of the kinds with these definitions that are saved, in the order in which objects are put back.
func readKinds(ctx context.Context, from client.Reader, names []string) ([]kind, error) {
	var kinds []kind
	for _, name := range names {
		// One after the other, since each comes with all its schemas.
		k, err := readKind(ctx, from, name)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading CustomResourceDefinition %q: %w", name, err)
		}
		if isSaved(k.GroupKind) {
			kinds = append(kinds, k)
		}
	}
	sortKinds(kinds)
	return kinds, nil
}

// definitionNames lists the definitions of Flux without their schemas.
func definitionNames(ctx context.Context, from client.Reader) ([]string, error) {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(definitions.GroupVersion().WithKind(definitions.Kind + "List"))
	if err := persist(ctx, func() error { return from.List(ctx, list) }); err != nil {
		return nil, fmt.Errorf("listing CustomResourceDefinitions: %w", err)
	}
	var names []string
	for i := range list.Items {
		// The name of a definition is that of its resource, a dot, and its group.
		if _, group, _ := strings.Cut(list.Items[i].Name, "."); isFlux(group) && list.Items[i].DeletionTimestamp == nil {
			names = append(names, list.Items[i].Name)
		}
	}
	if len(names) > maxDefinitions {
		return nil, fmt.Errorf("there are %d definitions of Flux, at most %d are expected", len(names), maxDefinitions)
	}
	return names, nil
}

// readKind returns the kind that a definition defines, without versions while it is not served.
func readKind(ctx context.Context, from client.Reader, name string) (kind, error) {
	crd := &unstructured.Unstructured{}
	crd.SetGroupVersionKind(definitions)
	if err := persist(ctx, func() error { return from.Get(ctx, client.ObjectKey{Name: name}, crd) }); err != nil {
		return kind{}, err
	}
	var parsed struct {
		Spec struct {
			Group string `json:"group"`
			Names struct {
				Kind string `json:"kind"`
			} `json:"names"`
			Versions []struct {
				Name    string `json:"name"`
				Served  bool   `json:"served"`
				Storage bool   `json:"storage"`
			} `json:"versions"`
		} `json:"spec"`
		Status struct {
			Conditions []metav1.Condition `json:"conditions"`
		} `json:"status"`
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(crd.Object, &parsed); err != nil {
		return kind{}, err
	}
	k := kind{GroupKind: schema.GroupKind{Group: parsed.Spec.Group, Kind: parsed.Spec.Names.Kind}}
	if !apimeta.IsStatusConditionTrue(parsed.Status.Conditions, "Established") {
		k.pending = !apimeta.IsStatusConditionFalse(parsed.Status.Conditions, "NamesAccepted")
		return k, nil
	}
	for _, version := range parsed.Spec.Versions {
		switch {
		case version.Served && version.Storage:
			k.versions = slices.Insert(k.versions, 0, version.Name)
		case version.Served:
			k.versions = append(k.versions, version.Name)
		}
	}
	return k, nil
}
