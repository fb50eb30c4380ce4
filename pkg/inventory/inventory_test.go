package inventory

import (
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

func object4(apiVersion, kind, namespace, name string) *unstructured.Unstructured {
	o := &unstructured.Unstructured{}
	o.SetAPIVersion(apiVersion)
	o.SetKind(kind)
	o.SetNamespace(namespace)
	o.SetName(name)
	return o
}

func TestEncoding(t *testing.T) {
	for _, tt := range []struct {
		reason string
		object *unstructured.Unstructured
		want   v1.ResourceRef
	}{
		{"namespaced with a group", object4("apps/v1", "Deployment", "flux-system", "source-controller"),
			v1.ResourceRef{ID: "flux-system_source-controller_apps_Deployment", Version: "v1"}},
		{"core group", object4("v1", "Service", "flux-system", "webhook-receiver"),
			v1.ResourceRef{ID: "flux-system_webhook-receiver__Service", Version: "v1"}},
		{"cluster scoped", object4("v1", "Namespace", "", "flux-system"),
			v1.ResourceRef{ID: "_flux-system__Namespace", Version: "v1"}},
		{"dots in the name", object4("apiextensions.k8s.io/v1", "CustomResourceDefinition", "", "buckets.source.toolkit.fluxcd.io"),
			v1.ResourceRef{ID: "_buckets.source.toolkit.fluxcd.io_apiextensions.k8s.io_CustomResourceDefinition", Version: "v1"}},
		{"colons in an RBAC name", object4("rbac.authorization.k8s.io/v1", "ClusterRole", "", "system:flux"),
			v1.ResourceRef{ID: "_system__flux_rbac.authorization.k8s.io_ClusterRole", Version: "v1"}},
	} {
		t.Run(tt.reason, func(t *testing.T) {
			set := Of([]*unstructured.Unstructured{tt.object})
			if diff := cmp.Diff(&v1.ResourceInventory{Entries: []v1.ResourceRef{tt.want}}, set.ToStatus()); diff != "" {
				t.Errorf("ToStatus (-want +got):\n%s", diff)
			}
			back, err := FromStatus(set.ToStatus())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]*unstructured.Unstructured{tt.object}, back.Objects()); diff != "" {
				t.Errorf("Objects after a round trip (-want +got):\n%s", diff)
			}
			if !back.Has(tt.object) {
				t.Error("the object is not in its own set")
			}
		})
	}
}

func TestFromStatusNamesWhatItCannotRead(t *testing.T) {
	good := v1.ResourceRef{ID: "_a__Namespace", Version: "v1"}
	set, err := FromStatus(&v1.ResourceInventory{Entries: []v1.ResourceRef{
		{ID: "", Version: "v1"}, {ID: "no-separators", Version: "v1"}, {ID: "ns___", Version: "v1"}, {ID: "_b__Namespace"}, good, good,
	}})
	if err == nil {
		t.Error("entries that make no sense are no error")
	}
	if diff := cmp.Diff(&v1.ResourceInventory{Entries: []v1.ResourceRef{good}}, set.ToStatus()); diff != "" {
		t.Errorf("the readable rest (-want +got):\n%s", diff)
	}
}

func TestVersionIsNoPartOfTheIdentity(t *testing.T) {
	old := Of([]*unstructured.Unstructured{object4("source.toolkit.fluxcd.io/v1beta2", "Bucket", "flux-system", "b")})
	current := Of([]*unstructured.Unstructured{object4("source.toolkit.fluxcd.io/v1", "Bucket", "flux-system", "b")})
	if rest := old.Minus(current); rest.Len() != 0 {
		t.Errorf("another version makes the object stale: %v", rest.ToStatus())
	}
	for _, pair := range [][2]Inventory{{old, current}, {current, old}} {
		if diff := cmp.Diff(pair[0].ToStatus(), pair[0].Union(pair[1]).ToStatus()); diff != "" {
			t.Errorf("the receiver's version is not kept (-want +got):\n%s", diff)
		}
	}
}

func TestEmpty(t *testing.T) {
	set, err := FromStatus(nil)
	if err != nil || set.Len() != 0 || set.ToStatus() != nil || len(set.Objects()) != 0 {
		t.Errorf("the empty set is %v, %v", set, err)
	}
}

// TestAlgebra checks the laws of sets on random subsets of a small universe, so that overlaps are common.
func TestAlgebra(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		a, b, c := subset(random), subset(random), subset(random)
		laws := map[string][2]Inventory{
			"a∪b = b∪a":         {a.Union(b), b.Union(a)},
			"a∪a = a":           {a.Union(a), a},
			"a∪∅ = a":           {a.Union(Inventory{}), a},
			"(a∪b)∪c = a∪(b∪c)": {a.Union(b).Union(c), a.Union(b.Union(c))},
			"a−a = ∅":           {a.Minus(a), {}},
			"a−∅ = a":           {a.Minus(Inventory{}), a},
			"(a−b)−c = a−(b∪c)": {a.Minus(b).Minus(c), a.Minus(b.Union(c))},
			"(a∪b)−c = …":       {a.Union(b).Minus(c), a.Minus(c).Union(b.Minus(c))},
			"(a−b)∪b = a∪b":     {a.Minus(b).Union(b), a.Union(b)},
			"∅−a = ∅":           {Inventory{}.Minus(a), {}},
		}
		for law, sides := range laws {
			if diff := cmp.Diff(sides[0].ToStatus(), sides[1].ToStatus()); diff != "" {
				t.Fatalf("%s does not hold (-left +right):\n%s", law, diff)
			}
		}
		if again, err := FromStatus(a.ToStatus()); err != nil || !cmp.Equal(a.ToStatus(), again.ToStatus()) {
			t.Fatalf("a set changes on its way through a status: %v", err)
		}
		for _, o := range a.Objects() {
			if !a.Has(o) || b.Has(o) == (a.Minus(b).Has(o)) {
				t.Fatalf("membership of %s is inconsistent", o.GetName())
			}
		}
	}
}

func subset(random *rand.Rand) Inventory {
	universe := []*unstructured.Unstructured{
		object4("v1", "Namespace", "", "a"), object4("v1", "Service", "a", "a"), object4("v1", "Service", "b", "a"),
		object4("apps/v1", "Deployment", "a", "a"), object4("apps/v1", "Deployment", "a", "b"), object4("v1", "Secret", "a", "a"),
	}
	random.Shuffle(len(universe), func(i, j int) { universe[i], universe[j] = universe[j], universe[i] })
	return Of(universe[:random.IntN(len(universe)+1)])
}

func FuzzFromStatus(f *testing.F) {
	f.Add("flux-system_source-controller_apps_Deployment", "v1")
	f.Add("_system__flux_rbac.authorization.k8s.io_ClusterRole", "v1")
	f.Add("____", "")
	f.Fuzz(func(t *testing.T, id, version string) {
		set, err := FromStatus(&v1.ResourceInventory{Entries: []v1.ResourceRef{{ID: id, Version: version}}})
		if (err == nil) != (set.Len() == 1) {
			t.Fatalf("%q gives %d entries and %v", id, set.Len(), err)
		}
		again, err := FromStatus(set.ToStatus())
		if err != nil || !cmp.Equal(set.ToStatus(), again.ToStatus()) {
			t.Fatalf("%q is not stable: %v, %v, %v", id, set.ToStatus(), again.ToStatus(), err)
		}
	})
}
