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
		{"busybox:1", v1.ComponentImage{Repository: "index.docker.io/library/busybox", Tag: "1"}},
	} {
		got, err := parseImage(tt.reference)
		if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
			t.Errorf("parseImage(%q): %v (-want +got):\n%s", tt.reference, err, diff)
		}
	}
	for _, reference := range []string{"", ":v1", "a:", "a b", "ghcr.io/A/b", "a@sha256:12", "a@", "a:v1@", "https://ghcr.io/a", "a:" + strings.Repeat("x", 129), "a//"} {
		if got, err := parseImage(reference); err == nil && got.Tag != "latest" {
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
