package preflight

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/render"
	"github.com/flux-autopilot/flux-operator/pkg/version"
)

func object(kind, namespace, name string) *unstructured.Unstructured {
	o := &unstructured.Unstructured{Object: map[string]any{}}
	o.SetAPIVersion("v1")
	o.SetKind(kind)
	o.SetNamespace(namespace)
	o.SetName(name)
	return o
}

// fine returns an instance and a set that no rule objects to.
func fine() (*v1.FluxInstance, *render.Set) {
	instance := &v1.FluxInstance{}
	instance.Name, instance.Namespace = "flux", "flux-system"
	instance.Spec.Components = []v1.Component{v1.SourceController}
	pinned := v1.ComponentImage{Name: "source-controller", Repository: "ghcr.io/fluxcd/source-controller", Tag: "v1", Digest: "sha256:1"}
	crd := object("CustomResourceDefinition", "", "buckets.source.toolkit.fluxcd.io")
	crd.Object["spec"] = map[string]any{"versions": []any{map[string]any{"schema": map[string]any{}}}}
	return instance, &render.Set{
		Objects: []*unstructured.Unstructured{
			object("Namespace", "", "flux-system"), crd,
			object("ClusterRole", "", "crd-controller"), object("Deployment", "flux-system", "source-controller"),
		},
		Images:        []v1.ComponentImage{pinned},
		ReleaseImages: []v1.ComponentImage{pinned},
		Revision:      version.Revision{Version: "v2.9.4"},
	}
}

func crdVersion(set *render.Set) map[string]any {
	return set.Objects[1].Object["spec"].(map[string]any)["versions"].([]any)[0].(map[string]any)
}

func TestCheck(t *testing.T) {
	for _, tt := range []struct {
		reason string
		change func(*v1.FluxInstance, *render.Set, *Facts)
		field  string // of the violation; empty when there is none
	}{
		{"nothing is wrong", func(*v1.FluxInstance, *render.Set, *Facts) {}, ""},
		{"nothing is known of the cluster", func(_ *v1.FluxInstance, _ *render.Set, f *Facts) { *f = Facts{} }, ""},

		{"the operator is elsewhere", func(_ *v1.FluxInstance, _ *render.Set, f *Facts) { f.OperatorNamespace = "other" }, "metadata.namespace"},

		{"an object in another namespace", func(_ *v1.FluxInstance, s *render.Set, _ *Facts) {
			s.Objects = append(s.Objects, object("Secret", "kube-system", "x"))
		}, "spec.kustomize.patches"},
		{"a namespaced object without a namespace", func(_ *v1.FluxInstance, s *render.Set, _ *Facts) {
			s.Objects = append(s.Objects, object("Secret", "", "x"))
		}, "spec.kustomize.patches"},
		{"a kind nobody knows without a namespace", func(_ *v1.FluxInstance, s *render.Set, _ *Facts) {
			s.Objects = append(s.Objects, object("Wonder", "", "x"))
		}, "spec.kustomize.patches"},
		{"another namespace", func(_ *v1.FluxInstance, s *render.Set, _ *Facts) {
			s.Objects = append(s.Objects, object("Namespace", "", "x"))
		}, "spec.kustomize.patches"},

		{"a component without its Deployment", func(i *v1.FluxInstance, _ *render.Set, _ *Facts) {
			i.Spec.Components = append(i.Spec.Components, v1.HelmController)
		}, "spec.components[1]"},

		{"an image that lost its digest", func(_ *v1.FluxInstance, s *render.Set, _ *Facts) {
			s.Images[0].Digest = ""
		}, "spec.kustomize.patches"},
		{"a release without digests", func(_ *v1.FluxInstance, s *render.Set, _ *Facts) {
			s.Images[0].Digest, s.ReleaseImages[0].Digest = "", ""
		}, ""},
		{"an image the user chose", func(_ *v1.FluxInstance, s *render.Set, _ *Facts) {
			s.Images = []v1.ComponentImage{{Name: "source-controller", Repository: "example.com/mine", Tag: "rc"}}
		}, ""},

		{"rules on Kubernetes 1.24", func(_ *v1.FluxInstance, s *render.Set, f *Facts) {
			crdVersion(s)["schema"].(map[string]any)["x-kubernetes-validations"] = []any{}
			f.KubernetesVersion = "v1.24.17"
		}, "spec.distribution.version"},
		{"rules on Kubernetes 1.25", func(_ *v1.FluxInstance, s *render.Set, f *Facts) {
			crdVersion(s)["schema"].(map[string]any)["x-kubernetes-validations"] = []any{}
			f.KubernetesVersion = "v1.25.0-eks-1a2b3c"
		}, ""},
		{"selectable fields on Kubernetes 1.30", func(_ *v1.FluxInstance, s *render.Set, f *Facts) {
			crdVersion(s)["selectableFields"] = []any{}
			f.KubernetesVersion = "v1.30.2+k3s1"
		}, "spec.distribution.version"},
		{"neither on Kubernetes 1.20", func(_ *v1.FluxInstance, _ *render.Set, f *Facts) { f.KubernetesVersion = "v1.20.0" }, ""},
		{"a version nobody can read", func(_ *v1.FluxInstance, _ *render.Set, f *Facts) { f.KubernetesVersion = "latest" }, ""},

		{"far too many objects", func(_ *v1.FluxInstance, s *render.Set, _ *Facts) {
			for range 10_000 {
				s.Objects = append(s.Objects, object("Service", "flux-system", strings.Repeat("s", 63)))
			}
		}, "spec.sharding.shards"},
	} {
		t.Run(tt.reason, func(t *testing.T) {
			instance, set := fine()
			facts := Facts{KubernetesVersion: "v1.36.3", OperatorNamespace: "flux-system"}
			tt.change(instance, set, &facts)
			err := Check(instance, set, facts)
			violation := &Violation{}
			if errors.As(err, &violation) != (tt.field != "") {
				t.Fatalf("Check = %v", err)
			}
			if diff := cmp.Diff(tt.field, violation.Field); diff != "" {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
			if err != nil && (violation.Problem == "" || violation.Cure == "") {
				t.Errorf("%q does not say what is wrong and what to do", err)
			}
		})
	}
}
