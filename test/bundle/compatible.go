package bundle

import (
	"fmt"
	"maps"
	"slices"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// Compatible returns a sentence for each way in which the definitions of a bundle refuse or lose what those of an older one took. The lifecycle
// manager does not install an upgrade whose definition refuses an object that is there; what it loses, nobody is asked about.
func Compatible(before, after *Bundle) []string {
	var broken []string
	for _, older := range before.CRDs {
		at := slices.IndexFunc(after.CRDs, func(newer apiextensionsv1.CustomResourceDefinition) bool { return newer.Name == older.Name })
		if at < 0 {
			broken = append(broken, older.Name+" is gone")
			continue
		}
		broken = append(broken, compatibleCRD(older, after.CRDs[at])...)
	}
	return broken
}

func compatibleCRD(before, after apiextensionsv1.CustomResourceDefinition) []string {
	var broken findings
	name := before.Name
	broken.wantf(before.Spec.Scope == after.Spec.Scope, "%s: its scope was %s and is %s", name, before.Spec.Scope, after.Spec.Scope)
	broken.wantf(before.Spec.Names.Kind == after.Spec.Names.Kind, "%s: its kind was %s and is %s", name, before.Spec.Names.Kind, after.Spec.Names.Kind)
	for _, older := range before.Spec.Versions {
		at := slices.IndexFunc(after.Spec.Versions, func(newer apiextensionsv1.CustomResourceDefinitionVersion) bool { return newer.Name == older.Name })
		if at < 0 || older.Served && !after.Spec.Versions[at].Served {
			broken = append(broken, fmt.Sprintf("%s: version %s is not served any more", name, older.Name))
			continue
		}
		c := comparison{}
		c.compare(name+" "+older.Name, *older.Schema.OpenAPIV3Schema, *after.Spec.Versions[at].Schema.OpenAPIV3Schema)
		broken = append(broken, c.findings...)
	}
	return broken
}

// comparison collects what became narrower between two schemas.
type comparison struct{ findings }

func (c *comparison) compare(path string, before, after apiextensionsv1.JSONSchemaProps) {
	c.wantf(before.Type == after.Type && before.Format == after.Format, "%s: its type was %q and is %q", path, before.Type+before.Format, after.Type+after.Format)
	c.wantf(!before.Nullable || after.Nullable, "%s: it may not be null any more", path)
	c.wantf(after.Pattern == "" || before.Pattern == after.Pattern, "%s: its pattern was %q and is %q", path, before.Pattern, after.Pattern)
	c.compareEnum(path, before, after)
	c.compareLimits(path, before, after)
	c.compareRules(path, before, after)
	c.compareFields(path, before, after)
	if before.Items != nil && before.Items.Schema != nil && after.Items != nil && after.Items.Schema != nil {
		c.compare(path+"[]", *before.Items.Schema, *after.Items.Schema)
	}
	if before.AdditionalProperties != nil && before.AdditionalProperties.Schema != nil && after.AdditionalProperties != nil && after.AdditionalProperties.Schema != nil {
		c.compare(path+"{}", *before.AdditionalProperties.Schema, *after.AdditionalProperties.Schema)
	}
}

func (c *comparison) compareFields(path string, before, after apiextensionsv1.JSONSchemaProps) {
	c.wantf(!keepsUnknown(before) || keepsUnknown(after), "%s: it loses fields that the definition does not name", path)
	for _, field := range after.Required {
		// A default is no way out: the lifecycle manager judges the objects that are there before the new definition fills it in.
		c.wantf(slices.Contains(before.Required, field), "%s.%s: it became required", path, field)
	}
	for _, field := range slices.Sorted(maps.Keys(before.Properties)) {
		newer, kept := after.Properties[field]
		c.wantf(kept, "%s.%s: it is gone", path, field)
		if kept {
			c.compare(path+"."+field, before.Properties[field], newer)
		}
	}
}

func (c *comparison) compareEnum(path string, before, after apiextensionsv1.JSONSchemaProps) {
	if len(after.Enum) == 0 {
		return
	}
	c.wantf(len(before.Enum) > 0, "%s: it became an enumeration", path)
	for _, older := range before.Enum {
		kept := slices.ContainsFunc(after.Enum, func(newer apiextensionsv1.JSON) bool { return string(newer.Raw) == string(older.Raw) })
		c.wantf(kept, "%s: the value %s is gone", path, older.Raw)
	}
}

func (c *comparison) compareLimits(path string, before, after apiextensionsv1.JSONSchemaProps) {
	for _, limit := range []struct {
		name          string
		before, after *int64
	}{
		{"maxLength", before.MaxLength, after.MaxLength},
		{"maxItems", before.MaxItems, after.MaxItems},
		{"maxProperties", before.MaxProperties, after.MaxProperties},
		{"maximum", whole(before.Maximum), whole(after.Maximum)},
		{"minLength", negative(before.MinLength), negative(after.MinLength)},
		{"minItems", negative(before.MinItems), negative(after.MinItems)},
		{"minProperties", negative(before.MinProperties), negative(after.MinProperties)},
		{"minimum", negative(whole(before.Minimum)), negative(whole(after.Minimum))},
	} {
		wider := limit.after == nil || limit.before != nil && *limit.before <= *limit.after
		c.wantf(wider, "%s: its %s became stricter", path, limit.name)
	}
}

// compareRules wants no rule that was not there. Whether another wording means the same, a machine cannot tell.
func (c *comparison) compareRules(path string, before, after apiextensionsv1.JSONSchemaProps) {
	for _, newer := range after.XValidations {
		known := slices.ContainsFunc(before.XValidations, func(older apiextensionsv1.ValidationRule) bool { return older.Rule == newer.Rule })
		c.wantf(known, "%s: it got the rule %q", path, newer.Rule)
	}
}

// keepsUnknown tells whether fields are kept that a schema does not name.
func keepsUnknown(schema apiextensionsv1.JSONSchemaProps) bool {
	return schema.XPreserveUnknownFields != nil && *schema.XPreserveUnknownFields
}

// negative turns a lower limit into an upper one.
func negative(limit *int64) *int64 {
	if limit == nil {
		return nil
	}
	return new(-*limit)
}

func whole(limit *float64) *int64 {
	if limit == nil {
		return nil
	}
	return new(int64(*limit))
}
