package apply

import (
	"cmp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// stage is a group of objects that do not depend on each other and are applied at the same time.
type stage int

const (
	// foundation is what everything else may live in or refer to.
	foundation stage = iota
	// identity is who may do what, and how much of it, before anything runs.
	identity
	// configuration is what workloads read and mount, and how they are reached.
	configuration
	// workload is everything that has no other place.
	workload
	// custom is the custom resources whose definitions are in the same set.
	custom
	// admission comes last, so that no webhook blocks the set which serves it.
	admission
)

// crdKind is the kind of CustomResourceDefinitions.
var crdKind = schema.GroupKind{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}

// stageOf returns where an object belongs; defined holds the kinds that the set itself defines.
func stageOf(kind schema.GroupKind, defined map[schema.GroupKind]bool) stage {
	if defined[kind] {
		return custom
	}
	switch kind.Kind {
	case "Namespace", "CustomResourceDefinition", "ClusterRole":
		return foundation
	case "ClusterRoleBinding", "ResourceQuota", "LimitRange", "ServiceAccount", "Role":
		return identity
	case "RoleBinding", "ConfigMap", "Secret", "Service", "PersistentVolume", "PersistentVolumeClaim", "NetworkPolicy":
		return configuration
	case "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration",
		"MutatingAdmissionPolicyBinding", "ValidatingAdmissionPolicyBinding":
		return admission
	}
	if strings.HasSuffix(kind.Kind, "Class") {
		return foundation
	}
	return workload
}

// staged returns the objects in apply order, one slice for each stage that has any. Within a stage they are ordered by name, so that
// results and messages are the same each time. The input is not modified.
func staged(objects []*unstructured.Unstructured) [][]*unstructured.Unstructured {
	defined := definedKinds(objects)
	var stages [admission + 1][]*unstructured.Unstructured
	for _, obj := range objects {
		s := stageOf(obj.GroupVersionKind().GroupKind(), defined)
		stages[s] = append(stages[s], obj)
	}
	filled := make([][]*unstructured.Unstructured, 0, len(stages))
	for _, members := range stages {
		if len(members) == 0 {
			continue
		}
		slices.SortStableFunc(members, func(a, b *unstructured.Unstructured) int {
			return cmp.Compare(IDOf(a).String(), IDOf(b).String())
		})
		filled = append(filled, members)
	}
	return filled
}

// definedKinds returns the kinds that the CustomResourceDefinitions among the objects define.
func definedKinds(objects []*unstructured.Unstructured) map[schema.GroupKind]bool {
	defined := map[schema.GroupKind]bool{}
	for _, obj := range objects {
		if obj.GroupVersionKind().GroupKind() != crdKind {
			continue
		}
		group, _, _ := unstructured.NestedString(obj.Object, "spec", "group")
		kind, _, _ := unstructured.NestedString(obj.Object, "spec", "names", "kind")
		defined[schema.GroupKind{Group: group, Kind: kind}] = true
	}
	return defined
}
