package distribution

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const twoCRDs = `---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  annotations:
    controller-gen.kubebuilder.io/version: v0.23.0
    example.com/kept: "yes"
  name: b.example.com
spec:
  versions:
  - schema: {openAPIV3Schema: {maximum: 9223372036854775807}}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  annotations:
    controller-gen.kubebuilder.io/version: v0.23.0
  name: a.example.com
`

func crdsOf(t *testing.T, r Release) CRDs {
	t.Helper()
	crds := CRDs{}
	for _, component := range r.Components {
		read, err := ReadCRDs([]byte(twoCRDs))
		if err != nil {
			t.Fatal(err)
		}
		crds[component.Name] = read
	}
	return crds
}

func TestFilesHaveTheLayoutOfTheDistribution(t *testing.T) {
	r := release(t, "2.9.4")
	files, err := r.Files(crdsOf(t, r))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"flux-images/v2.9.4/enterprise-alpine.yaml",
		"flux-images/v2.9.4/enterprise-distroless-fips.yaml",
		"flux-images/v2.9.4/enterprise-distroless.yaml",
		"flux-images/v2.9.4/upstream-alpine.yaml",
		"flux/v2.9.4/helm-controller.yaml",
		"flux/v2.9.4/image-automation-controller.yaml",
		"flux/v2.9.4/image-reflector-controller.yaml",
		"flux/v2.9.4/kustomize-controller.yaml",
		"flux/v2.9.4/notification-controller.yaml",
		"flux/v2.9.4/policies.yaml",
		"flux/v2.9.4/rbac.yaml",
		"flux/v2.9.4/source-controller.yaml",
		"flux/v2.9.4/source-watcher.yaml",
	}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(files))); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	again, err := r.Files(crdsOf(t, r))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(files, again); diff != "" {
		t.Errorf("the same input gives other bytes:\n%s", diff)
	}
}

func TestComponentFile(t *testing.T) {
	r := release(t, "2.9.4")
	files, err := r.Files(crdsOf(t, r))
	if err != nil {
		t.Fatal(err)
	}
	content := string(files["flux/v2.9.4/notification-controller.yaml"])
	var kinds []string
	for line := range strings.Lines(content) {
		if kind, ok := strings.CutPrefix(line, "kind: "); ok {
			kinds = append(kinds, strings.TrimSpace(kind))
		}
	}
	want := []string{"CustomResourceDefinition", "CustomResourceDefinition", "ServiceAccount", "Service", "Service", "Deployment"}
	if diff := cmp.Diff(want, kinds); diff != "" {
		t.Errorf("kinds (-want +got):\n%s", diff)
	}
	for _, unwanted := range []string{"status:", "creationTimestamp", "strategy:", "divisor", "controller-gen", "null"} {
		if strings.Contains(content, unwanted) {
			t.Errorf("the file contains %q", unwanted)
		}
	}
	for _, wanted := range []string{"example.com/kept", "maximum: 9223372036854775807", "app.kubernetes.io/part-of: flux"} {
		if !strings.Contains(content, wanted) {
			t.Errorf("the file does not contain %q", wanted)
		}
	}
}

// The operator and its users find what belongs to Flux by this label, whatever the other objects of a release carry.
func TestCRDsOfEveryReleaseCarryTheLabels(t *testing.T) {
	for _, r := range mustLoad(t).Releases {
		files, err := r.Files(crdsOf(t, r))
		if err != nil {
			t.Fatal(err)
		}
		for _, component := range r.Components {
			crds, err := ReadCRDs(onlyCRDs(files["flux/"+r.Tag()+"/"+component.Name+".yaml"]))
			if err != nil {
				t.Fatal(err)
			}
			for _, crd := range crds {
				want := map[string]string{labelComponent: component.Name, labelPartOf: "flux"}
				if diff := cmp.Diff(want, crd.GetLabels()); diff != "" {
					t.Errorf("%s of %s in Flux %s (-want +got):\n%s", crd.GetName(), component.Name, r.Version, diff)
				}
			}
		}
	}
}

// onlyCRDs returns the documents of a component's file up to the first that is not a CRD.
func onlyCRDs(content []byte) []byte {
	var crds [][]byte
	for document := range bytes.SplitSeq(content, []byte("\n---\n")) {
		if !bytes.Contains(document, []byte("kind: CustomResourceDefinition")) {
			break
		}
		crds = append(crds, document)
	}
	return bytes.Join(crds, []byte("\n---\n"))
}

func TestFilesWithoutCRDs(t *testing.T) {
	r := release(t, "2.9.4")
	crds := crdsOf(t, r)
	delete(crds, HelmController)
	if _, err := r.Files(crds); err == nil || !strings.Contains(err.Error(), HelmController) {
		t.Errorf("error %v does not name the component without CRDs", err)
	}
}

func TestImageList(t *testing.T) {
	r, err := loadRelease(t, strings.Replace(wellFormed,
		"    unpinned: a reason\n", "    unpinned: a reason\n    tags: {source-watcher: v2.2.8}\n", 1))
	if err != nil {
		t.Fatal(err)
	}
	want := imageList{Images: []image{
		{Name: "ghcr.io/fluxcd/source-controller", NewTag: "v1.9.9", Digest: "sha256:" + zeroes},
		{Name: "ghcr.io/fluxcd/source-watcher", NewTag: "v2.2.8"},
	}}
	if diff := cmp.Diff(want, r.imageList(UpstreamAlpine)); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
}

func TestVersionFile(t *testing.T) {
	path, content := VersionFile([]Release{{Version: "2.8.8"}, {Version: "2.9.2"}})
	if path != "flux-images/VERSION" || string(content) != "v2.9.2\n" {
		t.Errorf("VersionFile() = %q, %q", path, content)
	}
}

func TestReadCRDs(t *testing.T) {
	crds, err := ReadCRDs([]byte(twoCRDs))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, crd := range crds {
		names = append(names, crd.GetName())
	}
	if diff := cmp.Diff([]string{"a.example.com", "b.example.com"}, names); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	for name, content := range map[string]string{
		"nothing":      "---\n",
		"another kind": "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\n",
		"not YAML":     "a: {",
		"no kind":      "a: b\n",
	} {
		if _, err := ReadCRDs([]byte(content)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
