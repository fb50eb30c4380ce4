package render

import (
	"testing"

	"github.com/google/go-cmp/cmp"

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
