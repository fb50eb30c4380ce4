package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/config/crd"
)

// rules are those of the definition of FluxInstance, run by the API server's own code.
type rules struct {
	schema    *schema.Structural
	validator validation.SchemaValidator
}

func loadRules() (*rules, error) {
	definition := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict(crd.FluxInstance(), definition); err != nil {
		return nil, fmt.Errorf("reading the definition of FluxInstance: %w", err)
	}
	at := slices.IndexFunc(definition.Spec.Versions, func(version apiextensionsv1.CustomResourceDefinitionVersion) bool {
		return version.Name == v1.GroupVersion.Version
	})
	if at < 0 {
		return nil, fmt.Errorf("reading the definition of FluxInstance: it has no version %s", v1.GroupVersion.Version)
	}
	properties := &apiextensions.JSONSchemaProps{}
	err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(definition.Spec.Versions[at].Schema.OpenAPIV3Schema, properties, nil)
	if err != nil {
		return nil, fmt.Errorf("reading the definition of FluxInstance: %w", err)
	}
	structural, err := schema.NewStructural(properties)
	if err != nil {
		return nil, fmt.Errorf("reading the definition of FluxInstance: %w", err)
	}
	validator, _, err := validation.NewSchemaValidator(properties)
	if err != nil {
		return nil, fmt.Errorf("reading the definition of FluxInstance: %w", err)
	}
	return &rules{schema: structural, validator: validator}, nil
}

// complete fills in the defaults and returns everything that is wrong, in the order in which the API server looks for it.
func (r *rules) complete(ctx context.Context, object map[string]any) error {
	var problems []error
	for _, path := range pruning.PruneWithOptions(object, r.schema, true, schema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true}) {
		problems = append(problems, fmt.Errorf("%s: unknown field; mend its name or remove it", path))
	}
	if len(problems) > 0 {
		return errors.Join(problems...)
	}
	defaulting.Default(object, r.schema)
	wrong := validation.ValidateCustomResource(nil, object, r.validator)
	wrong = append(wrong, listtype.ValidateListSetsAndMaps(nil, r.schema, object)...)
	if len(wrong) > 0 {
		return explain(wrong)
	}
	expressions := cel.NewValidator(r.schema, true, celconfig.PerCallLimit)
	wrong, _ = expressions.Validate(ctx, nil, r.schema, object, nil, celconfig.RuntimeCELCostBudget)
	return explain(wrong)
}

// explain names each field; a rule about the whole object is about the object's kind.
func explain(wrong field.ErrorList) error {
	var problems []error
	for _, err := range wrong {
		path := err.Field
		if path == field.NewPath("").String() || path == (*field.Path)(nil).String() {
			path = v1.FluxInstanceKind
		}
		problems = append(problems, fmt.Errorf("%s: %s", path, err.ErrorBody()))
	}
	return errors.Join(problems...)
}
