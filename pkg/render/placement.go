package render

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const rbacGroup = "rbac.authorization.k8s.io"

// addNamespace adds the namespace Flux lives in, which is the operator's own.
func (d *draft) addNamespace() error {
	namespace := &unstructured.Unstructured{}
	namespace.SetAPIVersion("v1")
	namespace.SetKind("Namespace")
	namespace.SetName(d.instance.Namespace)
	namespace.SetLabels(map[string]string{
		podSecurityLabel:              "restricted",
		podSecurityLabel + "-version": "latest",
	})
	d.add(namespace)
	return nil
}

func (d *draft) moveToNamespace() error {
	for _, o := range d.objects {
		if IsClusterScoped(o.GetKind()) {
			unstructured.RemoveNestedField(o.Object, "metadata", "namespace")
			continue
		}
		o.SetNamespace(d.instance.Namespace)
	}
	return nil
}

// IsClusterScoped tells whether objects of a kind have no namespace. It knows the kinds of Kubernetes itself; any other kind in a
// release is taken for namespaced.
func IsClusterScoped(kind string) bool {
	switch kind {
	case "Namespace", "CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding", "PriorityClass", "StorageClass",
		"PersistentVolume", "RuntimeClass", "IngressClass", "APIService", "CSIDriver", "MutatingWebhookConfiguration",
		"ValidatingWebhookConfiguration", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding":
		return true
	}
	return false
}

// suffixSharedNames gives the shared objects names of their own in each namespace, and lets bindings follow.
func (d *draft) suffixSharedNames() error {
	suffix := "-" + d.instance.Namespace
	renamed := map[string]string{}
	for _, o := range d.shared() {
		renamed[o.GetKind()+"/"+o.GetName()] = o.GetName() + suffix
		o.SetName(o.GetName() + suffix)
	}
	for _, o := range d.shared() {
		if _, found := fieldAt(o.Object, "roleRef"); !found {
			continue
		}
		ref, err := mapAt(o.Object, "roleRef")
		if err != nil {
			return d.broken(o.file, fmt.Errorf("%s: %w", describe(o.Unstructured), err))
		}
		if name, found := renamed[textAt(ref, "kind")+"/"+textAt(ref, "name")]; found {
			ref["name"] = name
		}
	}
	return nil
}

// shared returns the objects of the roles file.
func (d *draft) shared() []*object {
	return slices.DeleteFunc(slices.Clone(d.objects), func(o *object) bool { return o.file != "flux/"+d.name+"/"+rolesFile })
}

// rewriteSubjects points bindings at the service accounts in the instance's namespace; subjects of other namespaces stay.
func (d *draft) rewriteSubjects() error {
	for _, o := range d.objects {
		if o.GroupVersionKind().Group != rbacGroup {
			continue
		}
		subjects, err := mapsAt(o.Object, "subjects")
		if err != nil {
			return d.broken(o.file, fmt.Errorf("%s: %w", describe(o.Unstructured), err))
		}
		for _, subject := range subjects {
			home := textAt(subject, "namespace")
			if textAt(subject, "kind") == "ServiceAccount" && (home == homeNamespace || home == "") {
				subject["namespace"] = d.instance.Namespace
			}
		}
	}
	return nil
}
