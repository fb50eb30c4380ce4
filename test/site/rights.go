package site

import (
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// withRights puts the rights that somebody else made in the place of those in config/default.
func (s *Site) withRights(objects []*unstructured.Unstructured) []*unstructured.Unstructured {
	if s.Rights == nil {
		return objects
	}
	kinds := []string{"ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"}
	rest := slices.DeleteFunc(slices.Clone(objects), func(obj *unstructured.Unstructured) bool { return slices.Contains(kinds, obj.GetKind()) })
	isNamespace := func(obj *unstructured.Unstructured) bool { return obj.GetKind() == "Namespace" }
	first := slices.IndexFunc(rest, isNamespace) + 1
	for _, right := range slices.Backward(s.Rights) {
		rest = slices.Insert(rest, first, right.DeepCopy()) // applying notes in the object what came of it
	}
	return rest
}

// RoleNames are the roles that the operator's service account is to have, as kind and name.
func (s *Site) RoleNames() []string {
	if s.Rights == nil {
		return []string{"ClusterRole/" + OperatorName, "Role/" + OperatorName}
	}
	var names []string
	for _, obj := range s.Rights {
		if kind := obj.GetKind(); kind == "ClusterRole" || kind == "Role" {
			names = append(names, kind+"/"+obj.GetName())
		}
	}
	return names
}
