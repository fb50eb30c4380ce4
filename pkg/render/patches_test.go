package render

import (
	"maps"
	"strings"
	"testing"

	"github.com/fluxcd/pkg/apis/kustomize"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

func renderPatched(t *testing.T, patches ...kustomize.Patch) *Set {
	t.Helper()
	i := everything(fixture(), "v2.9.0")
	patched(patches...)(i)
	set, err := Render(fixture(), "v2.9.0", i)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// TestPatchesSelect: which objects a patch changes, told by an annotation that it sets.
func TestPatchesSelect(t *testing.T) {
	mark := "- {op: add, path: /metadata/annotations/marked, value: here}"
	main := "source-controller"
	for _, tt := range []struct {
		reason string
		patch  kustomize.Patch
		want   []string
	}{
		{"a name of the release, in its shards too", kustomize.Patch{Target: &kustomize.Selector{Kind: "Deployment", Name: main}, Patch: mark},
			[]string{main, main + "-a", main + "-b"}},
		{"the name of one shard", kustomize.Patch{Target: &kustomize.Selector{Kind: "Deployment", Name: main + "-a"}, Patch: mark}, []string{main + "-a"}},
		{"a name as an expression", kustomize.Patch{Target: &kustomize.Selector{Kind: "Deployment", Name: "(source|kustomize)-controller-b"}, Patch: mark},
			[]string{main + "-b", "kustomize-controller-b"}},
		{"an expression is about the whole name", kustomize.Patch{Target: &kustomize.Selector{Kind: "Service", Name: ".*-watcher"}, Patch: mark},
			[]string{"source-watcher", "source-watcher-a", "source-watcher-b"}},
		{"group and version", kustomize.Patch{Target: &kustomize.Selector{Group: "apps", Version: "v1", Name: ".*-controller-a"}, Patch: mark},
			[]string{main + "-a", "kustomize-controller-a"}},
		{"a label", kustomize.Patch{Target: &kustomize.Selector{Kind: "Deployment", LabelSelector: "app.kubernetes.io/component=source-watcher"}, Patch: mark},
			[]string{"source-watcher", "source-watcher-a", "source-watcher-b"}},
		{"an annotation", kustomize.Patch{Target: &kustomize.Selector{Kind: "Service", AnnotationSelector: shardRole + "=shard"}, Patch: mark},
			[]string{main + "-a", main + "-b", "source-watcher-a", "source-watcher-b"}},
		{"the namespace of the instance", kustomize.Patch{Target: &kustomize.Selector{Kind: "ServiceAccount", Name: main, Namespace: "gitops"}, Patch: mark}, []string{main}},
		{"the namespace of the release", kustomize.Patch{Target: &kustomize.Selector{Kind: "ServiceAccount", Name: main, Namespace: "flux-system"}, Patch: mark}, []string{main}},
		{"one object, named by the patch", kustomize.Patch{
			Patch: "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: source-controller, annotations: {marked: here}}"}, []string{main}},
		{"one object in the namespace of the release", kustomize.Patch{
			Patch: "apiVersion: v1\nkind: Service\nmetadata: {name: source-controller, namespace: flux-system, annotations: {marked: here}}"}, []string{main}},
		{"several objects, named by the patch", kustomize.Patch{
			Patch: "apiVersion: v1\nkind: Service\nmetadata: {name: source-controller, annotations: {marked: here}}\n---\n" +
				"apiVersion: v1\nkind: Service\nmetadata: {name: source-watcher-b, annotations: {marked: here}}"}, []string{main, "source-watcher-b"}},
		{"aliases", kustomize.Patch{Target: &kustomize.Selector{Kind: "Service", Name: main + "-a"},
			Patch: "metadata: {annotations: {a: &a here, marked: *a}}"}, []string{main + "-a"}},
	} {
		marked := map[string]bool{}
		for _, o := range renderPatched(t, tt.patch).Objects {
			if o.GetAnnotations()["marked"] == "here" {
				marked[o.GetName()] = true
			}
		}
		want := map[string]bool{}
		for _, name := range tt.want {
			want[name] = true
		}
		if !maps.Equal(marked, want) {
			t.Errorf("%s: %v, want %v", tt.reason, marked, want)
		}
	}
}

// TestPatchesSeeEachOther: in their order, and after everything else.
func TestPatchesSeeEachOther(t *testing.T) {
	set := renderPatched(t,
		kustomize.Patch{Target: &kustomize.Selector{Kind: "Deployment", Name: "source-controller-a"}, Patch: "metadata: {labels: {first: done}}"},
		kustomize.Patch{Target: &kustomize.Selector{LabelSelector: "first=done"}, Patch: "- {op: add, path: /spec/template/spec/containers/0/args/-, value: --second=done}"},
		kustomize.Patch{Target: &kustomize.Selector{LabelSelector: "first=done"}, Patch: "- {op: replace, path: /metadata/labels/first, value: again}"},
	)
	o, _ := objectOf(set, "Deployment", "source-controller-a")
	args := containersOf(t, o)
	if o.GetLabels()["first"] != "again" || !strings.Contains(args, "--second=done") || !strings.Contains(args, "--concurrent=10") {
		t.Errorf("%v, %s", o.GetLabels(), args)
	}
}

// TestPatchesKeepTheMetadata: a patch that replaces or removes whole maps does not hide an object, a value it sets is the user's choice.
func TestPatchesKeepTheMetadata(t *testing.T) {
	set := renderPatched(t,
		kustomize.Patch{Target: &kustomize.Selector{Kind: "Service"}, Patch: "[{op: replace, path: /metadata/labels, value: {app.kubernetes.io/part-of: platform}}]"},
		kustomize.Patch{Target: &kustomize.Selector{Kind: "Service|Namespace"}, Patch: "[{op: remove, path: /metadata/annotations}]"},
	)
	want := map[string]string{
		"app.kubernetes.io/managed-by": "flux-operator", "app.kubernetes.io/instance": "gitops", "app.kubernetes.io/version": "v2.9.0",
		partOfLabel: "platform", v1.OwnerNameLabel: "flux", v1.OwnerNamespaceLabel: "gitops", "team": "a",
	}
	for _, o := range set.Objects {
		if o.GetKind() == "Service" && !maps.Equal(o.GetLabels(), want) {
			t.Errorf("%s has labels %v, want %v", describe(o), o.GetLabels(), want)
		}
		if o.GetAnnotations()["kustomize.toolkit.fluxcd.io/ssa"] != "Ignore" || o.GetAnnotations()["kustomize.toolkit.fluxcd.io/prune"] != "Disabled" {
			t.Errorf("%s has annotations %v", describe(o), o.GetAnnotations())
		}
	}
	if set.Objects[0].GetAnnotations()[v1.PruneAnnotation] != v1.DisabledValue {
		t.Errorf("the namespace has annotations %v", set.Objects[0].GetAnnotations())
	}
}

// TestPatchesRemoveFields: what somebody else is to set, such as the replicas, is taken out, and nothing puts it back.
func TestPatchesRemoveFields(t *testing.T) {
	for _, patch := range []string{"- {op: remove, path: /spec/replicas}", "spec: {replicas: null}"} {
		set := renderPatched(t, kustomize.Patch{Target: &kustomize.Selector{Kind: "Deployment"}, Patch: patch})
		for _, o := range set.Objects {
			if _, found := fieldAt(o.Object, "spec", "replicas"); found {
				t.Errorf("%s says how many replicas it has in spite of %q", describe(o), patch)
			}
		}
	}
}

func containersOf(t *testing.T, o *unstructured.Unstructured) string {
	t.Helper()
	w, err := openWorkload(&object{Unstructured: o})
	if err != nil {
		t.Fatal(err)
	}
	var text []string
	for _, arg := range w.manager["args"].([]any) {
		text = append(text, arg.(string))
	}
	return strings.Join(text, " ")
}
