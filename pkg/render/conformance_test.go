package render

import (
	"bytes"
	"cmp"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/Masterminds/semver/v3"
	"github.com/fluxcd/pkg/apis/kustomize"
	gocmp "github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// generated opens the distribution that this project ships; there are no tests without it.
func generated(tb testing.TB) fs.FS {
	tb.Helper()
	dir := cmp.Or(os.Getenv("DISTRIBUTION_DIR"), "../../dist/distribution")
	if _, err := os.Stat(dir); err != nil {
		tb.Fatalf("there is no distribution to test with: %v; run make distribution", err)
	}
	return os.DirFS(dir)
}

// distributions are the one of this project and, where the environment names them, the released manifests of Flux.
func distributions(tb testing.TB) map[string]fs.FS {
	tb.Helper()
	found := map[string]fs.FS{"generated": generated(tb)}
	if dir := os.Getenv("FLUX_RELEASES_DIR"); dir != "" {
		found["released"] = os.DirFS(dir)
	}
	return found
}

// releases names the releases of a distribution, from the oldest to the newest.
func releases(tb testing.TB, tree fs.FS) []string {
	tb.Helper()
	entries, err := fs.ReadDir(tree, "flux")
	if err != nil || len(entries) == 0 {
		tb.Fatalf("a distribution holds no releases: %v", err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	slices.SortFunc(names, func(a, b string) int { return semver.MustParse(a).Compare(semver.MustParse(b)) })
	return names
}

// eachRelease runs a test for all releases of all distributions, side by side.
func eachRelease(t *testing.T, run func(t *testing.T, tree fs.FS, release string)) {
	t.Helper()
	for origin, tree := range distributions(t) {
		for _, release := range releases(t, tree) {
			t.Run(origin+"/"+release, func(t *testing.T) {
				t.Parallel()
				run(t, tree, release)
			})
		}
	}
}

// everything asks a release for all it can do.
func everything(tree fs.FS, release string) *v1.FluxInstance {
	i := instance()
	i.Namespace = "gitops"
	i.Spec.Components = componentsOf(tree, release)
	r, err := load(tree, release, i)
	since := func(major, minor uint64) bool { return err == nil && r.atLeast(major, minor) }
	i.Spec.Cluster = &v1.Cluster{
		NetworkPolicy: true, Multitenant: true, Size: "large", Type: "openshift", Domain: "example.org",
		ObjectLevelWorkloadIdentity: since(2, 6), MultitenantWorkloadIdentity: since(2, 7),
	}
	i.Spec.Distribution.ImagePullSecret = "pull"
	i.Spec.Sharding = &v1.Sharding{Shards: []string{"a", "b"}, Storage: "persistent"}
	i.Spec.Storage = &v1.Storage{Class: "standard", Size: "10Gi"}
	i.Spec.CommonMetadata = &v1.CommonMetadata{Labels: map[string]string{"team": "a"}}
	synced(func(s *v1.Sync) {
		s.Kind, s.URL, s.Provider, s.PullSecret = "OCIRepository", "oci://ghcr.io/a/b", "aws", "s"
	})(i)
	patched(
		kustomize.Patch{Target: &kustomize.Selector{Kind: "Deployment"},
			Patch: "- {op: add, path: /spec/template/spec/tolerations, value: [{operator: Exists}]}"},
		kustomize.Patch{Patch: "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: source-controller}\nspec: {replicas: 2}"},
		kustomize.Patch{Target: &kustomize.Selector{Kind: "CustomResourceDefinition", Name: "buckets.*"},
			Patch: "- {op: add, path: /metadata/annotations/example.com~1a, value: b}"},
	)(i)
	return i
}

// urlOf is an address that a kind of source takes.
func urlOf(kind string) string {
	if kind == ociRepositoryKind {
		return "oci://registry.example.com/fleet"
	}
	return "https://example.com/fleet"
}

func TestReleasesRender(t *testing.T) {
	t.Parallel()
	eachRelease(t, func(t *testing.T, tree fs.FS, release string) {
		t.Helper()
		plain := instance()
		plain.Spec.Components = nil
		instances := []*v1.FluxInstance{plain, everything(tree, release)}
		for _, kind := range []string{"GitRepository", "OCIRepository", "Bucket"} {
			i := plain.DeepCopy()
			synced(func(s *v1.Sync) { s.Kind, s.Provider, s.URL = kind, "generic", urlOf(kind) })(i)
			instances = append(instances, i)
		}
		for _, i := range instances {
			set, err := Render(tree, release, i)
			if err != nil {
				t.Fatal(err)
			}
			checkSet(t, i, set)
			checkImages(t, tree, i, set)
			if diff := gocmp.Diff(set.ReleaseImages, set.Images); diff != "" {
				t.Errorf("patches that touch no image changed one:\n%s", diff)
			}
			again, err := Render(tree, release, i)
			if err != nil {
				t.Fatal(err)
			}
			first, second := marshal(t, set), marshal(t, again)
			if !bytes.Equal(first, second) || set.Revision != again.Revision {
				t.Errorf("the same input gave other bytes:\n%s", gocmp.Diff(string(first), string(second)))
			}
		}
	})
}

// TestReleasesParse compares our reading of YAML with that of kubectl.
func TestReleasesParse(t *testing.T) {
	t.Parallel()
	eachRelease(t, func(t *testing.T, tree fs.FS, release string) {
		t.Helper()
		files, err := fs.Glob(tree, path.Join("flux", release, "*.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			content, err := fs.ReadFile(tree, file)
			if err != nil {
				t.Fatal(err)
			}
			got, err := parse(content)
			if err != nil {
				t.Fatal(err)
			}
			var want []map[string]any
			for document := range bytes.SplitSeq(content, []byte("\n---\n")) {
				text, err := yaml.YAMLToJSON(document)
				if err != nil {
					t.Fatal(err)
				}
				if string(text) == "null" {
					continue
				}
				o := &unstructured.Unstructured{}
				if err := o.UnmarshalJSON(text); err != nil {
					t.Fatal(err)
				}
				want = append(want, o.Object)
			}
			if diff := gocmp.Diff(want, got); diff != "" {
				t.Errorf("%s is read otherwise (-want +got):\n%s", file, diff)
			}
		}
	})
}

// checkImages holds the image of every Deployment, those of shards too, against the file it comes from, read in another way. What a
// patch has put in its place is not looked at.
func checkImages(t *testing.T, tree fs.FS, i *v1.FluxInstance, set *Set) {
	t.Helper()
	registry := strings.TrimSuffix(i.Spec.Distribution.Registry, "/")
	variant := cmp.Or(i.Spec.Distribution.Variant, map[string]string{
		"fluxcd": "upstream-alpine", "ghcr.io/fluxcd": "upstream-alpine", "ghcr.io/controlplaneio-fluxcd/alpine": "enterprise-alpine",
		"ghcr.io/controlplaneio-fluxcd/distroless-fips": "enterprise-distroless-fips",
	}[registry], "enterprise-distroless")
	content, err := fs.ReadFile(tree, path.Join("flux-images", set.Revision.Version, variant+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var record struct {
		Images []struct{ Name, NewTag, Digest string }
	}
	if err := yaml.Unmarshal(content, &record); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for _, image := range record.Images {
		name := path.Base(image.Name)
		want[name] = registry + "/" + name + ":" + image.NewTag
		if image.Digest != "" {
			want[name] += "@" + image.Digest
		}
		if slices.Contains(set.Unpinned(), name) != (image.Digest == "") && slices.Contains(set.Images, released(set, name)) {
			t.Errorf("Unpinned = %v, but %v", set.Unpinned(), image)
		}
	}
	for _, o := range set.Objects {
		name := o.GetLabels()["app.kubernetes.io/component"]
		if o.GetKind() != "Deployment" || !slices.Contains(set.Images, released(set, name)) {
			continue
		}
		w, err := openWorkload(&object{Unstructured: o})
		if err != nil {
			t.Fatal(err)
		}
		if w.manager["image"] != want[name] {
			t.Errorf("%s runs %v, want %s", describe(o), w.manager["image"], want[name])
		}
	}
}

// released is the image of a controller before patches.
func released(set *Set, name string) v1.ComponentImage {
	for _, image := range set.ReleaseImages {
		if image.Name == name {
			return image
		}
	}
	return v1.ComponentImage{}
}

func marshal(tb testing.TB, set *Set) []byte {
	tb.Helper()
	content, err := set.YAML()
	if err != nil {
		tb.Fatal(err)
	}
	return content
}

// checkSet checks what holds for every set.
func checkSet(t *testing.T, i *v1.FluxInstance, set *Set) {
	t.Helper()
	seen := map[string]bool{}
	for _, o := range set.Objects {
		name := describe(o)
		if seen[identity(o)] {
			t.Errorf("%s is there twice", name)
		}
		seen[identity(o)] = true
		if IsClusterScoped(o.GetKind()) != (o.GetNamespace() == "") || o.GetNamespace() != "" && o.GetNamespace() != i.Namespace {
			t.Errorf("%s is in namespace %q", name, o.GetNamespace())
		}
		if o.GetLabels()[v1.OwnerNameLabel] != i.Name || o.GetLabels()[v1.OwnerNamespaceLabel] != i.Namespace {
			t.Errorf("%s has not the labels of its owner", name)
		}
		if o.GetKind() == "Deployment" && i.Namespace != homeNamespace && strings.Contains(fmt.Sprint(o.Object), homeNamespace) {
			t.Errorf("%s still points to %s", name, homeNamespace)
		}
		if o.GetKind() == "ClusterRoleBinding" {
			subjects, err := mapsAt(o.Object, "subjects")
			if err != nil || slices.ContainsFunc(subjects, func(s map[string]any) bool { return s["namespace"] != i.Namespace }) {
				t.Errorf("%s has subjects elsewhere: %v, %v", name, subjects, err)
			}
		}
	}
	if !slices.IsSortedFunc(set.Objects, compareObjects) || set.Objects[0].GetKind() != "Namespace" {
		t.Error("the objects are not in order")
	}
	if len(set.Images) != len(i.Components()) {
		t.Errorf("%d images for %d components", len(set.Images), len(i.Components()))
	}
}

// fixture is a small distribution of two releases, to try things out on.
func fixture() fs.FS { return os.DirFS("testdata/distribution") }
