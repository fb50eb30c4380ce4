package apply

import (
	"cmp"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// selection is what one request lists or watches: the objects of a kind in a namespace that carry the same owner labels, or a single object
// without such labels.
type selection struct {
	kind      schema.GroupVersionKind
	namespace string
	labels    string
	name      string
}

// selectionOf returns the selection that includes an object.
func selectionOf(obj *unstructured.Unstructured) selection {
	s := selection{kind: obj.GroupVersionKind(), namespace: obj.GetNamespace()}
	if owner := ownerLabels(obj.GetLabels()); owner != nil {
		s.labels = labels.Set(owner).String()
		return s
	}
	s.name = obj.GetName()
	return s
}

// idOf names one of the selected objects, which do not tell their kind in lists.
func (s selection) idOf(live metav1.Object) ID {
	return ID{Group: s.kind.Group, Kind: s.kind.Kind, Namespace: live.GetNamespace(), Name: live.GetName()}
}

// options returns the selection as request options.
func (s selection) options() []client.ListOption {
	opts := []client.ListOption{client.InNamespace(s.namespace)}
	if s.name != "" {
		opts = append(opts, client.MatchingFieldsSelector{Selector: fields.OneTermEqualSelector("metadata.name", s.name)})
	}
	if s.labels != "" {
		selector, err := labels.Parse(s.labels)
		if err != nil {
			selector = labels.Nothing() // labels that the API server would not take select nothing
		}
		opts = append(opts, client.MatchingLabelsSelector{Selector: selector})
	}
	return opts
}

// selections groups objects by the requests that find them, in a stable order.
func selections(objects []*unstructured.Unstructured) ([]selection, map[selection][]*unstructured.Unstructured) {
	members := map[selection][]*unstructured.Unstructured{}
	var order []selection
	for _, obj := range objects {
		s := selectionOf(obj)
		if len(members[s]) == 0 {
			order = append(order, s)
		}
		members[s] = append(members[s], obj)
	}
	slices.SortStableFunc(order, func(a, b selection) int {
		return cmp.Or(cmp.Compare(a.kind.String(), b.kind.String()), cmp.Compare(a.namespace, b.namespace))
	})
	return order, members
}

// ownerLabels returns the labels that name the owner, or nil unless both are there.
func ownerLabels(all map[string]string) map[string]string {
	owner := map[string]string{
		v1.OwnerNameLabel:      all[v1.OwnerNameLabel],
		v1.OwnerNamespaceLabel: all[v1.OwnerNamespaceLabel],
	}
	if owner[v1.OwnerNameLabel] == "" || owner[v1.OwnerNamespaceLabel] == "" {
		return nil
	}
	return owner
}
