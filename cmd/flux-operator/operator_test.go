package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/render"
)

// operatorOf is the Deployment of an operator that was told something.
func operatorOf(namespace string, args []string, env ...corev1.EnvVar) *appsv1.Deployment {
	labels := map[string]string{"app": operatorName}
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: operatorName}}
	deployment.Spec.Selector = &metav1.LabelSelector{MatchLabels: labels}
	deployment.Spec.Template.Labels = labels
	deployment.Spec.Template.Spec.Containers = []corev1.Container{{Name: "proxy", Image: "a"}, {Name: operatorContainer, Image: "b", Args: args, Env: env}}
	return deployment
}

// TestSettingsAreReadAsTheOperatorReadsThem: a variable wins over a flag, and what the kubelet makes of a value is not guessed.
func TestSettingsAreReadAsTheOperatorReadsThem(t *testing.T) {
	proxy := corev1.EnvVar{Name: "HTTPS_PROXY", Value: "http://proxy:3128"}
	secret := &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{Key: "proxy"}}
	for name, tc := range map[string]struct {
		args []string
		env  []corev1.EnvVar
		want settings
		fail string
	}{
		"nothing":             {want: settings{trustedCA: render.AutomaticTrustedCA}},
		"a proxy":             {env: []corev1.EnvVar{proxy}, want: settings{trustedCA: "auto", platform: render.Platform{Proxy: render.Proxy{HTTPS: "http://proxy:3128"}}}},
		"a proxy kept":        {args: []string{"--propagate-proxy=false"}, env: []corev1.EnvVar{proxy}, want: settings{trustedCA: "auto"}},
		"a variable wins":     {args: []string{"--propagate-proxy=false"}, env: []corev1.EnvVar{proxy, {Name: "PROPAGATE_PROXY", Value: "true"}}, want: settings{trustedCA: "auto", platform: render.Platform{Proxy: render.Proxy{HTTPS: "http://proxy:3128"}}}},
		"the last wins":       {env: []corev1.EnvVar{{Name: "TRUSTED_CA", ValueFrom: secret}, {Name: "TRUSTED_CA", Value: "mine"}}, want: settings{trustedCA: "mine"}},
		"other flags":         {args: []string{"--log-level", "debug", "--trusted-ca", "none", "--metrics-insecure"}, want: settings{trustedCA: "none"}},
		"an image":            {env: []corev1.EnvVar{{Name: "RELATED_IMAGE_SOURCE_CONTROLLER", Value: "a/b@sha256:1"}}, want: settings{trustedCA: "auto", platform: render.Platform{Images: render.RelatedImages{v1.SourceController: "a/b@sha256:1"}}}},
		"a dollar":            {env: []corev1.EnvVar{{Name: "NO_PROXY", Value: "a$$b"}}, want: settings{trustedCA: "auto", platform: render.Platform{Proxy: render.Proxy{No: "a$b"}}}},
		"what does not count": {env: []corev1.EnvVar{{Name: "RUNTIME_NAMESPACE", ValueFrom: secret}}, want: settings{trustedCA: "auto"}},
		"a secret":            {env: []corev1.EnvVar{{Name: "HTTP_PROXY", ValueFrom: secret}}, fail: "HTTP_PROXY"},
		"a reference":         {env: []corev1.EnvVar{{Name: "NO_PROXY", Value: "$(KUBERNETES_SERVICE_HOST)"}}, fail: "NO_PROXY"},
		"no truth value":      {env: []corev1.EnvVar{{Name: "PROPAGATE_PROXY", Value: "perhaps"}}, fail: "PROPAGATE_PROXY"},
		"a wrong flag":        {args: []string{"--propagate-proxy=perhaps"}, fail: "propagate-proxy"},
	} {
		t.Run(name, func(t *testing.T) {
			told, err := readSettings(operatorOf("a", tc.args, tc.env...))
			if tc.fail != "" {
				if err == nil || !strings.Contains(err.Error(), tc.fail) {
					t.Fatalf("%v does not name %s", err, tc.fail)
				}
				return
			}
			if len(told.platform.Images) == 0 {
				told.platform.Images = nil
			}
			if diff := cmp.Diff(tc.want, told, cmp.AllowUnexported(settings{})); err != nil || diff != "" {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
	other := operatorOf("a", nil)
	other.Spec.Template.Spec.Containers = other.Spec.Template.Spec.Containers[:1]
	if _, err := readSettings(other); err == nil || !strings.Contains(err.Error(), operatorContainer) {
		t.Errorf("a Deployment without the operator gives %v", err)
	}
	other = operatorOf("a", nil)
	other.Spec.Template.Spec.Containers[1].EnvFrom = []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{}}}
	if _, err := readSettings(other); err == nil || !strings.Contains(err.Error(), "envFrom") {
		t.Errorf("variables from elsewhere give %v", err)
	}
}

var _ = Describe("what the operator hands on", Ordered, func() {
	const namespace = "handing"
	input := strings.Replace(synced, "name: flux\n", "name: flux\n  namespace: "+namespace+"\n", 1)
	diff := func() (out, told string) {
		GinkgoHelper()
		root := newRootCommand()
		var stdout, stderr bytes.Buffer
		root.SetIn(strings.NewReader(input))
		root.SetOut(&stdout)
		root.SetErr(&stderr)
		root.SetArgs([]string{"diff", "instance", "-f", "-", "--unified", "--distribution", distribution, "--kubeconfig", kubeconfig})
		Expect(root.Execute()).To(MatchError(errDifferent))
		return stdout.String(), stderr.String()
	}
	var operator *appsv1.Deployment
	BeforeAll(func(ctx SpecContext) {
		Expect(k8s.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})).To(Succeed())
	})

	It("is left out with a word where there is no operator", func() {
		out, told := diff()
		Expect(told).To(And(ContainSubstring("Deployment handing/flux-operator"), ContainSubstring("not found"), ContainSubstring("left out")))
		Expect(out).NotTo(Or(ContainSubstring("HTTPS_PROXY"), ContainSubstring("SSL_CERT_DIR")))
	})

	It("is shown as the operator would do it", func(ctx SpecContext) {
		config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "mine"}, Data: map[string]string{render.TrustedCAKey: "one"}}
		Expect(k8s.Create(ctx, config)).To(Succeed())
		operator = operatorOf(namespace, nil, corev1.EnvVar{Name: "HTTPS_PROXY", Value: "http://proxy:3128"}, corev1.EnvVar{Name: "TRUSTED_CA", Value: "mine"})
		Expect(k8s.Create(ctx, operator)).To(Succeed())
		out, told := diff()
		Expect(told).NotTo(ContainSubstring("left out"))
		Expect(strings.Count(out, "value: http://proxy:3128\n")).To(Equal(2), "once for each controller")
		Expect(out).To(ContainSubstring(v1.TrustedCAAnnotation + ": " + render.TrustedCADigest(config.Data) + "\n"))

		By("losing the ConfigMap")
		Expect(k8s.Delete(ctx, config)).To(Succeed())
		_, told = diff()
		Expect(told).To(And(ContainSubstring("ConfigMap handing/mine"), ContainSubstring("left out")))
	})

	It("holds what an OpenShift cluster trusts", func(ctx SpecContext) {
		operator.Spec.Template.Spec.Containers[1].Env = nil
		Expect(k8s.Update(ctx, operator)).To(Succeed())
		trusted := func() (render.TrustedCA, error) {
			target, err := (&clusterFlags{kubeconfig: kubeconfig}).connect(time.Minute, GinkgoWriter)
			if err != nil {
				return render.TrustedCA{}, err
			}
			platform, err := target.handedOn(ctx, namespace, openshift)
			return platform.TrustedCA, err
		}
		Expect(trusted()).To(BeZero(), "a small variant of OpenShift")

		_, err := envtest.InstallCRDs(testEnv.Config, envtest.CRDInstallOptions{MaxTime: time.Minute, CRDs: []*apiextensionsv1.CustomResourceDefinition{{
			ObjectMeta: metav1.ObjectMeta{Name: "proxies.config.openshift.io"},
			Spec: apiextensionsv1.CustomResourceDefinitionSpec{
				Group: "config.openshift.io", Scope: apiextensionsv1.ClusterScoped,
				Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: "proxies", Kind: "Proxy"},
				Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{Name: "v1", Served: true, Storage: true, Schema: &apiextensionsv1.CustomResourceValidation{
					OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object", XPreserveUnknownFields: new(true)},
				}}},
			},
		}}})
		Expect(err).NotTo(HaveOccurred())
		proxy := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "config.openshift.io/v1", "kind": "Proxy", "metadata": map[string]any{"name": "cluster"},
		}}
		Eventually(func() error { return k8s.Create(ctx, proxy) }).WithTimeout(time.Minute).Should(Succeed())
		Expect(trusted()).To(BeZero(), "it has no authorities of its own")

		Expect(unstructured.SetNestedField(proxy.Object, "user-ca-bundle", "spec", "trustedCA", "name")).To(Succeed())
		Expect(k8s.Update(ctx, proxy)).To(Succeed())
		Expect(trusted()).To(Equal(render.TrustedCA{ConfigMap: render.ClusterCA, Filled: true}), "nobody filled it in yet")
		config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: render.ClusterCA}, Data: map[string]string{render.TrustedCAKey: "one"}}
		Expect(k8s.Create(ctx, config)).To(Succeed())
		Expect(trusted()).To(Equal(render.TrustedCA{ConfigMap: render.ClusterCA, Filled: true, Digest: render.TrustedCADigest(config.Data)}))

		By("being told to trust nothing")
		operator.Spec.Template.Spec.Containers[1].Args = []string{"--trusted-ca=none"}
		Expect(k8s.Update(ctx, operator)).To(Succeed())
		Expect(trusted()).To(BeZero())
		Expect(client.IgnoreNotFound(k8s.Delete(ctx, operator))).To(Succeed())
	})
})
