package render

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
	yamlv3 "go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

func TestFixtureRenders(t *testing.T) {
	for _, release := range []string{"v2.5.0", "v2.9.0"} {
		for _, i := range []*v1.FluxInstance{instance(), everything(fixture(), release)} {
			set, err := Render(fixture(), release, i)
			if err != nil {
				t.Fatal(err)
			}
			checkSet(t, i, set)
		}
	}
}

// TestRevisionCoversEverything: whatever changes an object changes the revision, and nothing else does.
func TestRevisionCoversEverything(t *testing.T) {
	base, err := Render(fixture(), "v2.9.0", instance())
	if err != nil {
		t.Fatal(err)
	}
	for reason, tt := range map[string]struct {
		change func(*v1.FluxInstance)
		same   bool
	}{
		"common metadata": {change: func(i *v1.FluxInstance) {
			i.Spec.CommonMetadata = &v1.CommonMetadata{Annotations: map[string]string{"a": "b"}}
		}},
		"owner":          {change: func(i *v1.FluxInstance) { i.Name = "other" }},
		"namespace":      {change: func(i *v1.FluxInstance) { i.Namespace = "other" }},
		"network policy": {change: func(i *v1.FluxInstance) { i.Spec.Cluster.NetworkPolicy = false }},
		"wait":           {change: func(i *v1.FluxInstance) { i.Spec.Wait = new(bool) }, same: true},
		"a default named": {change: func(i *v1.FluxInstance) {
			i.Spec.Cluster.Domain, i.Spec.Cluster.Type, i.Spec.Distribution.Variant = "cluster.local", "kubernetes", "upstream-alpine"
		}, same: true},
		"the order of components": {change: func(i *v1.FluxInstance) {
			c := i.Spec.Components
			c[0], c[1] = c[1], c[0]
		}, same: true},
	} {
		i := instance()
		tt.change(i)
		set, err := Render(fixture(), "v2.9.0", i)
		if err != nil {
			t.Fatal(err)
		}
		if (set.Revision == base.Revision) != tt.same {
			t.Errorf("%s: %v, before %v, want the same: %t", reason, set.Revision, base.Revision, tt.same)
		}
	}
}

// TestRenderLeavesItsInputAlone: the instance comes from a cache that others read.
func TestRenderLeavesItsInputAlone(t *testing.T) {
	i := everything(fixture(), "v2.9.0")
	before := i.DeepCopy()
	set, err := Render(fixture(), "v2.9.0", i)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range set.Objects {
		labels := o.GetLabels()
		labels["changed"] = "yes"
		o.SetLabels(labels)
	}
	if diff := cmp.Diff(before, i); diff != "" {
		t.Errorf("the instance changed (-before +after):\n%s", diff)
	}
}

// TestPatchesSeeBothNames: a patch written for the released names still meets objects that got a suffix.
func TestPatchesSeeBothNames(t *testing.T) {
	i := everything(fixture(), "v2.9.0")
	d := &draft{instance: i}
	for _, name := range []string{"crd-controller", "crd-controller-gitops"} {
		c, err := readPatch(patchOf("ClusterRole", name))
		if err != nil {
			t.Fatal(err)
		}
		r, err := load(fixture(), "v2.9.0", i)
		if err != nil {
			t.Fatal(err)
		}
		d.release = r
		if err := d.suffixSharedNames(); err != nil {
			t.Fatal(err)
		}
		if selected, err := d.selectObjects(c[0]); err != nil || len(selected) != 1 {
			t.Errorf("the name %q selects %d objects, %v", name, len(selected), err)
		}
	}
}

// awkward are strings that mean something else when they are pasted into YAML.
func awkward() []string {
	return []string{
		"1.10", "123", "0x10", "1e3", ".5", "-1", "true", "yes", "NO", "null", "~", "2024-01-02", "a: b #c", "#", "- a", "[a", "{a: b}", "&a", "*a", "!tag", "%a", "@a", "`a`",
		`"quoted"`, `it's`, `back\slash`, "two\nlines", "tab\there", " around ", "", "ünïcödé 日本語 🚀", "\u2028", "{{ .Values }}", "${VAR}", "---", "a\n---\nkind: Secret", "=", "<<", "|", ">",
	}
}

// TestTextsArriveAsTheyAre: no text of a spec is read as anything but that text, in the objects and in the YAML that is printed of them.
func TestTextsArriveAsTheyAre(t *testing.T) {
	for _, text := range awkward() {
		i := everything(fixture(), "v2.9.0")
		i.Spec.Sync.Path, i.Spec.CommonMetadata.Annotations = text, map[string]string{"text": text}
		if text != "" {
			i.Spec.Sync.Ref = text
		}
		set, err := Render(fixture(), "v2.9.0", i)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		source, _ := objectOf(set, "OCIRepository", i.SyncName())
		kustomization, _ := objectOf(set, "Kustomization", i.SyncName())
		for _, got := range []any{
			source.Object["spec"].(map[string]any)["ref"].(map[string]any)["tag"],
			kustomization.Object["spec"].(map[string]any)["path"],
			kustomization.GetAnnotations()["text"],
		} {
			if got != text && (text != "" || got != "refs/heads/main") {
				t.Errorf("%q became %#v", text, got)
			}
		}
		checkYAML(t, set)
	}
}

// checkYAML reads what is printed as kubectl would.
func checkYAML(t *testing.T, set *Set) {
	t.Helper()
	documents := yamlv3.NewDecoder(bytes.NewReader(marshal(t, set)))
	for _, o := range set.Objects {
		var node yamlv3.Node
		if err := documents.Decode(&node); err != nil {
			t.Fatal(err)
		}
		text, err := yamlv3.Marshal(&node)
		if err != nil {
			t.Fatal(err)
		}
		got := &unstructured.Unstructured{}
		json, err := yaml.YAMLToJSON(text)
		if err != nil {
			t.Fatal(err)
		}
		if err := got.UnmarshalJSON(json); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(o.Object, got.Object); diff != "" {
			t.Errorf("%s is printed as something else (-want +got):\n%s", describe(o), diff)
		}
	}
}
