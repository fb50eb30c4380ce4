package render

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/fluxcd/pkg/apis/kustomize"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// instance returns one that renders without an error, with everything that fixture has.
func instance() *v1.FluxInstance {
	i := &v1.FluxInstance{}
	i.Name, i.Namespace = "flux", "flux-system"
	i.Spec.Distribution.Registry = "ghcr.io/fluxcd"
	i.Spec.Components = []v1.Component{v1.SourceController, v1.KustomizeController, v1.NotificationController}
	i.Spec.Cluster = &v1.Cluster{NetworkPolicy: true}
	return i
}

func patched(patches ...kustomize.Patch) func(*v1.FluxInstance) {
	return func(i *v1.FluxInstance) { i.Spec.Kustomize = &v1.Kustomize{Patches: patches} }
}

func synced(change func(*v1.Sync)) func(*v1.FluxInstance) {
	return func(i *v1.FluxInstance) {
		i.Spec.Sync = &v1.Sync{Kind: "GitRepository", URL: "https://git.example.com/a", Ref: "refs/heads/main", Path: "./"}
		change(i.Spec.Sync)
	}
}

func sharded(shards ...string) func(*v1.FluxInstance) {
	return func(i *v1.FluxInstance) { i.Spec.Sharding = &v1.Sharding{Shards: shards} }
}

var noneSuch = &kustomize.Selector{Kind: "Deployment", Name: "no-such-controller"}

// doubling returns operations of which each copies all there is.
func doubling(times int) string {
	var operations strings.Builder
	for i := range times {
		fmt.Fprintf(&operations, "- {op: copy, from: /spec, path: /spec/again%d}\n", i)
	}
	return operations.String()
}

// TestFieldErrors: what a user must mend is named by its field, with the problem and the cure.
func TestFieldErrors(t *testing.T) {
	for _, tt := range []struct {
		reason, release, field string
		change                 func(*v1.FluxInstance)
	}{
		{"no namespace", "v2.9.0", "metadata.namespace", func(i *v1.FluxInstance) { i.Namespace = "" }},
		{"an unknown component", "v2.9.0", "spec.components[1]", func(i *v1.FluxInstance) { i.Spec.Components[1] = "../rbac" }},
		{"a component twice", "v2.9.0", "spec.components[2]", func(i *v1.FluxInstance) { i.Spec.Components[2] = v1.SourceController }},
		{"a component the release has not", "v2.5.0", "spec.components[0]", func(i *v1.FluxInstance) { i.Spec.Components[0] = v1.SourceWatcher }},
		{"a registry with a scheme", "v2.9.0", "spec.distribution.registry", func(i *v1.FluxInstance) { i.Spec.Distribution.Registry = "https://ghcr.io/fluxcd" }},
		{"an unknown registry", "v2.9.0", "spec.distribution.variant", func(i *v1.FluxInstance) { i.Spec.Distribution.Registry = "example.com/fluxcd" }},
		{"an unknown variant", "v2.9.0", "spec.distribution.variant", func(i *v1.FluxInstance) { i.Spec.Distribution.Variant = "../v2.5.0/upstream-alpine" }},
		{"a variant the release has not", "v2.5.0", "spec.distribution.variant", func(i *v1.FluxInstance) { i.Spec.Distribution.Variant = "enterprise-distroless-fips" }},
		{"a pull secret that is no name", "v2.9.0", "spec.distribution.imagePullSecret", func(i *v1.FluxInstance) { i.Spec.Distribution.ImagePullSecret = "a: b" }},
		{"an unknown type", "v2.9.0", "spec.cluster.type", func(i *v1.FluxInstance) { i.Spec.Cluster.Type = "moon" }},
		{"an unknown size", "v2.9.0", "spec.cluster.size", func(i *v1.FluxInstance) { i.Spec.Cluster.Size = "huge" }},
		{"a domain that is none", "v2.9.0", "spec.cluster.domain", func(i *v1.FluxInstance) { i.Spec.Cluster.Domain = "a b" }},
		{"an owner label", "v2.9.0", "spec.commonMetadata.labels[fluxcd.controlplane.io/name]", func(i *v1.FluxInstance) {
			i.Spec.CommonMetadata = &v1.CommonMetadata{Labels: map[string]string{v1.OwnerNameLabel: "x"}}
		}},
		{"a label value that is none", "v2.9.0", "spec.commonMetadata.labels[a]", func(i *v1.FluxInstance) {
			i.Spec.CommonMetadata = &v1.CommonMetadata{Labels: map[string]string{"a": "b c"}}
		}},
		{"an annotation key that is none", "v2.9.0", "spec.commonMetadata.annotations[a b]", func(i *v1.FluxInstance) {
			i.Spec.CommonMetadata = &v1.CommonMetadata{Annotations: map[string]string{"a b": ""}}
		}},
		{"workload identity too early", "v2.5.0", "spec.cluster.objectLevelWorkloadIdentity", func(i *v1.FluxInstance) { i.Spec.Cluster.ObjectLevelWorkloadIdentity = true }},
		{"workload identity of tenants alone", "v2.9.0", "spec.cluster.multitenantWorkloadIdentity", func(i *v1.FluxInstance) { i.Spec.Cluster.MultitenantWorkloadIdentity = true }},
		{"storage without a size", "v2.9.0", "spec.storage.size", func(i *v1.FluxInstance) { i.Spec.Storage = &v1.Storage{Class: "a", Size: "ten"} }},
		{"storage for nothing", "v2.9.0", "spec.storage", func(i *v1.FluxInstance) {
			i.Spec.Components = []v1.Component{v1.NotificationController}
			i.Spec.Storage = &v1.Storage{Class: "a", Size: "1Gi"}
		}},
		{"no shards", "v2.9.0", "spec.sharding.shards", sharded()},
		{"a shard twice", "v2.9.0", "spec.sharding.shards[1]", sharded("a", "a")},
		{"a shard that leaves its folder", "v2.9.0", "spec.sharding.shards[0]", sharded("../x")},
		{"a shard that is too long", "v2.9.0", "spec.sharding.shards[0]", sharded(strings.Repeat("a", 40))},
		{"nothing to shard", "v2.9.0", "spec.sharding", func(i *v1.FluxInstance) {
			i.Spec.Components = []v1.Component{v1.NotificationController}
			sharded("a")(i)
		}},
		{"persistent shards without storage", "v2.9.0", "spec.sharding.storage", func(i *v1.FluxInstance) {
			i.Spec.Sharding = &v1.Sharding{Shards: []string{"a"}, Storage: "persistent"}
		}},
		{"sync without its controllers", "v2.9.0", "spec.sync", func(i *v1.FluxInstance) {
			i.Spec.Components = []v1.Component{v1.SourceController}
			synced(func(*v1.Sync) {})(i)
		}},
		{"sync of an unknown kind", "v2.9.0", "spec.sync.kind", synced(func(s *v1.Sync) { s.Kind = "HelmRepository" })},
		{"sync without a ref", "v2.9.0", "spec.sync.ref", synced(func(s *v1.Sync) { s.Ref = "" })},
		{"sync with a name that is none", "v2.9.0", "spec.sync.name", synced(func(s *v1.Sync) { s.Name = "A_b" })},
		{"a provider the kind has not", "v2.9.0", "spec.sync.provider", synced(func(s *v1.Sync) { s.Provider = "gcp" })},
		{"a provider the release has not yet", "v2.5.0", "spec.sync.provider", synced(func(s *v1.Sync) { s.Provider = "aws" })},
		{"a provider that never works with Git", "v2.9.0", "spec.sync.provider", synced(func(s *v1.Sync) { s.Provider = "gcp" })},
		{"a provider that works with Git alone", "v2.9.0", "spec.sync.provider", synced(func(s *v1.Sync) {
			s.Kind, s.URL, s.Provider = "Bucket", "minio.example.com", "github"
		})},
		{"an address of another kind", "v2.9.0", "spec.sync.url", synced(func(s *v1.Sync) { s.Kind = "OCIRepository" })},
		{"an address without a scheme", "v2.9.0", "spec.sync.url", synced(func(s *v1.Sync) { s.URL = "git@github.com:a/b" })},
		{"an interval that no API takes", "v2.9.0", "spec.sync.interval", synced(func(s *v1.Sync) {
			s.Interval = &metav1.Duration{Duration: 500 * time.Microsecond}
		})},
		{"an interval that runs backwards", "v2.9.0", "spec.sync.interval", synced(func(s *v1.Sync) {
			s.Interval = &metav1.Duration{Duration: -time.Minute}
		})},
		{"a patch that matches nothing", "v2.9.0", "spec.kustomize.patches[1]", patched(
			kustomize.Patch{Target: &kustomize.Selector{Kind: "Deployment"}, Patch: "- {op: add, path: /metadata/annotations/a, value: b}"},
			kustomize.Patch{Target: noneSuch, Patch: "- {op: add, path: /a, value: b}"})},
		{"a patch without a target that matches nothing", "v2.9.0", "spec.kustomize.patches[0]",
			patched(kustomize.Patch{Patch: "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\nspec: {replicas: 2}"})},
		{"operations without a target", "v2.9.0", "spec.kustomize.patches[0]", patched(kustomize.Patch{Patch: "- {op: remove, path: /spec}"})},
		{"an operation that does not fit", "v2.9.0", "spec.kustomize.patches[0]",
			patched(kustomize.Patch{Target: &kustomize.Selector{Kind: "Deployment"}, Patch: "- {op: remove, path: /spec/nothing}"})},
		{"a target that is no expression", "v2.9.0", "spec.kustomize.patches[0].target",
			patched(kustomize.Patch{Target: &kustomize.Selector{Name: "("}, Patch: "- {op: remove, path: /spec}"})},
		{"labels that are no expression", "v2.9.0", "spec.kustomize.patches[0].target",
			patched(kustomize.Patch{Target: &kustomize.Selector{LabelSelector: "a in"}, Patch: "- {op: remove, path: /spec}"})},
		{"an empty patch", "v2.9.0", "spec.kustomize.patches[0]", patched(kustomize.Patch{Target: noneSuch, Patch: " "})},
		{"a patch that is plain text", "v2.9.0", "spec.kustomize.patches[0]", patched(kustomize.Patch{Target: noneSuch, Patch: "hello"})},
		{"a patch that is no YAML", "v2.9.0", "spec.kustomize.patches[0]", patched(kustomize.Patch{Target: noneSuch, Patch: "{"})},
		{"a patch that makes two objects one", "v2.9.0", "spec.kustomize.patches[0]", patched(
			kustomize.Patch{Target: &kustomize.Selector{Kind: "Deployment"}, Patch: "- {op: replace, path: /metadata/name, value: one}"})},
		{"a patch that breaks an image", "v2.9.0", "spec.kustomize.patches[0]", patched(
			kustomize.Patch{Target: &kustomize.Selector{Kind: "Deployment"}, Patch: "- {op: replace, path: /spec/template/spec/containers/0/image, value: 'a b'}"})},
		{"a patch that takes the container away", "v2.9.0", "spec.kustomize.patches[0]", patched(
			kustomize.Patch{Target: &kustomize.Selector{Kind: "Deployment"}, Patch: "- {op: replace, path: /spec/template/spec/containers/0/name, value: other}"})},
		{"a patch that copies until the memory is full", "v2.9.0", "spec.kustomize.patches[0]", patched(kustomize.Patch{
			Target: &kustomize.Selector{Kind: "Deployment"}, Patch: doubling(40),
		})},
		{"a patch of too many operations", "v2.9.0", "spec.kustomize.patches[0]", patched(kustomize.Patch{
			Target: &kustomize.Selector{Kind: "Deployment"}, Patch: strings.Repeat("- {op: test, path: /kind, value: Deployment}\n", maxOperations+1),
		})},
		{"a patch whose aliases make it large", "v2.9.0", "spec.kustomize.patches[0]", patched(kustomize.Patch{
			Target: &kustomize.Selector{Kind: "Deployment"},
			Patch:  "metadata:\n  annotations:\n    a: &a " + strings.Repeat("x", 1<<20) + "\n    b: *a\n    c: *a\n    d: *a\n",
		})},
		{"a patch that stands for itself", "v2.9.0", "spec.kustomize.patches[0]", patched(kustomize.Patch{
			Target: &kustomize.Selector{Kind: "Deployment"}, Patch: "metadata: &a\n  annotations: *a\n",
		})},
		{"a patch that is nested too deep", "v2.9.0", "spec.kustomize.patches[0]", patched(kustomize.Patch{
			Target: &kustomize.Selector{Kind: "Deployment"}, Patch: "a: " + strings.Repeat("[", 200) + strings.Repeat("]", 200),
		})},
		{"a patch that takes the labels' shape", "v2.9.0", "spec.kustomize.patches[0]", patched(
			kustomize.Patch{Target: &kustomize.Selector{Kind: "Deployment"}, Patch: "- {op: replace, path: /metadata/labels, value: [1]}"})},
	} {
		t.Run(tt.reason, func(t *testing.T) {
			i := instance()
			tt.change(i)
			_, err := Render(fixture(), tt.release, i)
			var field *FieldError
			if !errors.As(err, &field) {
				t.Fatalf("Render = %v, want a FieldError", err)
			}
			if field.Field != tt.field || field.Problem == "" || field.Cure == "" {
				t.Errorf("%q, want one about %s with problem and cure", err, tt.field)
			}
			if strings.ContainsAny(err.Error(), "\n\t") {
				t.Errorf("%q has line breaks, a condition should not", err)
			}
		})
	}
}

// copyOf returns the fixture in memory, to be broken.
func copyOf(tb testing.TB) fstest.MapFS {
	tb.Helper()
	files := fstest.MapFS{}
	err := fs.WalkDir(fixture(), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(fixture(), path)
		files[path] = &fstest.MapFile{Data: content}
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return files
}

// TestReleaseErrors: a release that is broken or laid out otherwise is refused, with the file and what is missing in it.
func TestReleaseErrors(t *testing.T) {
	const (
		source = "flux/v2.9.0/source-controller.yaml"
		notify = "flux/v2.9.0/notification-controller.yaml"
		rbac   = "flux/v2.9.0/rbac.yaml"
		images = "flux-images/v2.9.0/upstream-alpine.yaml"
	)
	replace := func(file, old, with string) func(*testing.T, fstest.MapFS) {
		return func(t *testing.T, files fstest.MapFS) {
			t.Helper()
			if !strings.Contains(string(files[file].Data), old) {
				t.Fatalf("%s has no %q", file, old)
			}
			files[file].Data = []byte(strings.ReplaceAll(string(files[file].Data), old, with))
		}
	}
	for _, tt := range []struct {
		reason, file, want string
		change             func(*testing.T, fstest.MapFS)
	}{
		{"no roles", rbac, "exist", func(_ *testing.T, files fstest.MapFS) { delete(files, rbac) }},
		{"a file that is too large", source, "larger", func(_ *testing.T, files fstest.MapFS) {
			files[source].Data = make([]byte, maxFileBytes+1)
		}},
		{"no YAML", source, "yaml", replace(source, "spec:", "spec: {")},
		{"a document without a kind", source, "no kind", replace(source, "kind: ServiceAccount\nmetadata", "metadata")},
		{"an object without a name", source, "metadata.name", replace(source, "  name: source-controller\n", "")},
		{"labels that are no text", source, "labels", replace(source, "app.kubernetes.io/component: source-controller", "a: 1")},
		{"an object twice", rbac, "repeats", func(_ *testing.T, files fstest.MapFS) {
			files[rbac].Data = append(files[rbac].Data, "---\napiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: source-controller\n"...)
		}},
		{"no Deployment", source, `Deployment "source-controller"`, replace(source, "kind: Deployment", "kind: StatefulSet")},
		{"no container", source, `container "manager"`, replace(source, "- name: manager", "- name: other")},
		{"arguments that are no list", source, "args", replace(source, "        args:\n", "        args: {}\n        command:\n")},
		{"no kinds to extend", notify, "eventSources", replace(notify, "eventSources", "somethingElse")},
		{"no role to extend", rbac, `ClusterRole "crd-controller"`, replace(rbac, "name: crd-controller", "name: other")},
		{"an image without digest", images, "digest", replace(images, "sha256:", "md5:")},
		{"an image twice", images, "twice", replace(images, "/kustomize-controller", "/source-controller")},
	} {
		t.Run(tt.reason, func(t *testing.T) {
			files := copyOf(t)
			tt.change(t, files)
			_, err := Render(files, "v2.9.0", instance())
			var broken *ReleaseError
			if !errors.As(err, &broken) {
				t.Fatalf("Render = %v, want a ReleaseError", err)
			}
			if broken.File != tt.file || !strings.Contains(err.Error(), tt.want) || broken.Release != "v2.9.0" {
				t.Errorf("%q, want one about %s with %q", err, tt.file, tt.want)
			}
		})
	}
	for _, name := range []string{"", "latest", "../v2.9.0", "v2.9.0/../v2.9.0", "v9.9.9"} {
		var broken *ReleaseError
		if _, err := Render(fixture(), name, instance()); !errors.As(err, &broken) {
			t.Errorf("Render of release %q = %v, want a ReleaseError", name, err)
		}
	}
}
