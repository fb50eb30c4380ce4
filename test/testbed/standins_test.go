package testbed

import (
	"maps"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func TestStandIns(t *testing.T) {
	images := func(tag string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte("images:\n- {digest: d, name: ghcr.io/fluxcd/source-controller, newTag: " + tag + "}\n" +
			"- {digest: d, name: ghcr.io/fluxcd/image-reflector-controller, newTag: " + tag + "}\n")}
	}
	distribution := fstest.MapFS{
		"flux-images/v2.2.3/upstream-alpine.yaml": images("v1.2.4"),
		"flux-images/v2.8.8/upstream-alpine.yaml": images("v1.8.0"),
		"flux-images/v2.9.4/upstream-alpine.yaml": images("v1.9.4"),
	}
	for _, tc := range []struct {
		reason, release string
		want            map[string]string
	}{
		{"the newest programs do not know the definitions of 2.2", "v2.2.3",
			map[string]string{"fluxcd/source-controller:v1.2.4": "", "fluxcd/image-reflector-controller:v1.2.4": ""}},
		{"they know those of 2.8", "v2.8.8",
			map[string]string{"fluxcd/source-controller:v1.8.0": "source-controller", "fluxcd/image-reflector-controller:v1.8.0": ""}},
		{"what has a program of its own needs none", "v2.9.4", map[string]string{"fluxcd/image-reflector-controller:v1.9.4": ""}},
	} {
		standIns, err := StandIns(distribution, tc.release)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, img := range standIns {
			got[img.name()] = img.Tool
			if (img.Tool == "") == (img.Package == "") {
				t.Errorf("%s: %s is made of %q and %q", tc.reason, img.name(), img.Tool, img.Package)
			}
		}
		if !maps.Equal(got, tc.want) {
			t.Errorf("%s (-want +got):\n%s", tc.reason, cmp.Diff(tc.want, got))
		}
	}
	if _, err := StandIns(distribution, "v2.0.0"); err == nil {
		t.Error("there is no such release")
	}
}
