package main

import (
	"fmt"
	"io"

	"github.com/pmezard/go-difflib/difflib"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

// contextLines is how many lines around a change are shown, as diff -u does.
const contextLines = 3

// lastApplied is where kubectl keeps a copy of the whole object.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// writeUnified writes the lines of an object that would change.
func writeUnified(out io.Writer, c change) error {
	before, after := hideSecrets(c)
	from, err := lines(before)
	if err != nil {
		return err
	}
	to, err := lines(after)
	if err != nil {
		return err
	}
	name := describe(c.object)
	return difflib.WriteUnifiedDiff(out, difflib.UnifiedDiff{
		A: from, FromFile: "live/" + name, B: to, ToFile: "wanted/" + name, Context: contextLines,
	})
}

// lines returns an object as lines of YAML, none for one that is not there.
func lines(obj *unstructured.Unstructured) ([]string, error) {
	if obj == nil {
		return nil, nil
	}
	text, err := yaml.Marshal(obj.Object)
	if err != nil {
		return nil, fmt.Errorf("writing %s: %w", describe(obj), err)
	}
	all := difflib.SplitLines(string(text))
	return all[:len(all)-1], nil // what follows the last newline is no line
}

// hideSecrets returns the two states of an object; of a Secret the values are replaced by whether they are the same.
func hideSecrets(c change) (before, after *unstructured.Unstructured) {
	if c.object.GroupVersionKind().GroupKind() != (schema.GroupKind{Kind: "Secret"}) {
		return c.before, c.after
	}
	before, after = withoutCopy(c.before), withoutCopy(c.after)
	for _, field := range []string{"data", "stringData"} {
		old, now := values(before, field), values(after, field)
		for key, value := range old {
			if other, kept := now[key]; kept && other == value {
				old[key], now[key] = "(hidden)", "(hidden)"
				continue
			}
			old[key] = "(hidden, before)"
		}
		for key, value := range now {
			if value != "(hidden)" {
				now[key] = "(hidden, after)"
			}
		}
	}
	return before, after
}

// withoutCopy returns a copy of a Secret that does not carry its values a second time.
func withoutCopy(obj *unstructured.Unstructured) *unstructured.Unstructured {
	if obj == nil {
		return nil
	}
	out := obj.DeepCopy()
	unstructured.RemoveNestedField(out.Object, "metadata", "annotations", lastApplied)
	return out
}

// values returns a field of a Secret to be changed in place. A field that holds no values by key is hidden as a whole.
func values(obj *unstructured.Unstructured, field string) map[string]any {
	if obj == nil || obj.Object[field] == nil {
		return nil
	}
	byKey, ok := obj.Object[field].(map[string]any)
	if !ok {
		obj.Object[field] = "(hidden)"
	}
	return byKey
}
