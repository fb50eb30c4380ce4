package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

// fields renders one top-level field of a CRD's schema and everything below it: a section for each object, a row for each of its fields.
func fields(crdFile, field string) (string, error) {
	data, err := os.ReadFile(crdFile)
	if err != nil {
		return "", fmt.Errorf("reading a CRD: %w", err)
	}
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict(data, crd); err != nil {
		return "", fmt.Errorf("parsing %s: %w", crdFile, err)
	}
	for _, version := range crd.Spec.Versions {
		if !version.Storage || version.Schema == nil || version.Schema.OpenAPIV3Schema == nil {
			continue
		}
		top, ok := version.Schema.OpenAPIV3Schema.Properties[field]
		if !ok {
			return "", fmt.Errorf("%s has no field %q", crd.Spec.Names.Kind, field)
		}
		b := &strings.Builder{}
		section(b, field, top)
		return b.String(), nil
	}
	return "", fmt.Errorf("%s has no stored version with a schema", crdFile)
}

// section writes an object, its rules, and then the objects in it.
func section(b *strings.Builder, path string, schema apiextensionsv1.JSONSchemaProps) {
	fmt.Fprintf(b, "### %s\n\n%s\n\n| Field | Type | Rules | Meaning |\n|---|---|---|---|\n", path, oneLine(schema.Description))
	names := slices.Sorted(maps.Keys(schema.Properties))
	for _, name := range names {
		property := schema.Properties[name]
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", name, typeOf(path+"."+name, property),
			strings.Join(rulesOf(name, schema.Required, property), "<br>"), oneLine(property.Description))
	}
	b.WriteString("\n")
	for _, rule := range schema.XValidations {
		fmt.Fprintf(b, "- Rule: %s.\n", oneLine(rule.Message))
	}
	if len(schema.XValidations) > 0 {
		b.WriteString("\n")
	}
	for _, name := range names {
		if inner, innerPath, ok := objectIn(path+"."+name, schema.Properties[name]); ok {
			section(b, innerPath, inner)
		}
	}
}

// objectIn gives the object that a field is, or is a list of, when that has fields of its own. Conditions are everywhere the same and not repeated.
func objectIn(path string, schema apiextensionsv1.JSONSchemaProps) (apiextensionsv1.JSONSchemaProps, string, bool) {
	if schema.Items != nil && schema.Items.Schema != nil {
		schema, path = *schema.Items.Schema, path+"[]"
	}
	return schema, path, len(schema.Properties) > 0 && !isCondition(schema)
}

func isCondition(schema apiextensionsv1.JSONSchemaProps) bool {
	_, transition := schema.Properties["lastTransitionTime"]
	_, reason := schema.Properties["reason"]
	return transition && reason
}

// typeOf names the type of a field, with a link to its section where it has one.
func typeOf(path string, schema apiextensionsv1.JSONSchemaProps) string {
	if inner, innerPath, ok := objectIn(path, schema); ok {
		anchor := strings.ToLower(strings.NewReplacer(".", "", "[", "", "]", "").Replace(innerPath))
		return fmt.Sprintf("[%s](#%s)", plainType(schema, inner.Type), anchor)
	}
	if schema.Items != nil && schema.Items.Schema != nil && isCondition(*schema.Items.Schema) {
		return "[]Condition"
	}
	return plainType(schema, "")
}

func plainType(schema apiextensionsv1.JSONSchemaProps, element string) string {
	switch {
	case schema.Items != nil && schema.Items.Schema != nil:
		if element == "" {
			element = schema.Items.Schema.Type
		}
		return "[]" + element
	case schema.AdditionalProperties != nil && schema.AdditionalProperties.Schema != nil:
		return "map of " + schema.AdditionalProperties.Schema.Type
	case schema.Format != "":
		return schema.Type + " (" + schema.Format + ")"
	default:
		return schema.Type
	}
}

// rulesOf lists what the API server checks and fills in.
func rulesOf(name string, required []string, schema apiextensionsv1.JSONSchemaProps) []string {
	var rules []string
	if slices.Contains(required, name) && schema.Default == nil {
		rules = append(rules, "required")
	}
	if schema.Default != nil {
		rules = append(rules, "default `"+strings.Trim(string(schema.Default.Raw), `"`)+"`")
	}
	rules = append(rules, limitsOf("", schema)...)
	if schema.XListType != nil && *schema.XListType == "set" {
		rules = append(rules, "no duplicates")
	}
	if schema.Items != nil && schema.Items.Schema != nil {
		rules = append(rules, limitsOf("each ", *schema.Items.Schema)...)
	}
	return rules
}

// limitsOf lists the limits of a value; prefix says of which.
func limitsOf(prefix string, schema apiextensionsv1.JSONSchemaProps) []string {
	var limits []string
	if len(schema.Enum) > 0 {
		values := make([]string, 0, len(schema.Enum))
		for _, value := range schema.Enum {
			values = append(values, "`"+strings.Trim(string(value.Raw), `"`)+"`")
		}
		limits = append(limits, prefix+"one of "+strings.Join(values, ", "))
	}
	for _, limit := range []struct {
		value *int64
		text  string
	}{
		{schema.MinLength, "at least %s characters"},
		{schema.MaxLength, "at most %s characters"},
		{schema.MinItems, "at least %s items"},
		{schema.MaxItems, "at most %s items"},
		{schema.MaxProperties, "at most %s keys"},
	} {
		if limit.value != nil {
			limits = append(limits, prefix+fmt.Sprintf(limit.text, strconv.FormatInt(*limit.value, 10)))
		}
	}
	if schema.Pattern != "" {
		limits = append(limits, prefix+"matches `"+strings.ReplaceAll(schema.Pattern, "|", `\|`)+"`")
	}
	return limits
}

// oneLine makes text fit into a table cell.
func oneLine(text string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "|", `\|`)
}
