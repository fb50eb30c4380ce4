package suite

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flux-autopilot/flux-operator/test/bundle"
	"github.com/flux-autopilot/flux-operator/tools"
)

// build returns the path of a tool.
func build(ctx context.Context, t *testing.T, name string) string {
	t.Helper()
	paths, err := tools.Build(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	return paths[name]
}

// checkout is the folder of the project.
func checkout(t *testing.T) string {
	t.Helper()
	root, err := tools.Root()
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// changed copies the bundle of the checkout with a text in its ClusterServiceVersion replaced, and returns the folder.
func changed(t *testing.T, text, by string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "bundle")
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(checkout(t), "bundle"))); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, csv)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(content), text) {
		t.Fatalf("%s does not contain %q", csv, text)
	}
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(string(content), text, by)), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

const csv = "manifests/flux-operator.clusterserviceversion.yaml"

func TestScorecardFails(t *testing.T) {
	ctx := t.Context()
	dir := changed(t, "      resources:\n", "      x-resources:\n")
	scores, err := bundle.Scorecard(ctx, build(ctx, t, "scorecard-test"), dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(scores) != len(bundle.ScorecardTests()) {
		t.Errorf("%d tests ran, want %d: %v", len(scores), len(bundle.ScorecardTests()), scores)
	}
	for _, score := range scores {
		want := "pass"
		if score.Name == "olm-crds-have-resources" {
			want = "fail"
		}
		if score.State != want {
			t.Errorf("%s says %s (%v), want %s", score.Name, score.State, score.Errors, want)
		}
	}
}

func TestValidatorsFail(t *testing.T) {
	ctx := t.Context()
	found, err := bundle.Validate(ctx, build(ctx, t, "operator-sdk"), changed(t, "mediatype: image/svg+xml", "mediatype: image/webp"), "1.36")
	if err != nil {
		t.Fatal(err)
	}
	for _, finding := range found {
		if _, meant := finding.Explained(); finding.Type == "error" && !meant && strings.Contains(finding.Message, "mediatype") {
			return
		}
	}
	t.Errorf("an icon of a wrong type is taken: %v", found)
}

// TestTheVersionBeforeLeadsToTheNext renders a catalog of two versions, as the next release will have it: the one before is in the folder of the
// released bundles.
func TestTheVersionBeforeLeadsToTheNext(t *testing.T) {
	ctx := t.Context()
	opm := build(ctx, t, "opm")
	before, after := "flux-operator.v0.1.0", "flux-operator.v0.1.1"
	template := filepath.Join(t.TempDir(), "template.yaml")
	text := `schema: olm.template.basic
entries:
- {schema: olm.package, name: flux-operator, defaultChannel: stable}
- schema: olm.channel
  package: flux-operator
  name: stable
  entries:
  - name: ` + before + `
  - {name: ` + after + `, replaces: ` + before + `, skipRange: '<0.1.1'}
- schema: olm.bundle
  image: example.com/flux-operator-bundle:v0.1.0
- schema: olm.bundle
  image: example.com/flux-operator-bundle:v0.1.1
`
	if err := os.WriteFile(template, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	released := t.TempDir()
	if err := os.Rename(changed(t, before, before), filepath.Join(released, "0.1.0")); err != nil {
		t.Fatal(err)
	}
	r := bundle.Renderer{OPM: opm, Released: released, Bundles: map[string]string{
		"example.com/flux-operator-bundle:v0.1.1": next(t, before, after),
	}}
	rendered, err := r.Render(ctx, template)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(rendered, []byte("127.0.0.1")) {
		t.Error("the catalog names the registry it was made with")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "catalog.yaml"), rendered, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := bundle.ValidateCatalog(ctx, opm, dir); err != nil {
		t.Error(err)
	}
	catalog, err := bundle.ReadCatalog(bytes.NewReader(rendered))
	if err != nil {
		t.Fatal(err)
	}
	for _, wrong := range catalog.Check() {
		t.Error(wrong)
	}
	for _, name := range []string{before, after} {
		if image := catalog.Bundles[name]; !strings.HasPrefix(image, "example.com/flux-operator-bundle@sha256:") {
			t.Errorf("%s has the image %q, want it by digest", name, image)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "catalog.yaml"), bytes.ReplaceAll(rendered, []byte("olm.package"), []byte("olm.other")), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := bundle.ValidateCatalog(ctx, opm, dir); err == nil {
		t.Error("a catalog without a package is taken")
	}
}

// next is the bundle of the next version.
func next(t *testing.T, before, after string) string {
	t.Helper()
	dir := changed(t, before, after)
	path := filepath.Join(dir, csv)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.ReplaceAll(content, []byte("version: 0.1.0\n"), []byte("version: 0.1.1\n")), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}
