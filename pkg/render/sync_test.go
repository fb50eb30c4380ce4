package render

import (
	"io/fs"
	"slices"
	"testing"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// TestContractOfSync: which provider works for which kind from which release on, and what the objects look like. Generic is what a
// kind does that knows no providers yet, so it is left out there.
func TestContractOfSync(t *testing.T) {
	t.Parallel()
	const always, never = "2.0", ""
	since := map[string]map[string]string{
		gitRepositoryKind: {"": always, "generic": always, "azure": "2.4", "github": "2.5", "aws": "2.9", "gcp": never},
		ociRepositoryKind: {"": always, "generic": always, "azure": always, "github": never, "aws": always, "gcp": always},
		bucketKind:        {"": always, "generic": always, "azure": always, "github": never, "aws": always, "gcp": always},
	}
	// The versions that the releases store, whatever else they serve.
	stableSince := map[string]string{gitRepositoryKind: always, ociRepositoryKind: "2.6", bucketKind: "2.4"}
	eachRelease(t, func(t *testing.T, tree fs.FS, release string) {
		t.Helper()
		for kind, providers := range since {
			for provider, first := range providers {
				i := complete(tree, release)
				synced(func(s *v1.Sync) { s.Kind, s.URL, s.Provider, s.PullSecret = kind, urlOf(kind), provider, "123" })(i)
				r, err := load(tree, release, i)
				if err != nil {
					t.Fatal(err)
				}
				set, err := Render(tree, release, i)
				if known := first != never && within(r, first, ""); known != (err == nil) {
					t.Errorf("%s with provider %q: %v, want it to work: %t", kind, provider, err, known)
				}
				if err != nil {
					continue
				}
				version := "v1"
				if !within(r, stableSince[kind], "") {
					version = "v1beta2"
				}
				checkSource(t, set, i, version)
				kustomization, _ := objectOf(set, kustomizationKind, "flux-system")
				if orphans := textAt(kustomization.Object, "spec", "deletionPolicy") == "Orphan"; orphans != r.atLeast(2, 5) {
					t.Errorf("the Kustomization leaves what it deployed: %t", orphans)
				}
			}
		}
	})
}

func checkSource(t *testing.T, set *Set, i *v1.FluxInstance, version string) {
	t.Helper()
	sync := i.Spec.Sync
	o, found := objectOf(set, sync.Kind, "flux-system")
	if !found || o.GetAPIVersion() != sourceGroup+"/"+version {
		t.Fatalf("%s of version %q, want %s", sync.Kind, o.GetAPIVersion(), version)
	}
	fields := map[string][]string{
		gitRepositoryKind: {sync.URL, "url", sync.Ref, "ref", "name"},
		ociRepositoryKind: {sync.URL, "url", sync.Ref, "ref", "tag"},
		bucketKind:        {sync.URL, "endpoint", sync.Ref, "bucketName"},
	}[sync.Kind]
	at := func(path ...string) string { return textAt(o.Object, slices.Insert(path, 0, "spec")...) }
	if at(fields[1]) != fields[0] || at(fields[3:]...) != fields[2] || at("interval") != "1m0s" || at("secretRef", "name") != "123" {
		t.Errorf("%s has the spec %v", sync.Kind, o.Object["spec"])
	}
	if provider := at("provider"); provider != sync.Provider && (sync.Provider != genericProvider || provider != "") {
		t.Errorf("%s has provider %q, want %q", sync.Kind, provider, sync.Provider)
	}
	kustomization, _ := objectOf(set, kustomizationKind, "flux-system")
	if textAt(kustomization.Object, "spec", "sourceRef", "kind") != sync.Kind || textAt(kustomization.Object, "spec", "sourceRef", "name") != "flux-system" ||
		textAt(kustomization.Object, "spec", "interval") != "10m0s" || kustomization.Object["spec"].(map[string]any)["prune"] != true {
		t.Errorf("the Kustomization has the spec %v", kustomization.Object["spec"])
	}
}
