package render

import (
	"io/fs"
	"maps"
	"testing"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// TestContractOfStorage: which controllers keep their artifacts on a claim. Shards do only when asked to, source-watcher has shards
// since 2.9.
func TestContractOfStorage(t *testing.T) {
	t.Parallel()
	source, watcher := string(v1.SourceController), string(v1.SourceWatcher)
	eachRelease(t, func(t *testing.T, tree fs.FS, release string) {
		t.Helper()
		r, err := load(tree, release, complete(tree, release))
		if err != nil {
			t.Fatal(err)
		}
		for _, tt := range []struct {
			shards  []string
			storage string
			claims  map[string]string // since which release, by name
		}{
			{nil, "", map[string]string{source: "2.2", watcher: "2.7"}},
			{[]string{"1"}, "", map[string]string{source: "2.2", watcher: "2.7"}},
			{[]string{"1"}, "ephemeral", map[string]string{source: "2.2", watcher: "2.7"}},
			{[]string{"1"}, "persistent", map[string]string{source: "2.2", watcher: "2.7", source + "-1": "2.2", watcher + "-1": "2.9"}},
		} {
			i := complete(tree, release)
			i.Spec.Storage = &v1.Storage{Class: "1.10", Size: "10Gi"}
			if tt.shards != nil {
				i.Spec.Sharding = &v1.Sharding{Shards: tt.shards, Storage: tt.storage}
			}
			set, err := Render(tree, release, i)
			if err != nil {
				t.Fatal(err)
			}
			maps.DeleteFunc(tt.claims, func(_, since string) bool { return !within(r, since, "") })
			checkClaims(t, set, tt.claims)
		}
	})
}

func checkClaims(t *testing.T, set *Set, claims map[string]string) {
	t.Helper()
	for _, o := range set.Objects {
		_, claimed := claims[o.GetName()]
		switch o.GetKind() {
		case "PersistentVolumeClaim":
			modes, err := listAt(o.Object, "spec", "accessModes")
			if !claimed || err != nil || len(modes) != 1 || modes[0] != "ReadWriteOnce" || textAt(o.Object, "spec", "storageClassName") != "1.10" ||
				textAt(o.Object, "spec", "resources", "requests", "storage") != "10Gi" {
				t.Errorf("%s has the spec %v", describe(o), o.Object["spec"])
			}
		case "Deployment":
			volumes, err := mapsAt(o.Object, "spec", "template", "spec", "volumes")
			if err != nil {
				t.Fatal(err)
			}
			volume, mounted := named(volumes, persistentVolume)
			if mounted != claimed || mounted && textAt(volume, "persistentVolumeClaim", "claimName") != o.GetName() {
				t.Errorf("%s has the volumes %v", describe(o), volumes)
			}
			// Two pods cannot hold one volume, so the old one has to go first.
			if mounted && textAt(o.Object, "spec", "strategy", "type") != "Recreate" {
				t.Errorf("%s would wait for its own volume: %v", describe(o), o.Object["spec"])
			}
		}
	}
	for name := range claims {
		if _, found := objectOf(set, "PersistentVolumeClaim", name); !found {
			t.Errorf("no claim %s", name)
		}
	}
}

// TestStorageWithoutClass leaves the class to the cluster.
func TestStorageWithoutClass(t *testing.T) {
	i := instance()
	i.Spec.Storage = &v1.Storage{Size: "1Gi"}
	set, err := Render(fixture(), "v2.9.0", i)
	if err != nil {
		t.Fatal(err)
	}
	o, _ := objectOf(set, "PersistentVolumeClaim", "source-controller")
	if class, found := fieldAt(o.Object, "spec", "storageClassName"); found {
		t.Errorf("the claim has the class %q", class)
	}
}
