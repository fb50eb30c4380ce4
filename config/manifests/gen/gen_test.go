package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestReadRelease(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stable.yaml")
	template := `
entries:
- {schema: olm.channel, name: candidate, entries: [{name: flux-operator.v0.3.0}]}
- schema: olm.channel
  name: stable
  entries:
  - name: flux-operator.v0.1.0
  - {name: flux-operator.v0.2.0, replaces: flux-operator.v0.1.0, skipRange: '<0.2.0'}
`
	if err := os.WriteFile(path, []byte(template), 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := readRelease(path, "0.2.0")
	if want := (release{Replaces: "flux-operator.v0.1.0", SkipRange: "<0.2.0"}); err != nil || got != want {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := readRelease(path, "0.3.0"); err == nil || !strings.Contains(err.Error(), `the channel "stable" has no such entry`) {
		t.Errorf("a version of another channel is found: %v", err)
	}
	config := filepath.Join(t.TempDir(), "release-config.yaml")
	if err := got.save(config); err != nil {
		t.Fatal(err)
	}
	saved, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	want := "catalog_templates:\n- channels:\n  - stable\n  replaces: flux-operator.v0.1.0\n  skipRange: <0.2.0\n  template_name: stable.yaml\n"
	if diff := cmp.Diff(want, string(saved)); diff != "" {
		t.Error(diff)
	}
}

func TestRelatedImagesAreNamedToTheOperator(t *testing.T) {
	if got := (relatedImage{name: "source-controller"}).variable(); got != "RELATED_IMAGE_SOURCE_CONTROLLER" {
		t.Errorf("got %q", got)
	}
	images, err := relatedImages("example.com/operator@sha256:1")
	if err != nil {
		t.Fatal(err)
	}
	if images[0].image != "example.com/operator@sha256:1" {
		t.Errorf("the first image is %v and not the operator's", images[0])
	}
	for _, image := range images[1:] {
		if !strings.HasPrefix(image.image, "ghcr.io/fluxcd/"+image.name+"@sha256:") {
			t.Errorf("%s has the image %q, want the digest alone", image.name, image.image)
		}
	}
}

func TestRightsOfTheNamespaceStayInIt(t *testing.T) {
	dir := t.TempDir()
	c := &csv{unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"install": map[string]any{"spec": map[string]any{
		"permissions": []any{map[string]any{"serviceAccountName": "operator", "rules": []any{map[string]any{
			"apiGroups": []any{""}, "resources": []any{"secrets"}, "verbs": []any{"get"},
		}}}},
	}}}}}, ""}
	if err := c.confine(dir); err != nil {
		t.Fatal(err)
	}
	if _, found, _ := unstructured.NestedSlice(c.Object, "spec", "install", "spec", "permissions"); found {
		t.Error("the permissions are still there")
	}
	role, err := readYAML(filepath.Join(dir, "flux-operator_rbac.authorization.k8s.io_v1_role.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	want := []any{map[string]any{"apiGroups": []any{""}, "resources": []any{"secrets"}, "verbs": []any{"get"}}}
	if diff := cmp.Diff(want, role["rules"]); diff != "" {
		t.Error(diff)
	}
	binding, err := readYAML(filepath.Join(dir, "flux-operator_rbac.authorization.k8s.io_v1_rolebinding.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]any{map[string]any{"kind": "ServiceAccount", "name": "operator"}}, binding["subjects"]); diff != "" {
		t.Error(diff)
	}
	if err := c.confine(dir); err == nil {
		t.Error("an operator without rights in its namespace is taken")
	}
}

func TestRunRefuses(t *testing.T) {
	for _, tc := range []struct {
		want string
		args []string
	}{
		{"--version and --image are needed", []string{"--version", "1.0.0"}},
		{"finding operator-sdk", []string{"--version", "1.0.0", "--image", "i", "--operator-sdk", "no-such-program", "--out", filepath.Join(t.TempDir(), "b")}},
		{"not defined", []string{"--no-such-flag"}},
	} {
		if err := run(context.Background(), tc.args, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("want %q, got %v", tc.want, err)
		}
	}
}
