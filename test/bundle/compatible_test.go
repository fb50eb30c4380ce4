package bundle_test

import (
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/flux-autopilot/flux-operator/test/bundle"
)

func TestDefinitionsThatTakeAllThatWasTaken(t *testing.T) {
	before, after := shipped(t), shipped(t)
	spec := specOf(after)
	spec.Properties["further"] = apiextensionsv1.JSONSchemaProps{Type: "object", Required: []string{"name"}}
	distribution := spec.Properties["distribution"]
	distribution.Required = distribution.Required[1:]
	version := distribution.Properties["version"]
	version.MaxLength, version.MinLength = nil, nil
	distribution.Properties["version"] = version
	variant := distribution.Properties["variant"]
	variant.Enum = append(variant.Enum, apiextensionsv1.JSON{Raw: []byte(`"another"`)})
	distribution.Properties["variant"] = variant
	spec.Properties["distribution"] = distribution
	setSpec(after, spec)
	if broken := bundle.Compatible(before, after); len(broken) > 0 {
		t.Errorf("a wider definition is refused: %s", strings.Join(broken, "\n"))
	}
}

func TestDefinitionsThatRefuseOrLose(t *testing.T) {
	limit, number := int64(2), float64(2)
	property := func(name string, change func(*apiextensionsv1.JSONSchemaProps)) func(*bundle.Bundle) {
		return func(b *bundle.Bundle) {
			spec := specOf(b)
			held := spec.Properties[name]
			change(&held)
			spec.Properties[name] = held
			setSpec(b, spec)
		}
	}
	nested := func(outer, name string, change func(*apiextensionsv1.JSONSchemaProps)) func(*bundle.Bundle) {
		return property(outer, func(held *apiextensionsv1.JSONSchemaProps) {
			inner := held.Properties[name]
			change(&inner)
			held.Properties[name] = inner
		})
	}
	for _, tc := range []struct {
		want    string
		narrows func(*bundle.Bundle)
	}{
		{"fluxinstances.fluxcd.controlplane.io is gone", func(b *bundle.Bundle) { b.CRDs = b.CRDs[1:] }},
		{"its scope was", func(b *bundle.Bundle) { b.CRDs[0].Spec.Scope = apiextensionsv1.ClusterScoped }},
		{"its kind was", func(b *bundle.Bundle) { b.CRDs[0].Spec.Names.Kind = "Flux" }},
		{"v1 is not served", func(b *bundle.Bundle) { b.CRDs[0].Spec.Versions[0].Served = false }},
		{"v1 is not served", func(b *bundle.Bundle) { b.CRDs[0].Spec.Versions[0].Name = "v2" }},
		{".sync: it became required", func(b *bundle.Bundle) {
			spec := specOf(b)
			spec.Required = append(spec.Required, "sync")
			setSpec(b, spec)
		}},
		{".wait: it became required", func(b *bundle.Bundle) {
			spec := specOf(b)
			wait := spec.Properties["wait"]
			wait.Default = &apiextensionsv1.JSON{Raw: []byte("true")}
			spec.Properties["wait"], spec.Required = wait, append(spec.Required, "wait")
			setSpec(b, spec)
		}},
		{".wait: it is gone", func(b *bundle.Bundle) {
			spec := specOf(b)
			delete(spec.Properties, "wait")
			setSpec(b, spec)
		}},
		{".wait: its type was", property("wait", func(p *apiextensionsv1.JSONSchemaProps) { p.Type = "string" })},
		{".components: its maxItems", property("components", func(p *apiextensionsv1.JSONSchemaProps) { p.MaxItems = &limit })},
		{".components: its minItems", property("components", func(p *apiextensionsv1.JSONSchemaProps) { p.MinItems = &limit })},
		{".components[]: the value", property("components", func(p *apiextensionsv1.JSONSchemaProps) {
			items := *p.Items.Schema
			items.Enum = items.Enum[1:]
			p.Items = &apiextensionsv1.JSONSchemaPropsOrArray{Schema: &items}
		})},
		{".version: its maxLength", nested("distribution", "version", func(p *apiextensionsv1.JSONSchemaProps) { p.MaxLength = &limit })},
		{".version: its pattern", nested("distribution", "version", func(p *apiextensionsv1.JSONSchemaProps) { p.Pattern = "^2" })},
		{".version: it became an enumeration", nested("distribution", "version", func(p *apiextensionsv1.JSONSchemaProps) {
			p.Enum = []apiextensionsv1.JSON{{Raw: []byte(`"2.x"`)}}
		})},
		{".keep: its minimum", nested("snapshots", "keep", func(p *apiextensionsv1.JSONSchemaProps) { p.Minimum = &number })},
		{".keep: its maximum", nested("snapshots", "keep", func(p *apiextensionsv1.JSONSchemaProps) { p.Maximum = &number })},
		{".labels{}: its maxLength", nested("commonMetadata", "labels", func(p *apiextensionsv1.JSONSchemaProps) {
			values := *p.AdditionalProperties.Schema
			values.MaxLength = &limit
			p.AdditionalProperties = &apiextensionsv1.JSONSchemaPropsOrBool{Schema: &values}
		})},
		{".sync: it got the rule", property("sync", func(p *apiextensionsv1.JSONSchemaProps) {
			p.XValidations = append(p.XValidations, apiextensionsv1.ValidationRule{Rule: "self.kind == 'Bucket'"})
		})},
	} {
		after := shipped(t)
		tc.narrows(after)
		if broken := strings.Join(bundle.Compatible(shipped(t), after), "\n"); !strings.Contains(broken, tc.want) {
			t.Errorf("nothing about %q: %s", tc.want, broken)
		}
	}
}

func TestDefinitionsThatTakeLessThanAnything(t *testing.T) {
	before := shipped(t)
	spec := specOf(before)
	wait, sync := spec.Properties["wait"], spec.Properties["sync"]
	wait.Nullable, sync.XPreserveUnknownFields = true, new(true)
	spec.Properties["wait"], spec.Properties["sync"] = wait, sync
	setSpec(before, spec)
	broken := strings.Join(bundle.Compatible(before, shipped(t)), "\n")
	for _, want := range []string{".wait: it may not be null", ".sync: it loses fields"} {
		if !strings.Contains(broken, want) {
			t.Errorf("nothing about %q: %s", want, broken)
		}
	}
}

func specOf(b *bundle.Bundle) apiextensionsv1.JSONSchemaProps {
	return b.CRDs[0].Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"]
}

func setSpec(b *bundle.Bundle, spec apiextensionsv1.JSONSchemaProps) {
	b.CRDs[0].Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"] = spec
}
