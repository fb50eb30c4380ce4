package render

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

func TestParseImage(t *testing.T) {
	digest := "sha256:" + strings.Repeat("a", 64)
	for _, tt := range []struct {
		reference string
		want      v1.ComponentImage
	}{
		{"ghcr.io/fluxcd/source-controller:v1.9.4@" + digest, v1.ComponentImage{Repository: "ghcr.io/fluxcd/source-controller", Tag: "v1.9.4", Digest: digest}},
		{"ghcr.io/fluxcd/source-controller:v1.9.4", v1.ComponentImage{Repository: "ghcr.io/fluxcd/source-controller", Tag: "v1.9.4"}},
		{"ghcr.io/fluxcd/source-controller@" + digest, v1.ComponentImage{Repository: "ghcr.io/fluxcd/source-controller", Digest: digest}},
		{"localhost:5000/a", v1.ComponentImage{Repository: "localhost:5000/a", Tag: "latest"}},
		{"localhost/a:1", v1.ComponentImage{Repository: "localhost/a", Tag: "1"}},
		{"fluxcd/source-controller:v1", v1.ComponentImage{Repository: "index.docker.io/fluxcd/source-controller", Tag: "v1"}},
		{"docker.io/fluxcd/source-controller:v1", v1.ComponentImage{Repository: "index.docker.io/fluxcd/source-controller", Tag: "v1"}},
		{"docker.io/busybox", v1.ComponentImage{Repository: "index.docker.io/library/busybox", Tag: "latest"}},
		{"[2001:db8::1]:5000/a:1", v1.ComponentImage{Repository: "[2001:db8::1]:5000/a", Tag: "1"}},
		{"ghcr.io/a__b/c---d.e", v1.ComponentImage{Repository: "ghcr.io/a__b/c---d.e", Tag: "latest"}},
		{"busybox:1", v1.ComponentImage{Repository: "index.docker.io/library/busybox", Tag: "1"}},
	} {
		got, err := parseImage(tt.reference)
		if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
			t.Errorf("parseImage(%q): %v (-want +got):\n%s", tt.reference, err, diff)
		}
	}
	for _, reference := range []string{"", ":v1", "a:", "a b", "ghcr.io/A/b", "a@sha256:12", "a@", "a:v1@", "https://ghcr.io/a", "a:" + strings.Repeat("x", 129), "a//", "ghcr.io/a//b", "a/../b", "a._b"} {
		if got, err := parseImage(reference); err == nil {
			t.Errorf("parseImage(%q) = %v", reference, got)
		}
	}
}

func TestVariantIsGuessed(t *testing.T) {
	for registry, want := range map[string]string{
		"fluxcd":                                   "upstream-alpine",
		"ghcr.io/fluxcd":                           "upstream-alpine",
		"ghcr.io/controlplaneio-fluxcd/alpine":     "enterprise-alpine",
		"ghcr.io/controlplaneio-fluxcd/distroless": "enterprise-distroless",
		"709825985650.dkr.ecr.us-east-1.amazonaws.com/controlplane/fluxcd": "enterprise-distroless",
		"ghcr.io/controlplaneio-fluxcd/distroless-fips":                    "enterprise-distroless-fips",
		"registry.example.com/fluxcd":                                      "",
	} {
		d := &draft{release: &release{tree: fixture(), name: "v2.9.0"}, instance: &v1.FluxInstance{}}
		got, err := d.variant(registry)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("variant(%q) = %q, %v; want %q", registry, got, err, want)
		}
	}
}

// TestRegistries: what stands before the name of a controller, and what cannot.
func TestRegistries(t *testing.T) {
	for registry, want := range map[string]string{
		"ghcr.io/fluxcd":                    "ghcr.io/fluxcd/source-controller",
		"ghcr.io/fluxcd/":                   "ghcr.io/fluxcd/source-controller",
		"registry.example.com:5000":         "registry.example.com:5000/source-controller",
		"localhost:5000/":                   "localhost:5000/source-controller",
		"registry.example.com/mirror_1/a-b": "registry.example.com/mirror_1/a-b/source-controller",
		"fluxcd":                            "index.docker.io/fluxcd/source-controller",
		"docker.io/fluxcd":                  "index.docker.io/fluxcd/source-controller",
		"":                                  "",
		"/":                                 "",
		"oci://ghcr.io/fluxcd":              "",
		"ghcr.io/Fluxcd":                    "",
		"ghcr.io/../fluxcd":                 "",
		"ghcr.io/fluxcd:v1":                 "",
		"ghcr.io/flux cd":                   "",
	} {
		i := instance()
		i.Spec.Distribution.Registry, i.Spec.Distribution.Variant = registry, "upstream-alpine"
		set, err := Render(fixture(), "v2.9.0", i)
		switch {
		case want == "" && (err == nil || !strings.HasPrefix(err.Error(), "spec.distribution.registry: ")):
			t.Errorf("registry %q: %v, want an error about spec.distribution.registry", registry, err)
		case want != "" && (err != nil || set.Images[0].Repository != want || set.Images[0].Digest == ""):
			t.Errorf("registry %q: %v, want %s", registry, err, want)
		}
	}
}

// TestRelatedImages: an image that came with the operator stands in for the same image of the release, and for no other.
func TestRelatedImages(t *testing.T) {
	published := instance()
	published.Spec.Distribution.Registry = publishedRegistry
	set, err := Render(fixture(), "v2.9.0", published)
	if err != nil {
		t.Fatal(err)
	}
	release := set.Images[0]
	other := "sha256:" + strings.Repeat("0", 64)
	for _, tc := range []struct{ reason, registry, related, want string }{
		{"the same image elsewhere", publishedRegistry, "mirror.example.com:5000/flux/source@" + release.Digest, "mirror.example.com:5000/flux/source"},
		{"another image", publishedRegistry, "mirror.example.com/flux/source@" + other, "ghcr.io/fluxcd/source-controller"},
		{"a tag", publishedRegistry, "mirror.example.com/flux/source:" + release.Tag, "ghcr.io/fluxcd/source-controller"},
		{"no repository", publishedRegistry, "https://mirror.example.com@" + release.Digest, "ghcr.io/fluxcd/source-controller"},
		{"the user's registry", "registry.example.com", "mirror.example.com/flux/source@" + release.Digest, "registry.example.com/source-controller"},
	} {
		i := instance()
		i.Spec.Distribution.Registry, i.Spec.Distribution.Variant = tc.registry, "upstream-alpine"
		set, err := Platform{Images: RelatedImages{v1.SourceController: tc.related}}.Render(fixture(), "v2.9.0", i)
		if err != nil {
			t.Errorf("%s: %v", tc.reason, err)
			continue
		}
		want := v1.ComponentImage{Name: "source-controller", Repository: tc.want, Tag: release.Tag, Digest: release.Digest}
		if set.Images[0] != want {
			t.Errorf("%s: got %+v, want %+v", tc.reason, set.Images[0], want)
		}
	}
}
