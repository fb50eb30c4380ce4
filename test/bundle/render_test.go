package bundle_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/flux-autopilot/flux-operator/test/bundle"
)

// templateOf is the template of a catalog with the bundles of some images.
func templateOf(t *testing.T, images ...string) string {
	t.Helper()
	text := "schema: olm.template.basic\nentries:\n"
	for _, image := range images {
		text += "- schema: olm.bundle\n  image: " + image + "\n"
	}
	return filepath.Join(folder(t, map[string]string{"template.yaml": text}), "template.yaml")
}

// TestEveryBundleOfTheTemplateIsThere says which one is missing, or too many, instead of letting opm fail. What is complete is given to opm, which is
// not here.
func TestEveryBundleOfTheTemplateIsThere(t *testing.T) {
	const old, fresh = "example.com/a/bundle:v0.1.0", "example.com/a/bundle:v0.2.0"
	shipped := inCheckout(t, "bundle")
	released := t.TempDir()
	if err := os.CopyFS(filepath.Join(released, "0.1.0"), os.DirFS(shipped)); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		reason   string
		template []string
		released string
		bundles  map[string]string
		want     string // of the error
	}{
		{"nothing was released before", []string{old}, filepath.Join(t.TempDir(), "none"), map[string]string{old: shipped}, "no-opm"},
		{"a version was", []string{old, fresh}, released, map[string]string{fresh: shipped}, "no-opm"},
		{"a version was not kept", []string{old, fresh}, t.TempDir(), map[string]string{fresh: shipped}, `"` + old + `": the template names it and nobody has it; keep the bundle`},
		{"there is no folder to keep one in", []string{old, fresh}, "", map[string]string{fresh: shipped}, `"` + old + `": the template names it and nobody has it; keep the bundle`},
		{"a version was and is made anew", []string{old}, released, map[string]string{old: shipped}, `"` + old + `": ".*0.1.0" is released`},
		{"a version is not in the template", []string{old}, released, map[string]string{fresh: shipped}, `"` + fresh + `": the template does not have it`},
		{"a version that was is not in the template", []string{fresh}, released, map[string]string{fresh: shipped}, `the template does not have the version "0.1.0"`},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			r := bundle.Renderer{OPM: filepath.Join(t.TempDir(), "no-opm"), Released: tc.released, Bundles: tc.bundles}
			_, err := r.Render(t.Context(), templateOf(t, tc.template...))
			if err == nil || !regexp.MustCompile(tc.want).MatchString(err.Error()) {
				t.Errorf("Render fails with %v, want %s", err, tc.want)
			}
		})
	}
}

// TestReleasedBundlesAreOlder: make catalog has a folder for every version before the one that the project makes, and none for that one.
func TestReleasedBundlesAreOlder(t *testing.T) {
	content, err := os.ReadFile(inCheckout(t, "catalog", "catalog-templates", "stable.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, image := range regexp.MustCompile(`(?m)^  image: (.*)$`).FindAllStringSubmatch(string(content), -1) {
		version := image[1][strings.LastIndex(image[1], ":v")+2:]
		kept, err := bundle.Load(inCheckout(t, "catalog", "bundles", version))
		if version == shipped(t).Version() {
			if err == nil {
				t.Errorf("%s is released: begin the next version", version)
			}
			continue
		}
		if err != nil {
			t.Errorf("the bundle of %s was not kept: %v", version, err)
		} else if kept.Version() != version {
			t.Errorf("catalog/bundles/%s has the version %s", version, kept.Version())
		}
	}
}
