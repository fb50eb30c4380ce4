package bundle_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/flux-autopilot/flux-operator/test/bundle"
	"github.com/flux-autopilot/flux-operator/tools"
)

// inCheckout returns the path of a file of the checkout.
func inCheckout(t *testing.T, parts ...string) string {
	t.Helper()
	root, err := tools.Root()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(append([]string{root}, parts...)...)
}

// shipped reads the bundle of the checkout.
func shipped(t *testing.T) *bundle.Bundle {
	t.Helper()
	b, err := bundle.Load(inCheckout(t, "bundle"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestCatalogsTakeTheBundle(t *testing.T) {
	for _, wrong := range bundle.Check(shipped(t)) {
		t.Error(wrong)
	}
}

func TestWhatCatalogsRefuseIsFound(t *testing.T) {
	annotate := func(key, value string) func(*bundle.Bundle) {
		return func(b *bundle.Bundle) { b.CSV.Annotations[key] = value }
	}
	pod := func(change func(*corev1.PodSpec)) func(*bundle.Bundle) {
		return func(b *bundle.Bundle) { change(&b.CSV.Spec.Install.Spec.Deployments[0].Spec.Template.Spec) }
	}
	manifest := func(kind string) func(*bundle.Bundle) {
		return func(b *bundle.Bundle) {
			b.Others = append(b.Others, unstructured.Unstructured{Object: map[string]any{"kind": kind, "metadata": map[string]any{"name": "it"}}})
		}
	}
	rule := func(rule rbacv1.PolicyRule) func(*bundle.Bundle) {
		return func(b *bundle.Bundle) {
			permissions := b.CSV.Spec.Install.Spec.ClusterPermissions
			permissions[0].Rules = append(permissions[0].Rules, rule)
		}
	}
	uid := int64(1000)
	for _, tc := range []struct {
		want   string
		breaks func(*bundle.Bundle)
	}{
		{"is not the package", func(b *bundle.Bundle) { b.CSV.Name = "flux-operator.0.1.0" }},
		{"is no semantic version", func(b *bundle.Bundle) { b.CSV.Spec.Version = "0.1" }},
		{"is no range", annotate("olm.skipRange", "older")},
		{"replaces itself", func(b *bundle.Bundle) { b.CSV.Spec.Replaces = b.CSV.Name }},
		{"which is no version of it", func(b *bundle.Bundle) { b.CSV.Spec.Replaces = "other.v0.0.1" }},
		{"displayName has not", func(b *bundle.Bundle) { b.CSV.Spec.DisplayName = "F" }},
		{"description has less", func(b *bundle.Bundle) { b.CSV.Spec.Description = "" }},
		{"no keywords", func(b *bundle.Bundle) { b.CSV.Spec.Keywords = nil }},
		{"10 to 135 characters", annotate("description", strings.Repeat("long ", 28))},
		{"provider has no name", func(b *bundle.Bundle) { b.CSV.Spec.Provider.Name = "" }},
		{"no maintainers", func(b *bundle.Bundle) { b.CSV.Spec.Maintainers = nil }},
		{"a maintainer has", func(b *bundle.Bundle) { b.CSV.Spec.Maintainers[0].Email = "nobody" }},
		{"no links", func(b *bundle.Bundle) { b.CSV.Spec.Links = nil }},
		{"a link has", func(b *bundle.Bundle) { b.CSV.Spec.Links[0].URL = "github" }},
		{"no icon", func(b *bundle.Bundle) { b.CSV.Spec.Icon = nil }},
		{"an icon is", func(b *bundle.Bundle) { b.CSV.Spec.Icon[0].MediaType = "image/webp" }},
		{"an icon has not", func(b *bundle.Bundle) { b.CSV.Spec.Icon[0].Data = make([]byte, 1<<20) }},
		{"annotation capabilities", annotate("capabilities", "Full")},
		{"annotation categories", annotate("categories", "GitOps")},
		{"annotation createdAt", annotate("createdAt", "today")},
		{"annotation repository", annotate("repository", "here")},
		{"annotation support", annotate("support", "")},
		{"annotation containerImage", annotate("containerImage", "flux operator")},
		{"suggested-namespace", annotate("operatorframework.io/suggested-namespace", "")},
		{"label operatorframework.io/os.linux", func(b *bundle.Bundle) { b.CSV.Labels = nil }},
		{"for which processors", func(b *bundle.Bundle) { b.CSV.Labels = nil }},
		{"neither true nor false", annotate("features.operators.openshift.io/fips-compliant", "yes")},
		{"cannot be mirrored", annotate("features.operators.openshift.io/disconnected", "true")},
		{"metadata says", func(b *bundle.Bundle) { delete(b.Annotations, "operators.operatorframework.io.bundle.mediatype.v1") }},
		{"the channel", func(b *bundle.Bundle) { b.Annotations["operators.operatorframework.io.bundle.channels.v1"] = "main" }},
		{"no tests/scorecard", func(b *bundle.Bundle) { delete(b.Sizes, "tests/scorecard/config.yaml") }},
		{"from which on it is offered", func(b *bundle.Bundle) { b.Annotations["com.redhat.openshift.versions"] = "4.12" }},
		{"not of the form 1.2.3", func(b *bundle.Bundle) { b.CSV.Spec.MinKubeVersion = "1.32" }},
		{"is older than minKubeVersion", func(b *bundle.Bundle) { b.Annotations["com.redhat.openshift.versions"] = "v4.16" }},
		{"not all four install modes", func(b *bundle.Bundle) { b.CSV.Spec.InstallModes = b.CSV.Spec.InstallModes[1:] }},
		{"AllNamespaces is not supported", func(b *bundle.Bundle) { b.CSV.Spec.InstallModes[3].Supported = false }},
		{"has webhooks", func(b *bundle.Bundle) { b.CSV.Spec.Webhooks = []any{1} }},
		{"catalogs refuse", manifest("NetworkPolicy")},
		{"clusters may lack", manifest("ConsoleQuickStart")},
		{"names a namespace", func(b *bundle.Bundle) { b.Others[0].SetNamespace("flux-system") }},
		{"is owned and not in the bundle", func(b *bundle.Bundle) { b.CRDs = b.CRDs[1:] }},
		{"is in the bundle and not owned", func(b *bundle.Bundle) { b.CSV.Spec.Kinds.Owned = b.CSV.Spec.Kinds.Owned[1:] }},
		{"which objects it leads to", func(b *bundle.Bundle) { b.CSV.Spec.Kinds.Owned[0].Resources = nil }},
		{"no name or no description for the console", func(b *bundle.Bundle) { b.CSV.Spec.Kinds.Owned[0].SpecDescriptors[0].Description = "" }},
		{"alm-examples cannot be read", annotate("alm-examples", "{")},
		{"no example of a FluxReport", annotate("alm-examples", "[]")},
		{"the example of a FluxInstance is refused", annotate("alm-examples", `[{"apiVersion":"fluxcd.controlplane.io/v1","kind":"FluxInstance","metadata":{"name":"flux"},"spec":{}}]`)},
		{"the example of a FluxInstance is refused", annotate("alm-examples", `[{"apiVersion":"fluxcd.controlplane.io/v1","kind":"FluxInstance","metadata":{"name":"other"},"spec":{"distribution":{"version":"2.x","registry":"ghcr.io/fluxcd"}}}]`)},
		{"has no digest", func(b *bundle.Bundle) { b.CSV.Spec.RelatedImages[1].Image = "ghcr.io/fluxcd/source-controller:v1" }},
		{"does not list what", func(b *bundle.Bundle) { b.CSV.Spec.RelatedImages = b.CSV.Spec.RelatedImages[:1] }},
		{"is not among relatedImages", pod(func(p *corev1.PodSpec) { p.Containers[0].Image = "ghcr.io/other/image:v1" })},
		{"RELATED_IMAGE_OTHER is not among", pod(func(p *corev1.PodSpec) {
			p.Containers[0].Env = append(p.Containers[0].Env, corev1.EnvVar{Name: "RELATED_IMAGE_OTHER", Value: "x"})
		})},
		{"not one Deployment", func(b *bundle.Bundle) { b.CSV.Spec.Install.Spec.Deployments = nil }},
		{"may run as root", pod(func(p *corev1.PodSpec) { p.SecurityContext.RunAsNonRoot = nil })},
		{"the pod fixes user", pod(func(p *corev1.PodSpec) { p.SecurityContext.FSGroup = &uid })},
		{"seccomp", pod(func(p *corev1.PodSpec) { p.SecurityContext.SeccompProfile = nil })},
		{"shares namespaces", pod(func(p *corev1.PodSpec) { p.HostNetwork = true })},
		{"folder of the node", pod(func(p *corev1.PodSpec) { p.Volumes[0].HostPath = &corev1.HostPathVolumeSource{} })},
		{"nothing of its capabilities", pod(func(p *corev1.PodSpec) { p.Containers[0].SecurityContext = nil })},
		{"manager fixes user", pod(func(p *corev1.PodSpec) { p.Containers[0].SecurityContext.RunAsUser = &uid })},
		{"may gain privileges", pod(func(p *corev1.PodSpec) { p.Containers[0].SecurityContext.AllowPrivilegeEscalation = nil })},
		{"may write to its root", pod(func(p *corev1.PodSpec) { p.Containers[0].SecurityContext.ReadOnlyRootFilesystem = nil })},
		{"manager has capabilities", pod(func(p *corev1.PodSpec) { p.Containers[0].SecurityContext.Capabilities.Drop = nil })},
		{"no probes", pod(func(p *corev1.PodSpec) { p.Containers[0].LivenessProbe = nil })},
		{"requests nothing", pod(func(p *corev1.PodSpec) { p.Containers[0].Resources.Requests = nil })},
		{"belong into a Role", func(b *bundle.Bundle) { b.CSV.Spec.Install.Spec.Permissions = make([]bundle.Permissions, 1) }},
		{"has no Role", func(b *bundle.Bundle) { b.Others = nil }},
		{"for verbs or groups", rule(rbacv1.PolicyRule{Verbs: []string{"*"}})},
		{"for verbs or groups", rule(rbacv1.PolicyRule{Verbs: []string{"get"}, APIGroups: []string{"*"}})},
		{"of foreign groups", rule(rbacv1.PolicyRule{Verbs: []string{"get"}, APIGroups: []string{"apps"}, Resources: []string{"*"}})},
		{"gain rights", rule(rbacv1.PolicyRule{Verbs: []string{"escalate"}, APIGroups: []string{"rbac.authorization.k8s.io"}, Resources: []string{"roles"}})},
		{"a.yaml has a line that ends in a blank", func(b *bundle.Bundle) { b.Untidy = []string{"a.yaml"} }},
		{"more than 102400", func(b *bundle.Bundle) { b.Sizes["manifests/fluxcd.controlplane.io_fluxinstances.yaml"] = 100<<10 + 1 }},
		{"more than 256000", func(b *bundle.Bundle) { b.Sizes["a"], b.Sizes["b"], b.Sizes["c"] = 90<<10, 90<<10, 90<<10 }},
	} {
		b := shipped(t)
		tc.breaks(b)
		if found := strings.Join(bundle.Check(b), "\n"); !strings.Contains(found, tc.want) {
			t.Errorf("nothing about %q: %s", tc.want, found)
		}
	}
}

func TestFilesThatALinterRefuses(t *testing.T) {
	files := map[string]string{"metadata/annotations.yaml": "annotations: {}\n", "manifests/a.yaml": "kind: ClusterServiceVersion\nmetadata: {name: a}\n"}
	for text, want := range map[string][]string{
		"kind: Service\n": nil, "kind: Service\n\n": nil, "kind: Service": {"manifests/b.yaml"}, "kind: Service \n": {"manifests/b.yaml"}, "kind: Service #\t\n": {"manifests/b.yaml"},
	} {
		files["manifests/b.yaml"] = text
		b, err := bundle.Load(folder(t, files))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(b.Untidy, want) {
			t.Errorf("%q: want %q, got %q", text, want, b.Untidy)
		}
	}
}

func TestLoadRefuses(t *testing.T) {
	for _, tc := range []struct {
		want  string
		files map[string]string
	}{
		{"has no ClusterServiceVersion", map[string]string{"manifests/a.yaml": "kind: Service"}},
		{"there is another", map[string]string{
			"manifests/a.yaml": "{kind: ClusterServiceVersion, metadata: {name: a}}", "manifests/b.yaml": "{kind: ClusterServiceVersion, metadata: {name: b}}",
		}},
		{"it has no kind", map[string]string{"manifests/a.yaml": "a: b"}},
		{"parsing", map[string]string{"manifests/a.yaml": "\t"}},
		{"annotations.yaml", map[string]string{"manifests/a.yaml": "{kind: ClusterServiceVersion, metadata: {name: a}}"}},
	} {
		if _, err := bundle.Load(folder(t, tc.files)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("want %q, got %v", tc.want, err)
		}
	}
}
