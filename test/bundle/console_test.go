package bundle_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/test/bundle"
)

// TestExamplesLeaveTheClusterToTheOperator: the console creates them instead of applying them, and then the default of a type that nobody wrote counts
// as the creator's word, on OpenShift as well. Where spec.cluster is left out there is no such default.
func TestExamplesLeaveTheClusterToTheOperator(t *testing.T) {
	var examples []map[string]any
	if err := json.Unmarshal([]byte(shipped(t).CSV.Annotations["alm-examples"]), &examples); err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, example := range examples {
		if example["kind"] != v1.FluxInstanceKind {
			continue
		}
		found++
		spec, _ := example["spec"].(map[string]any)
		if cluster, stated := spec["cluster"]; spec == nil || stated {
			t.Errorf("an example has the spec %v, with the cluster %v", spec, cluster)
		}
	}
	if found < 2 {
		t.Errorf("there are %d examples of a FluxInstance", found)
	}
}

// TestEveryFieldIsDescribed wants a descriptor for every field of the definitions, and for nothing else.
func TestEveryFieldIsDescribed(t *testing.T) {
	b := shipped(t)
	for i, kind := range b.CSV.Spec.Kinds.Owned {
		schema := b.CRDs[i].Spec.Versions[0].Schema.OpenAPIV3Schema
		if b.CRDs[i].Spec.Names.Kind != kind.Kind {
			t.Fatalf("the definition of %s stands in the place of that of %s", b.CRDs[i].Spec.Names.Kind, kind.Kind)
		}
		for part, descriptors := range map[string][]bundle.Descriptor{"spec": kind.SpecDescriptors, "status": kind.StatusDescriptors} {
			fields := pathsOf(schema.Properties[part], "")
			slices.Sort(fields)
			if diff := cmp.Diff(fields, paths(descriptors)); diff != "" {
				t.Errorf("%s of %s: run make bundle (-definition +bundle):\n%s", part, kind.Kind, diff)
			}
			for _, descriptor := range descriptors {
				if descriptor.DisplayName == "" || descriptor.Description == "" {
					t.Errorf("%s of %s: %q has no name or no description: %+v", part, kind.Kind, descriptor.Path, descriptor)
				}
			}
		}
	}
}

// pathsOf lists the paths of the fields of a schema, in the words of descriptors: items are entered by [0].
func pathsOf(schema apiextensionsv1.JSONSchemaProps, prefix string) []string {
	var found []string
	for name, field := range schema.Properties {
		path := prefix + name
		found = append(found, path)
		for field.Items != nil {
			field, path = *field.Items.Schema, path+"[0]"
		}
		found = append(found, pathsOf(field, path+".")...)
	}
	return found
}

// paths returns the paths of descriptors, sorted.
func paths(descriptors []bundle.Descriptor) []string {
	var found []string
	for _, descriptor := range descriptors {
		found = append(found, descriptor.Path)
	}
	slices.Sort(found)
	return found
}

// TestEveryFieldHasAMarker wants one on every field that a type of this project has: it names and groups the field for the console better than what is
// made of the definition, which stands in for the fields of other projects' types alone. operator-sdk writes the markers into the base.
func TestEveryFieldHasAMarker(t *testing.T) {
	tops := map[string][2]reflect.Type{
		v1.FluxInstanceKind: {reflect.TypeFor[v1.FluxInstanceSpec](), reflect.TypeFor[v1.FluxInstanceStatus]()},
		v1.FluxReportKind:   {reflect.TypeFor[v1.FluxReportSpec](), reflect.TypeFor[v1.FluxReportStatus]()},
	}
	var base struct {
		Spec struct {
			Kinds struct {
				Owned []struct {
					Kind              string              `json:"kind"`
					SpecDescriptors   []bundle.Descriptor `json:"specDescriptors"`
					StatusDescriptors []bundle.Descriptor `json:"statusDescriptors"`
				} `json:"owned"`
			} `json:"customresourcedefinitions"`
		} `json:"spec"`
	}
	decode(t, inCheckout(t, "config", "manifests", "bases", "flux-operator.clusterserviceversion.yaml"), &base)
	kinds := base.Spec.Kinds.Owned
	if len(kinds) != len(tops) {
		t.Fatalf("%d kinds are owned and %d are checked", len(kinds), len(tops))
	}
	for _, kind := range kinds {
		for i, descriptors := range [][]bundle.Descriptor{kind.SpecDescriptors, kind.StatusDescriptors} {
			fields := fieldsOf(tops[kind.Kind][i], "")
			slices.Sort(fields)
			if diff := cmp.Diff(fields, paths(descriptors)); diff != "" {
				t.Errorf("%s: a field has no marker +operator-sdk:csv, or make bundle was not run (-types +base):\n%s", kind.Kind, diff)
			}
		}
	}
}

// fieldsOf lists the paths of the fields of a type of this project, in the words of descriptors: items are entered by [0].
func fieldsOf(t reflect.Type, prefix string) []string {
	var paths []string
	for field := range t.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		inner, items := field.Type, ""
		for inner.Kind() == reflect.Pointer || inner.Kind() == reflect.Slice {
			if inner.Kind() == reflect.Slice {
				items = "[0]"
			}
			inner = inner.Elem()
		}
		ours := inner.Kind() == reflect.Struct && inner.PkgPath() == reflect.TypeFor[v1.FluxInstance]().PkgPath()
		if field.Anonymous {
			if ours {
				paths = append(paths, fieldsOf(inner, prefix)...)
			}
			continue
		}
		paths = append(paths, prefix+name)
		if ours {
			paths = append(paths, fieldsOf(inner, fmt.Sprintf("%s%s%s.", prefix, name, items))...)
		}
	}
	return paths
}
