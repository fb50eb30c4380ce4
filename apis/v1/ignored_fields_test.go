package v1

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestIgnoredFields(t *testing.T) {
	for value, want := range map[string][][]string{
		"":                                      nil,
		" , ":                                   nil,
		"/spec/replicas":                        {{"spec", "replicas"}},
		"/spec/replicas, /data":                 {{"spec", "replicas"}, {"data"}},
		"/spec/containers/0/resources,":         {{"spec", "containers", "0", "resources"}},
		"/metadata/labels/example.com~1team~0x": {{"metadata", "labels", "example.com/team~x"}},
		"/metadata/annotations/~01":             {{"metadata", "annotations", "~1"}},
	} {
		got, err := IgnoredFields(map[string]string{IgnoreFieldsAnnotation: value})
		if err != nil {
			t.Errorf("IgnoredFields(%q): %v", value, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("IgnoredFields(%q) (-want +got):\n%s", value, diff)
		}
	}
	if got, err := IgnoredFields(nil); got != nil || err != nil {
		t.Errorf("without the annotation: %v, %v", got, err)
	}
}

func TestIgnoredFieldsFails(t *testing.T) {
	for _, value := range []string{
		"spec.replicas", "spec/replicas", "/spec/a~b", "/spec/a~2", "/spec/replicas,x", "/spec/~",
		"/apiVersion", "/kind", "/metadata", "/metadata/name", "/metadata/namespace", "/metadata/labels", "/metadata/labels/a/b",
		"/metadata/labels/fluxcd.controlplane.io~1name", "/metadata/annotations/fluxcd.controlplane.io~1ignoreFields",
		strings.Repeat("/spec/replicas,", maxIgnoredFields+1),
	} {
		if got, err := IgnoredFields(map[string]string{IgnoreFieldsAnnotation: value}); err == nil || !strings.Contains(err.Error(), IgnoreFieldsAnnotation) {
			t.Errorf("IgnoredFields(%q) = %v, %v, want an error that names the annotation", value, got, err)
		}
	}
}
