package preflight

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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

// ignore leaves fields of an object, which gets a container, to others.
func ignore(o *unstructured.Unstructured, fields string) {
	o.SetAnnotations(map[string]string{v1.IgnoreFieldsAnnotation: fields})
	o.Object["spec"] = map[string]any{"template": map[string]any{"spec": map[string]any{"containers": []any{map[string]any{"name": "manager"}}}}}
}

// claim returns a volume claim as a set has it.
func claim(class, size string, modes ...any) *unstructured.Unstructured {
	o := object("PersistentVolumeClaim", "flux-system", "source-controller")
	o.Object["spec"] = map[string]any{
		"storageClassName": class, "accessModes": modes, "resources": map[string]any{"requests": map[string]any{"storage": size}},
	}
	return o
}

// bound returns the claim as it is in a cluster that gave it a volume.
func bound(o *unstructured.Unstructured, allocated string) *unstructured.Unstructured {
	o.Object["status"] = map[string]any{"phase": "Bound", "capacity": map[string]any{"storage": allocated}}
	return o
}

func TestClaimsKeepWhatTheyHold(t *testing.T) {
	const once, many = "ReadWriteOnce", "ReadWriteMany"
	for _, tt := range []struct {
		reason       string
		wanted, live *unstructured.Unstructured
		field        string // of the violation; empty when there is none
	}{
		{"nothing differs", claim("fast", "10Gi", once), bound(claim("fast", "10Gi", once), "10Gi"), ""},
		{"the same size in other words", claim("fast", "10240Mi", once), bound(claim("fast", "10Gi", once), "10Gi"), ""},
		{"it grows", claim("fast", "20Gi", once), bound(claim("fast", "10Gi", once), "10Gi"), ""},
		{"more was allocated than asked for", claim("fast", "1Gi", once), bound(claim("fast", "1Gi", once), "100Gi"), ""},
		{"it grows within what was allocated", claim("fast", "2Gi", once), bound(claim("fast", "1Gi", once), "100Gi"), ""},
		{"it shrinks", claim("fast", "5Gi", once), bound(claim("fast", "10Gi", once), "10Gi"), "spec.storage.size"},
		{"it shrinks below more than it asked for", claim("fast", "512Mi", once), bound(claim("fast", "1Gi", once), "100Gi"), "spec.storage.size"},
		{"growth that failed is taken back in part", claim("fast", "15Gi", once), bound(claim("fast", "20Gi", once), "10Gi"), ""},
		{"growth that failed is taken back", claim("fast", "10Gi", once), bound(claim("fast", "20Gi", once), "10Gi"), "spec.storage.size"},
		{"another class", claim("slow", "10Gi", once), bound(claim("fast", "10Gi", once), "10Gi"), "spec.storage.class"},
		{"another access mode", claim("fast", "10Gi", many), bound(claim("fast", "10Gi", once), "10Gi"), "spec.kustomize.patches"},
		{"access modes in another order", claim("fast", "10Gi", many, once), bound(claim("fast", "10Gi", once, many), "10Gi"), ""},
		{"a claim without a volume", claim("fast", "5Gi", once), func() *unstructured.Unstructured {
			live := claim("slow", "10Gi", many)
			live.Object["status"] = map[string]any{"phase": "Pending"}
			return live
		}(), ""},
		{"a claim that lost its volume", claim("fast", "5Gi", once), func() *unstructured.Unstructured {
			live := bound(claim("slow", "10Gi", once), "10Gi")
			live.Object["status"].(map[string]any)["phase"] = "Lost"
			return live
		}(), "spec.storage.class"},
		{"a claim that is being deleted", claim("slow", "5Gi", once), func() *unstructured.Unstructured {
			live := bound(claim("fast", "10Gi", once), "10Gi")
			live.SetDeletionTimestamp(new(metav1.Unix(1, 0)))
			return live
		}(), ""},
		{"the user says that it may be made anew", func() *unstructured.Unstructured {
			wanted := claim("slow", "5Gi", once)
			wanted.SetAnnotations(map[string]string{v1.ForceAnnotation: "Enabled"})
			return wanted
		}(), bound(claim("fast", "10Gi", once), "10Gi"), ""},
		{"another claim", claim("fast", "5Gi", once), func() *unstructured.Unstructured {
			live := bound(claim("slow", "10Gi", once), "10Gi")
			live.SetName("source-controller-shard1")
			return live
		}(), ""},
	} {
		t.Run(tt.reason, func(t *testing.T) {
			instance, set := fine()
			set.Objects = append(set.Objects, tt.wanted)
			err := Check(instance, set, Facts{OperatorNamespace: "flux-system", Claims: []*unstructured.Unstructured{tt.live}})
			violation := &Violation{}
			if errors.As(err, &violation); violation.Field != tt.field {
				t.Errorf("Check = %v, want a violation of %q", err, tt.field)
			}
		})
	}
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
		{"the operator has no rights for the namespace", func(_ *v1.FluxInstance, _ *render.Set, f *Facts) { f.Forbidden = "crd-controller-operators" }, "metadata.namespace"},

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

		{"fields left to others", func(_ *v1.FluxInstance, s *render.Set, _ *Facts) {
			ignore(s.Objects[3], "/spec/replicas,/spec/template/spec/containers/0/resources,/spec/template/spec/containers/7/resources")
		}, ""},
		{"a path that is no pointer", func(_ *v1.FluxInstance, s *render.Set, _ *Facts) { ignore(s.Objects[3], "spec.replicas") }, "spec.kustomize.patches"},
		{"an item of a list left to others", func(_ *v1.FluxInstance, s *render.Set, _ *Facts) {
			ignore(s.Objects[3], "/spec/template/spec/containers/0")
		}, "spec.kustomize.patches"},
		{"the name left to others everywhere", func(i *v1.FluxInstance, s *render.Set, _ *Facts) {
			i.Spec.CommonMetadata = &v1.CommonMetadata{Annotations: map[string]string{v1.IgnoreFieldsAnnotation: "/metadata/name"}}
			ignore(s.Objects[0], "/metadata/name")
		}, "spec.commonMetadata.annotations"},

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

// TestOnlyMissingRightsPass: a missing right may be there a moment later, while all else waits for a change of the instance.
func TestOnlyMissingRightsPass(t *testing.T) {
	instance, set := fine()
	for _, tt := range []struct {
		facts   Facts
		passing bool
	}{
		{Facts{Forbidden: "crd-controller-flux-system"}, true},
		{Facts{OperatorNamespace: "other", Forbidden: "crd-controller-flux-system"}, false},
	} {
		violation := &Violation{}
		if err := Check(instance, set, tt.facts); !errors.As(err, &violation) || violation.Passing != tt.passing {
			t.Errorf("Check with %+v = %v, passing: %t", tt.facts, err, violation.Passing)
		}
	}
}
