package bundle

import (
	"context"
	"fmt"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
)

// accepts judges an object by the definition of its kind, with the API server's own code.
func (b *Bundle) accepts(object unstructured.Unstructured) error {
	gvk := object.GroupVersionKind()
	for _, definition := range b.CRDs {
		if definition.Spec.Group != gvk.Group || definition.Spec.Names.Kind != gvk.Kind {
			continue
		}
		for _, version := range definition.Spec.Versions {
			if version.Name == gvk.Version && version.Served {
				return accept(version.Schema.OpenAPIV3Schema, object.DeepCopy().Object)
			}
		}
	}
	return fmt.Errorf("finding the definition of %s: it is not in the bundle", gvk)
}

func accept(source *apiextensionsv1.JSONSchemaProps, object map[string]any) error {
	properties := &apiextensions.JSONSchemaProps{}
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(source, properties, nil); err != nil {
		return fmt.Errorf("reading a definition: %w", err)
	}
	structural, err := schema.NewStructural(properties)
	if err != nil {
		return fmt.Errorf("reading a definition: %w", err)
	}
	validator, _, err := validation.NewSchemaValidator(properties)
	if err != nil {
		return fmt.Errorf("reading a definition: %w", err)
	}
	unknown := pruning.PruneWithOptions(object, structural, true, schema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
	if len(unknown) > 0 {
		return fmt.Errorf("there are unknown fields: %v", unknown)
	}
	defaulting.Default(object, structural)
	if wrong := validation.ValidateCustomResource(nil, object, validator); len(wrong) > 0 {
		return wrong.ToAggregate()
	}
	wrong, _ := cel.NewValidator(structural, true, celconfig.PerCallLimit).
		Validate(context.Background(), nil, structural, object, nil, celconfig.RuntimeCELCostBudget)
	return wrong.ToAggregate()
}
