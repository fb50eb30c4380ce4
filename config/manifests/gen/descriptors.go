package main

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// describeFields adds a descriptor for every field that has none: the types of other projects cannot carry the markers that operator-sdk makes
// descriptors of. What the definition says of the field is said of it here as well.
func (c *csv) describeFields(manifests string) error {
	path := []string{"spec", "customresourcedefinitions", "owned"}
	kinds, _, err := unstructured.NestedSlice(c.Object, path...)
	if err != nil {
		return fmt.Errorf("reading the definitions that are owned: %w", err)
	}
	for _, owned := range kinds {
		kind, isObject := owned.(map[string]any)
		if !isObject {
			return fmt.Errorf("reading the definitions that are owned: %v is no object", owned)
		}
		if err := describeKind(kind, manifests); err != nil {
			return err
		}
	}
	return c.set(kinds, path...)
}

// describeKind completes the descriptors of one kind.
func describeKind(kind map[string]any, manifests string) error {
	name, _, _ := unstructured.NestedString(kind, "name")
	version, _, _ := unstructured.NestedString(kind, "version")
	schema, err := schemaOf(manifests, name, version)
	if err != nil {
		return err
	}
	for part, key := range map[string]string{"spec": "specDescriptors", "status": "statusDescriptors"} {
		descriptors, _, err := unstructured.NestedSlice(kind, key)
		if err != nil {
			return fmt.Errorf("reading the descriptors of %q: %w", name, err)
		}
		described := map[string]bool{}
		for _, descriptor := range descriptors {
			described[pathOf(descriptor)] = true
		}
		for _, missing := range fieldsOf(schema.Properties[part], "") {
			if !described[pathOf(missing)] {
				descriptors = append(descriptors, missing)
			}
		}
		slices.SortFunc(descriptors, func(a, b any) int { return cmp.Compare(pathOf(a), pathOf(b)) })
		if len(descriptors) > 0 {
			kind[key] = descriptors
		}
	}
	return nil
}

// pathOf returns the path of a descriptor.
func pathOf(descriptor any) string {
	fields, _ := descriptor.(map[string]any)
	path, _ := fields["path"].(string)
	return path
}

// schemaOf reads what a definition of the bundle says of a version.
func schemaOf(manifests, name, version string) (*apiextensionsv1.JSONSchemaProps, error) {
	plural, group, _ := strings.Cut(name, ".")
	object, err := readYAML(filepath.Join(manifests, group+"_"+plural+".yaml"))
	if err != nil {
		return nil, err
	}
	var definition apiextensionsv1.CustomResourceDefinition
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object, &definition); err != nil {
		return nil, fmt.Errorf("reading the definition %q: %w", name, err)
	}
	for _, v := range definition.Spec.Versions {
		if v.Name == version && v.Schema != nil && v.Schema.OpenAPIV3Schema != nil {
			return v.Schema.OpenAPIV3Schema, nil
		}
	}
	return nil, fmt.Errorf("reading the definition %q: it has no schema for %q", name, version)
}

// fieldsOf returns a descriptor for each field below a schema. The first item of a list stands for all.
func fieldsOf(schema apiextensionsv1.JSONSchemaProps, prefix string) []map[string]any {
	var fields []map[string]any
	for name, field := range schema.Properties {
		path := prefix + name
		fields = append(fields, map[string]any{
			"path": path, "displayName": displayed(name), "description": strings.Join(strings.Fields(field.Description), " "),
		})
		for field.Items != nil && field.Items.Schema != nil {
			field, path = *field.Items.Schema, path+"[0]"
		}
		fields = append(fields, fieldsOf(field, path+".")...)
	}
	return fields
}

// displayed makes words of the name of a field, as operator-sdk does.
func displayed(name string) string {
	var words strings.Builder
	for i, letter := range name {
		if i > 0 && unicode.IsUpper(letter) {
			words.WriteByte(' ')
		}
		if i == 0 {
			letter = unicode.ToUpper(letter)
		}
		words.WriteRune(letter)
	}
	return words.String()
}
