package preflight

import (
	"fmt"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/render"
)

// ignoredFieldsAreFields: what is left to others can be told apart from the rest.
func ignoredFieldsAreFields(instance *v1.FluxInstance, set *render.Set, _ Facts) *Violation {
	origin := patchesField
	if common := instance.Spec.CommonMetadata; common != nil && common.Annotations[v1.IgnoreFieldsAnnotation] != "" {
		origin = "spec.commonMetadata.annotations"
	}
	for _, o := range set.Objects {
		fields, err := v1.IgnoredFields(o.GetAnnotations())
		if err != nil {
			return &Violation{Field: origin, Problem: fmt.Sprintf("%s %q: %v", o.GetKind(), o.GetName(), err),
				Cure: "write JSON pointers separated by commas, such as /spec/replicas"}
		}
		for _, field := range fields {
			if isListItem(o, field) {
				return &Violation{Field: origin,
					Problem: fmt.Sprintf("%s %q: annotation %s: /%s is an item of a list, not a field", o.GetKind(), o.GetName(), v1.IgnoreFieldsAnnotation, strings.Join(field, "/")),
					Cure:    "name the list or a field of the item"}
			}
		}
	}
	return nil
}

// isListItem tells whether a field is in a list itself, instead of in an item of one.
func isListItem(o *unstructured.Unstructured, field []string) bool {
	var node any = o.Object
	for _, token := range field[:len(field)-1] {
		switch at := node.(type) {
		case map[string]any:
			node = at[token]
		case []any:
			i, err := strconv.Atoi(token)
			if err != nil || i < 0 || i >= len(at) {
				return false
			}
			node = at[i]
		}
	}
	_, isList := node.([]any)
	return isList
}
