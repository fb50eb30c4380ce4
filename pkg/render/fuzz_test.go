package render

import (
	"errors"
	"io/fs"
	"maps"
	"math"
	"runtime/metrics"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/fluxcd/pkg/apis/kustomize"
	"sigs.k8s.io/yaml"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// maxAllocated bounds what one render may allocate, whatever it is given. Everything with two shards needs 3 MB.
const maxAllocated = 1 << 30

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
	tree := watched{copyOf(f), f, "v2.9.0"}
	f.Fuzz(func(t *testing.T, text string) {
		i := &v1.FluxInstance{}
		i.Name, i.Namespace = "flux", "flux-system"
		if yaml.UnmarshalStrict([]byte(text), &i.Spec) != nil {
			return
		}
		checkOutcome(t, func() (*Set, error) { return Render(tree, "v2.9.0", i) })
	})
}

// FuzzPatches: nor does any patch, with any target.
func FuzzPatches(f *testing.F) {
	for _, patch := range []string{
		"- {op: add, path: /metadata/annotations/a, value: b}", "- {op: test, path: /kind, value: Deployment}\n- {op: copy, from: /spec, path: /spec/a}",
		"- {op: move, from: /spec/template, path: /spec/-}", "- {op: remove, path: ''}", "- {op: replace, path: /metadata/name, value: [1]}", "[{}]", "[null]", "null",
		"spec: {replicas: 2}", "spec: null", "$patch: delete", "$patch: replace\nkind: Deployment", "spec: {template: {spec: {containers: [{name: manager, $patch: delete}]}}}",
		"metadata: &a\n  annotations: *a", "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]", "<<: &a {b: c}\nmetadata: {<<: *a}",
		"apiVersion: v1\nkind: Service\nmetadata: {name: source-controller}\n---\napiVersion: v1\nkind: Service\nmetadata: {name: source-controller-a}\nspec: null",
		"spec: {template: {spec: {containers: [{name: manager, args: [{}], image: 1}]}}}", "kind: 1\nmetadata: {name: {}}", "metadata: {labels: {a: 1, b: yes, c: 2024-01-02, 1: 2}}",
		doubling(5),
	} {
		f.Add(patch, "Deployment", "", "", "")
		f.Add(patch, "", "source-controller", "flux-system", "app.kubernetes.io/component")
	}
	tree := watched{copyOf(f), f, "v2.9.0"}
	base := instance()
	sharded("a")(base)
	f.Fuzz(func(t *testing.T, patch, kind, name, namespace, labels string) {
		i := base.DeepCopy()
		target := &kustomize.Selector{Kind: kind, Name: name, Namespace: namespace, LabelSelector: labels}
		patched(kustomize.Patch{Patch: patch, Target: target}, kustomize.Patch{Patch: patch})(i)
		if kind == "" {
			i.Spec.Kustomize.Patches = i.Spec.Kustomize.Patches[1:]
		}
		checkOutcome(t, func() (*Set, error) { return Render(tree, "v2.9.0", i) })
	})
}

// FuzzRelease: nor does any release, whatever is in its files. What is fuzzed is an edit of a good file, which keeps most of it readable and
// so gets past the parser.
func FuzzRelease(f *testing.F) {
	files := copyOf(f)
	var names []string
	for _, name := range []string{"source-controller", "kustomize-controller", "notification-controller", "rbac", "policies"} {
		names = append(names, "flux/v2.9.0/"+name+".yaml")
	}
	names = append(names, "flux-images/v2.9.0/upstream-alpine.yaml")
	for which, name := range names {
		for _, hostile := range hostileTexts() {
			f.Add(byte(which), uint16(0), uint16(math.MaxUint16), hostile)
		}
		content := string(files[name].Data)
		for _, word := range []string{"metadata:", "labels:", "spec:", "containers:", "- name: manager", "args:", "versions:", "storage: true", "rules:", "roleRef:", "subjects:", "volumes:", "digest: ", "Deployment"} {
			if at := strings.Index(content, word); at >= 0 {
				for _, other := range []string{"", word + " null\nx:", word + " []\nx:", word + " {a: [1]}\nx:", word + " 1\nx:"} {
					f.Add(byte(which), uint16(at), uint16(len(word)), other)
				}
			}
		}
	}
	i := everything(files, "v2.9.0")
	i.Spec.Components = instance().Spec.Components
	i.Spec.Kustomize = nil // patches are what FuzzPatches is for, and would hide most of what can go wrong here
	f.Fuzz(func(t *testing.T, which byte, from, length uint16, text string) {
		broken := maps.Clone(files)
		name := names[int(which)%len(names)]
		old := files[name].Data
		start := int(from) % (len(old) + 1)
		end := min(start+int(length), len(old))
		broken[name] = &fstest.MapFile{Data: slices.Concat(old[:start], []byte(text), old[end:])}
		checkOutcome(t, func() (*Set, error) { return Render(watched{broken, t, "v2.9.0"}, "v2.9.0", i) })
	})
}

// hostileTexts are files that nobody would release.
func hostileTexts() []string {
	return []string{
		"", "\x00", "\xff\xfe", "- a", "a", "---\n---\n", "a: &a [x]\nb: *a", "a: &a {b: *a}", "a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\nd: [*c,*c]",
		"apiVersion: v1\nkind: Service\nmetadata: {name: ../../x}\n", "apiVersion: v1\nkind: List\nitems: []\nmetadata: {name: a}\n",
		"apiVersion: v1\nkind: Service\nmetadata: {name: a}\n---\napiVersion: v1\nkind: Service\nmetadata: {name: a}\n",
		"images: [{name: ../../x, newTag: a, digest: 'sha256:'}]", "images: {}", "images: [1]",
		strings.Repeat("[", 20000), strings.Repeat("---\na: 1\n", maxDocuments+2), "a: [" + strings.Repeat("a,", 20000) + "]", "a: 1e999999999", "a: 99999999999999999999",
		"%YAML 9.9\n---\na: 1\n", "a: !!binary x\n", "? [a]\n: b\n", "a: |\n" + strings.Repeat(" x\n", 1000),
	}
}

// checkOutcome runs a render and wants a set that can be used, or an error of a kind that callers know, for a bounded price.
func checkOutcome(t *testing.T, run func() (*Set, error)) {
	t.Helper()
	before := allocated()
	set, err := run()
	if took := allocated() - before; took > maxAllocated {
		t.Fatalf("it allocated %d MB", took>>20)
	}
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
	}
}

// allocated is how many bytes this process has allocated so far.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// watched is a distribution that wants nothing but the files of one release to be read.
type watched struct {
	tree    fs.FS
	tb      testing.TB
	release string
}

// Open implements fs.FS.
func (w watched) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) || !strings.HasPrefix(name, "flux/"+w.release) && !strings.HasPrefix(name, "flux-images/"+w.release) {
		w.tb.Errorf("%q was opened", name)
	}
	return w.tree.Open(name)
}
