package render

import (
	"errors"
	"maps"
	"testing"
	"testing/fstest"

	"github.com/fluxcd/pkg/apis/kustomize"
	"sigs.k8s.io/yaml"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

func patchOf(kind, name string) kustomize.Patch {
	return kustomize.Patch{Target: &kustomize.Selector{Kind: kind, Name: name}, Patch: "- {op: add, path: /metadata/annotations, value: {a: b}}"}
}

// FuzzSpec: no spec makes rendering panic or hang, and every failure is one of the two kinds a caller knows.
func FuzzSpec(f *testing.F) {
	f.Add("distribution: {version: 2.x, registry: ghcr.io/fluxcd}\ncomponents: [source-controller]\n")
	f.Add("distribution: {registry: example.com:5000/a, variant: upstream-alpine}\ncomponents: [source-controller, kustomize-controller]\n" +
		"sync: {kind: Bucket, url: a, ref: '1.10', path: 'a: b', provider: gcp}\n")
	f.Add("distribution: {registry: fluxcd}\ncomponents: [source-controller]\nsharding: {shards: [a], storage: persistent}\nstorage: {class: a, size: 1Gi}\n" +
		"cluster: {size: small, type: openshift, multitenant: true}\n")
	f.Add("distribution: {registry: fluxcd}\ncomponents: [source-controller]\nkustomize: {patches: [{target: {kind: '.*'}, patch: '[{op: remove, path: /metadata/labels}]'}]}\n")
	f.Add("distribution: {registry: fluxcd}\ncomponents: [source-controller]\nkustomize: {patches: [{patch: '{apiVersion: v1, kind: Namespace, metadata: {name: flux-system}, $patch: delete}'}]}\n")
	tree := copyOf(f)
	f.Fuzz(func(t *testing.T, text string) {
		i := &v1.FluxInstance{}
		i.Name, i.Namespace = "flux", "flux-system"
		if yaml.UnmarshalStrict([]byte(text), &i.Spec) != nil {
			return
		}
		set, err := Render(tree, "v2.9.0", i)
		checkOutcome(t, set, err)
	})
}

// FuzzRelease: no release does either, whatever is in its files.
func FuzzRelease(f *testing.F) {
	const images = "flux-images/v2.9.0/upstream-alpine.yaml"
	names := []string{"source-controller", "kustomize-controller", "notification-controller", "rbac", "policies"}
	files := copyOf(f)
	fileOf := func(which byte) string { return "flux/v2.9.0/" + names[int(which)%len(names)] + ".yaml" }
	for which := range names {
		f.Add(byte(which), files[fileOf(byte(which))].Data, files[images].Data)
	}
	i := everything(files, "v2.9.0")
	i.Spec.Kustomize = nil // patches are what FuzzSpec is for, and would hide most of what can go wrong here
	f.Fuzz(func(t *testing.T, which byte, content, variant []byte) {
		broken := maps.Clone(files)
		broken[fileOf(which)] = &fstest.MapFile{Data: content}
		broken[images] = &fstest.MapFile{Data: variant}
		set, err := Render(broken, "v2.9.0", i)
		checkOutcome(t, set, err)
	})
}

func checkOutcome(t *testing.T, set *Set, err error) {
	t.Helper()
	var field *FieldError
	var release *ReleaseError
	switch {
	case err == nil && (set == nil || set.Revision.IsZero()):
		t.Fatal("neither a set nor an error")
	case err != nil && !errors.As(err, &field) && !errors.As(err, &release):
		t.Fatalf("an error of no known kind: %v", err)
	case err == nil:
		for _, o := range set.Objects {
			if o.GetLabels()[v1.OwnerNameLabel] == "" {
				t.Fatalf("%s has no owner", describe(o))
			}
		}
		if _, err := set.YAML(); err != nil {
			t.Fatal(err)
		}
	}
}
