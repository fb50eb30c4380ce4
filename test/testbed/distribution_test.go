package testbed

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

const releasedImages = `images:
- digest: sha256:released
  name: ghcr.io/fluxcd/source-controller
  newTag: v1.9.4
- digest: sha256:kept
  name: ghcr.io/fluxcd/image-reflector-controller
  newTag: v1.2.4
`

func released() fstest.MapFS {
	return fstest.MapFS{
		"flux/v2.9.4/source-controller.yaml":            {Data: []byte("kind: Deployment\n")},
		"flux-images/VERSION":                           {Data: []byte("v2.9.4\n")},
		"flux-images/v2.9.4/upstream-alpine.yaml":       {Data: []byte(releasedImages)},
		"flux-images/v2.9.4/enterprise-distroless.yaml": {Data: []byte(releasedImages)},
	}
}

func TestTestDistribution(t *testing.T) {
	dst := filepath.Join(t.TempDir(), "distribution")
	err := TestDistribution(released(), dst, map[string]string{"fluxcd/source-controller:v1.9.4": "sha256:pushed", "testbed/pause:1": "sha256:other"})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		reason, file string
		has, hasNot  string
	}{
		{"the pushed image has its digest", "flux-images/v2.9.4/upstream-alpine.yaml", "sha256:pushed", "sha256:released"},
		{"an image that was not pushed keeps its own", "flux-images/v2.9.4/upstream-alpine.yaml", "sha256:kept", "sha256:other"},
		{"other variants are copied", "flux-images/v2.9.4/enterprise-distroless.yaml", "sha256:released", "sha256:pushed"},
		{"manifests are copied", "flux/v2.9.4/source-controller.yaml", "kind: Deployment", "sha256"},
		{"the version is copied", "flux-images/VERSION", "v2.9.4", "sha256"},
	} {
		data, err := os.ReadFile(filepath.Join(dst, tc.file))
		if err != nil {
			t.Errorf("%s: %v", tc.reason, err)
			continue
		}
		if text := string(data); !strings.Contains(text, tc.has) || strings.Contains(text, tc.hasNot) {
			t.Errorf("%s: %s has %q", tc.reason, tc.file, text)
		}
	}
}

func TestTestDistributionRefuses(t *testing.T) {
	digests := map[string]string{"fluxcd/source-controller:v1.9.4": "sha256:pushed"}
	broken := released()
	broken["flux-images/v2.9.4/upstream-alpine.yaml"] = &fstest.MapFile{Data: []byte("images: 1\n")}
	for _, tc := range []struct {
		reason  string
		src     fstest.MapFS
		digests map[string]string
	}{
		{"nothing was pushed", released(), nil},
		{"another tag was pushed", released(), map[string]string{"fluxcd/source-controller:v1.9.3": "sha256:pushed"}},
		{"no distribution", fstest.MapFS{}, digests},
		{"broken list", broken, digests},
	} {
		if err := TestDistribution(tc.src, t.TempDir(), tc.digests); err == nil {
			t.Errorf("%s: no error", tc.reason)
		}
	}
}

func TestWithoutRegistry(t *testing.T) {
	for name, want := range map[string]string{
		"ghcr.io/fluxcd/source-controller":   "fluxcd/source-controller",
		"localhost/a":                        "a",
		"registry:5000/a/b":                  "a/b",
		"fluxcd/source-controller":           "fluxcd/source-controller",
		"source-controller":                  "source-controller",
		"ghcr.io/controlplaneio-fluxcd/al/s": "controlplaneio-fluxcd/al/s",
	} {
		if got := withoutRegistry(name); got != want {
			t.Errorf("%q became %q, want %q", name, got, want)
		}
	}
}
