package apply

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// crdVersion is the API version in which CustomResourceDefinitions are read.
var crdVersion = schema.GroupVersion{Group: crdKind.Group, Version: "v1"}

// slimCRD is a CustomResourceDefinition without its schemas, which are more than nine tenths of it.
type slimCRD struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`

	Spec struct {
		Group string `json:"group"`
		Names struct {
			Kind string `json:"kind"`
		} `json:"names"`
		Versions []slimVersion `json:"versions"`
	} `json:"spec"`
	Status struct {
		Conditions []metav1.Condition `json:"conditions"`
	} `json:"status"`
}

type slimVersion struct {
	Name   string `json:"name"`
	Served bool   `json:"served"`
}

// slimCRDList is a list of slimCRDs.
type slimCRDList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata"`

	Items []slimCRD `json:"items"`
}

// DeepCopyObject implements runtime.Object.
func (c *slimCRD) DeepCopyObject() runtime.Object {
	return c.deepCopy()
}

func (c *slimCRD) deepCopy() *slimCRD {
	out := *c
	c.DeepCopyInto(&out.ObjectMeta)
	out.Spec.Versions = append([]slimVersion(nil), c.Spec.Versions...)
	out.Status.Conditions = append([]metav1.Condition(nil), c.Status.Conditions...)
	return &out
}

// DeepCopyObject implements runtime.Object.
func (l *slimCRDList) DeepCopyObject() runtime.Object {
	out := *l
	l.DeepCopyInto(&out.ListMeta)
	out.Items = make([]slimCRD, 0, len(l.Items))
	for i := range l.Items {
		out.Items = append(out.Items, *l.Items[i].deepCopy())
	}
	return &out
}

// AddToScheme makes a client with this scheme decode CustomResourceDefinitions without their schemas, for this package.
// It does nothing if the scheme knows the kind already, and must not be followed by registering the full type.
func AddToScheme(scheme *runtime.Scheme) error {
	if scheme.Recognizes(crdVersion.WithKind(crdKind.Kind)) {
		return nil
	}
	scheme.AddKnownTypeWithName(crdVersion.WithKind(crdKind.Kind), &slimCRD{})
	scheme.AddKnownTypeWithName(crdVersion.WithKind(crdKind.Kind+"List"), &slimCRDList{})
	metav1.AddToGroupVersion(scheme, crdVersion)
	return nil
}

// readsSlim tells whether the client decodes CustomResourceDefinitions without their schemas.
func (a *Applier) readsSlim() bool {
	known, err := a.client.Scheme().New(crdVersion.WithKind(crdKind.Kind))
	_, slim := known.(*slimCRD)
	return err == nil && slim
}

// readCRD returns the definition of that name, or an error.
func (a *Applier) readCRD(ctx context.Context, name string) (*slimCRD, error) {
	crd := &slimCRD{}
	if a.readsSlim() {
		return crd, a.client.Get(ctx, client.ObjectKey{Name: name}, crd)
	}
	full := &unstructured.Unstructured{}
	full.SetGroupVersionKind(crdVersion.WithKind(crdKind.Kind))
	if err := a.client.Get(ctx, client.ObjectKey{Name: name}, full); err != nil {
		return nil, err
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(full.Object, crd); err != nil {
		return nil, fmt.Errorf("reading CustomResourceDefinition %q: %w", name, err)
	}
	return crd, nil
}

// mayOwn tells whether a definition carries the labels of the owner. Where no owner is configured, nobody can tell.
func (a *Applier) mayOwn(crd *slimCRD) bool {
	owner := a.ownerOf(&unstructured.Unstructured{})
	return owner == nil || contains(crd.Labels, owner)
}

// served returns the kind in the first version that the API server serves.
func (c *slimCRD) served() (schema.GroupVersionKind, bool) {
	for _, version := range c.Spec.Versions {
		if version.Served {
			return schema.GroupVersionKind{Group: c.Spec.Group, Version: version.Name, Kind: c.Spec.Names.Kind}, true
		}
	}
	return schema.GroupVersionKind{}, false
}

// listKind returns the kind of the lists of a kind.
func listKind(gvk schema.GroupVersionKind) schema.GroupVersionKind {
	return gvk.GroupVersion().WithKind(gvk.Kind + "List")
}
