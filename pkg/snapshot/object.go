package snapshot

import (
	"cmp"
	"slices"
	"strings"

	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// sources is the group of what other objects of Flux refer to.
const sources = "source.toolkit.fluxcd.io"

// unsaved are annotations that say nothing about what is wanted: kubectl's copy of the object, which may hold what the object no longer does, and
// requests that have been answered. A HelmRelease that comes back without its status would take an old request for a new one.
var unsaved = []string{corev1.LastAppliedConfigAnnotation, meta.ReconcileRequestAnnotation, meta.ForceRequestAnnotation, "reconcile.fluxcd.io/resetAt"}

// isFlux tells whether a group is one of Flux's or of the operator's.
func isFlux(group string) bool {
	return group == v1.Group || group == "source.extensions.fluxcd.io" || strings.HasSuffix(group, ".toolkit.fluxcd.io")
}

// isSaved tells whether the objects of a kind belong into a snapshot. A report is made anew from what is there.
func isSaved(kind schema.GroupKind) bool {
	return isFlux(kind.Group) && kind != schema.GroupKind{Group: v1.Group, Kind: "FluxReport"}
}

// content returns what is wanted of an object: everything but the status and what the API server, controllers and tools note down in the metadata.
func content(live *unstructured.Unstructured) *unstructured.Unstructured {
	out := &unstructured.Unstructured{Object: make(map[string]any, len(live.Object))}
	for field, value := range live.Object {
		if field != "metadata" && field != "status" {
			out.Object[field] = value
		}
	}
	out.SetName(live.GetName())
	if live.GetNamespace() != "" {
		out.SetNamespace(live.GetNamespace())
	}
	if labels := live.GetLabels(); len(labels) > 0 {
		out.SetLabels(labels)
	}
	if annotations := wantedAnnotations(live); len(annotations) > 0 {
		out.SetAnnotations(annotations)
	}
	return out
}

func wantedAnnotations(live *unstructured.Unstructured) map[string]string {
	annotations := live.GetAnnotations() // a copy
	for _, key := range unsaved {
		delete(annotations, key)
	}
	return annotations
}

// setContent makes the content of an object that of another one, and leaves the rest of it alone.
func setContent(live, wanted *unstructured.Unstructured) {
	for field := range live.Object {
		if _, found := wanted.Object[field]; !found && field != "status" {
			delete(live.Object, field)
		}
	}
	for field, value := range wanted.Object {
		if field != "metadata" {
			live.Object[field] = value
		}
	}
	annotations := wanted.GetAnnotations()
	for _, key := range unsaved {
		if value, found := live.GetAnnotations()[key]; found {
			if annotations == nil {
				annotations = map[string]string{}
			}
			annotations[key] = value
		}
	}
	live.SetLabels(wanted.GetLabels())
	live.SetAnnotations(annotations)
}

// sortKinds puts kinds into the order in which their objects are put back: the instance, which brings the definitions of the others; sources;
// what deploys them; and what makes such objects.
func sortKinds(kinds []kind) {
	rank := func(k kind) int {
		switch {
		case k.Kind == v1.FluxInstanceKind && k.Group == v1.Group:
			return 0
		case k.Group == sources:
			return 1
		case k.Group == v1.Group:
			return 3
		default:
			return 2
		}
	}
	slices.SortFunc(kinds, func(a, b kind) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Group, b.Group), cmp.Compare(a.Kind, b.Kind))
	})
}

// describe names an object in messages.
func describe(obj *unstructured.Unstructured) string {
	if obj.GetNamespace() == "" {
		return obj.GetKind() + "/" + obj.GetName()
	}
	return obj.GetKind() + "/" + obj.GetNamespace() + "/" + obj.GetName()
}
