package distribution

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/Masterminds/semver/v3"
	"github.com/google/go-cmp/cmp"
)

func mustLoad(t *testing.T) Catalog {
	t.Helper()
	catalog, err := Load()
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	return catalog
}

func TestLoadSortsReleases(t *testing.T) {
	var versions []string
	for _, release := range mustLoad(t).Releases {
		versions = append(versions, release.Version)
	}
	sorted := slices.IsSortedFunc(versions, func(a, b string) int {
		return semver.MustParse(a).Compare(semver.MustParse(b))
	})
	if !sorted {
		t.Errorf("releases are not sorted: %v", versions)
	}
}

// Users may ask for any minor from 2.2 on, and go from minor to minor without leaving one out.
func TestReleasesCoverEveryMinor(t *testing.T) {
	patches := map[uint64]int{}
	newest := uint64(2)
	for _, release := range mustLoad(t).Releases {
		version := semver.MustParse(release.Version)
		patches[version.Minor()]++
		newest = max(newest, version.Minor())
	}
	for minor := uint64(2); minor <= newest; minor++ {
		if patches[minor] == 0 {
			t.Errorf("no release of 2.%d", minor)
		}
	}
	for minor := newest - 1; minor <= newest; minor++ {
		if patches[minor] < 2 {
			t.Errorf("only %d patches of 2.%d: an upgrade to a newer patch cannot be shown", patches[minor], minor)
		}
	}
}

func TestEveryImageHasADigestOrAReason(t *testing.T) {
	for _, release := range mustLoad(t).Releases {
		for variant, images := range release.Images {
			for _, component := range release.Components {
				digest, ok := images.Digests[component.Name]
				if !ok && images.Unpinned == "" {
					t.Errorf("%s %s %s: neither digest nor reason", release.Version, variant, component.Name)
				}
				if ok && !digestPattern.MatchString(digest) {
					t.Errorf("%s %s %s: malformed digest %q", release.Version, variant, component.Name, digest)
				}
			}
		}
	}
}

// A digest that serves two different images is a slip of the pen.
func TestDigestsAreDistinct(t *testing.T) {
	images := map[string]string{}
	for _, release := range mustLoad(t).Releases {
		for variant, set := range release.Images {
			for name, digest := range set.Digests {
				component, _ := release.Component(name)
				image := variant.Registry() + "/" + name + ":" + component.Version
				if other, ok := images[digest]; ok && other != image {
					t.Errorf("digest %s is that of %s and of %s", digest, image, other)
				}
				images[digest] = image
			}
		}
	}
}

func TestModulesPinTheAPIsOfTheRelease(t *testing.T) {
	for _, release := range mustLoad(t).Releases {
		path := filepath.Join("..", "tools", "flux-apis-"+release.Version, "go.mod")
		content, err := os.ReadFile(path)
		if err != nil {
			t.Errorf("reading the module of Flux %s: %v", release.Version, err)
			continue
		}
		for _, component := range release.Components {
			if want := "\t" + component.APIModule() + " " + component.APIVersion + "\n"; !strings.Contains(string(content), want) {
				t.Errorf("%s does not require %s", path, strings.TrimSpace(want))
			}
		}
	}
}

func TestRelease(t *testing.T) {
	catalog := mustLoad(t)
	for _, version := range []string{"2.9.4", "v2.9.4"} {
		release, err := catalog.Release(version)
		if err != nil {
			t.Fatalf("Release(%q): %v", version, err)
		}
		if release.Tag() != "v2.9.4" {
			t.Errorf("Release(%q).Tag() = %q", version, release.Tag())
		}
	}
	if _, err := catalog.Release("1.0.0"); err == nil || !strings.Contains(err.Error(), "2.9.4") {
		t.Errorf("error %v does not name the versions there are", err)
	}
}

const wellFormed = `version: 2.9.9
components:
- name: source-controller
  version: v1.9.9
- name: source-watcher
  version: v2.2.9
images:
  upstream-alpine:
    digests:
      source-controller: sha256:` + zeroes + `
    unpinned: a reason
  enterprise-alpine: {unpinned: a reason}
  enterprise-distroless: {unpinned: a reason}
`

const zeroes = "0000000000000000000000000000000000000000000000000000000000000000"

func loadRelease(t *testing.T, content string) (Release, error) {
	t.Helper()
	ranges, err := os.ReadFile("rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	catalog, err := load(fstest.MapFS{
		"rules.yaml":          {Data: ranges},
		"releases/2.9.9.yaml": {Data: []byte(content)},
	})
	if err != nil {
		return Release{}, err
	}
	return catalog.Releases[0], nil
}

func TestReadReleaseFillsDefaults(t *testing.T) {
	release, err := loadRelease(t, wellFormed)
	if err != nil {
		t.Fatal(err)
	}
	if release.ControllerGen != DefaultControllerGen {
		t.Errorf("ControllerGen = %q", release.ControllerGen)
	}
	want := []Component{
		{Name: SourceController, Version: "v1.9.9", APIVersion: "v1.9.9"},
		{Name: SourceWatcher, Version: "v2.2.9", APIVersion: "v2.2.9"},
	}
	if diff := cmp.Diff(want, release.Components); diff != "" {
		t.Errorf("components (-want +got):\n%s", diff)
	}
	if got := release.Components[1].APIModule(); got != "github.com/fluxcd/source-watcher/api/v2" {
		t.Errorf("APIModule() = %q", got)
	}
}

func TestReadReleaseRefusesMalformedFiles(t *testing.T) {
	tests := map[string]struct{ old, new, want string }{
		"version":              {"version: 2.9.9", "version: v2.9", "parsing version"},
		"other file name":      {"version: 2.9.9", "version: 2.9.8", `named "releases/2.9.8.yaml"`},
		"unknown field":        {"components:", "extra: 1\ncomponents:", "unknown field"},
		"unknown component":    {"source-watcher", "source-gazer", "not a Flux controller"},
		"component twice":      {"source-watcher", "source-controller", "listed twice"},
		"component version":    {"v1.9.9", "1.9.9", "no leading v"},
		"component not semver": {"v1.9.9", "v1.9", "source-controller version"},
		"unknown variant":      {"enterprise-alpine", "enterprise-arch", `"enterprise-arch" is unknown`},
		"missing variant":      {"  enterprise-alpine: {unpinned: a reason}\n", "", `"enterprise-alpine" are missing`},
		"malformed digest":     {zeroes, "123", "malformed"},
		"digest of a stranger": {"      source-controller", "      stranger", `"stranger" is not a component`},
		"no reason":            {"    unpinned: a reason\n", "", "1 components have neither"},
		"idle reason": {
			"    unpinned: a reason\n", "      source-watcher: sha256:" + zeroes + "\n    unpinned: a reason\n", "although every component",
		},
		"tag of a stranger": {"    unpinned: a reason\n", "    unpinned: a reason\n    tags: {stranger: v1.0.0}\n", "tagged"},
		"malformed tag":     {"    unpinned: a reason\n", "    unpinned: a reason\n    tags: {source-watcher: x}\n", "source-watcher tag"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if !strings.Contains(wellFormed, test.old) {
				t.Fatalf("%q is not in the well-formed release", test.old)
			}
			_, err := loadRelease(t, strings.Replace(wellFormed, test.old, test.new, 1))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v does not contain %q", err, test.want)
			}
		})
	}
}
