package controllers_test

import (
	"context"
	"encoding/json"
	"net/http"
	"os/exec"
	"path/filepath"
	"sync/atomic"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/controllers"
	"github.com/flux-autopilot/flux-operator/pkg/render"
)

// openshiftDefinitions is the folder with OpenShift's own definitions of a group.
func openshiftDefinitions(ctx context.Context, group string) string {
	GinkgoHelper()
	download := exec.CommandContext(ctx, "go", "mod", "download", "-json", "github.com/openshift/api")
	download.Dir = filepath.Join("..", "tools", "openshift-apis")
	out, err := download.Output()
	Expect(err).NotTo(HaveOccurred(), string(out))
	var module struct{ Dir string }
	Expect(json.Unmarshal(out, &module)).To(Succeed())
	return filepath.Join(module.Dir, group, "v1", "zz_generated.crd-manifests")
}

// installOpenShift adds definitions of OpenShift until the end of the test. Those that it has in several variants go by the one in use by default.
func installOpenShift(ctx context.Context, files ...string) {
	GinkgoHelper()
	var paths []string
	for _, file := range files {
		paths = append(paths, filepath.Join(openshiftDefinitions(ctx, filepath.Dir(file)), filepath.Base(file)))
	}
	options := envtest.CRDInstallOptions{Paths: paths, ErrorIfPathMissing: true, CleanUpAfterUse: true, MaxTime: soon}
	_, err := envtest.InstallCRDs(testEnv.Config, options)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func(ctx context.Context) {
		Expect(envtest.UninstallCRDs(testEnv.Config, options)).To(Succeed())
		asking := newPlatform(nil).API
		Eventually(func(g Gomega) {
			list := &apiextensionsv1.CustomResourceDefinitionList{}
			g.Expect(k8s.List(ctx, list)).To(Succeed())
			for _, definition := range list.Items {
				g.Expect(definition.Spec.Group).NotTo(HaveSuffix("openshift.io"))
			}
			// The API server goes on to tell of the group for a moment.
			g.Expect(asking.Get().AbsPath("/apis/" + render.OpenShiftGroup).Do(ctx).Error()).To(MatchError(apierrors.IsNotFound, "IsNotFound"))
		}).WithContext(ctx).WithTimeout(soon).WithPolling(tick).Should(Succeed())
	})
}

const (
	constraints = "security/0000_03_config-operator_01_securitycontextconstraints.crd.yaml"
	proxies     = "config/0000_03_config-operator_01_proxies.crd.yaml"
)

// failing makes a request fail when it is told to.
type failing struct{ on atomic.Bool }

func (f *failing) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		if f.on.Load() {
			return &http.Response{StatusCode: http.StatusServiceUnavailable, Header: http.Header{}, Body: http.NoBody, Request: req}, nil
		}
		return next.RoundTrip(req)
	})
}

// newPlatform finds out about the cluster as the process does.
func newPlatform(wrap func(http.RoundTripper) http.RoundTripper) *controllers.Platform {
	GinkgoHelper()
	config := rest.CopyConfig(testEnv.Config)
	if wrap != nil {
		config.Wrap(wrap)
	}
	asking, err := discovery.NewDiscoveryClientForConfig(config)
	Expect(err).NotTo(HaveOccurred())
	direct, err := client.New(testEnv.Config, client.Options{Scheme: scheme})
	Expect(err).NotTo(HaveOccurred())
	return &controllers.Platform{API: asking.RESTClient(), Reader: direct, Namespace: namespace, TrustedCA: controllers.AutomaticTrustedCA}
}

var _ = Describe("The type of the cluster", func() {
	typeOf := func(ctx context.Context, platform *controllers.Platform) func() (string, error) {
		return func() (string, error) { return platform.Type(ctx) }
	}

	It("is found out by the API groups, and kept when one of them is not served for a moment", func(ctx SpecContext) {
		broken := &failing{}
		platform := newPlatform(broken.wrap)
		broken.on.Store(true)
		_, err := platform.Type(ctx)
		Expect(err).To(MatchError(ContainSubstring("security.openshift.io")), "not knowing is not the same as kubernetes")
		broken.on.Store(false)
		Expect(platform.Type(ctx)).To(Equal("kubernetes"))

		By("becoming OpenShift while the operator runs")
		installOpenShift(ctx, constraints)
		Eventually(typeOf(ctx, platform), soon, tick).Should(Equal("openshift"))
		broken.on.Store(true)
		Expect(platform.Type(ctx)).To(Equal("openshift"))
	})

	It("is remembered by the report, for an operator that starts while the group is not served", func(ctx SpecContext) {
		known := &v1.FluxReport{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: v1.DefaultInstanceName}, Spec: v1.FluxReportSpec{
			Distribution: v1.FluxDistributionStatus{Entitlement: "Unknown", Status: "Unknown"},
			Cluster:      &v1.ClusterInfo{ServerVersion: "v1.36.3", Platform: "linux/amd64", Type: "openshift"},
		}}
		Expect(client.IgnoreNotFound(k8s.Delete(ctx, known.DeepCopy()))).To(Succeed(), "a report that another operator left")
		Expect(k8s.Create(ctx, known)).To(Succeed())
		DeferCleanup(k8s.Delete, known)
		Expect(newPlatform(nil).Type(ctx)).To(Equal("openshift"))
	})
})

var _ = Describe("Flux on OpenShift", Ordered, func() {
	BeforeAll(func(ctx SpecContext) {
		installOpenShift(ctx, constraints, proxies)
		fresh := newPlatform(nil)
		Eventually(func() (string, error) { return fresh.Type(ctx) }, soon, tick).Should(Equal("openshift"))
	})
	var stop func()
	start := func(trusted string) {
		GinkgoHelper()
		platform = newPlatform(nil)
		platform.Proxy = render.Proxy{HTTPS: "http://proxy.example.com:3128", No: ".example.com"}
		platform.TrustedCA = trusted
		stop = startOperator()
	}
	BeforeEach(func() { start(controllers.AutomaticTrustedCA) })
	AfterEach(func(ctx SpecContext) {
		letGo(ctx)
		stop()
		platform = nil
	})

	source := func(ctx context.Context) *corev1.PodTemplateSpec {
		GinkgoHelper()
		deployment := &appsv1.Deployment{}
		Expect(exists(ctx, deployment, "source-controller")).To(Succeed())
		return &deployment.Spec.Template
	}
	applied := func(ctx context.Context, change func(*v1.FluxInstance)) {
		GinkgoHelper()
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(newInstance(change))
		Expect(err).NotTo(HaveOccurred())
		obj := &unstructured.Unstructured{Object: content}
		obj.SetGroupVersionKind(v1.GroupVersion.WithKind(v1.FluxInstanceKind))
		unstructured.RemoveNestedField(obj.Object, "metadata", "creationTimestamp")
		unstructured.RemoveNestedField(obj.Object, "status")
		//nolint:staticcheck // as kubectl apply --server-side does
		Expect(k8s.Patch(ctx, obj, client.Apply, client.FieldOwner("user"), client.ForceOwnership)).To(Succeed())
	}

	It("is rendered for OpenShift unless the instance says something else, and reaches the outside through the proxy", func(ctx SpecContext) {
		applied(ctx, nil)
		Expect(fetch(ctx).Spec.Cluster.Type).To(Equal("kubernetes"), "the default of the API")
		expectReady(ctx)
		Expect(source(ctx).Spec.SecurityContext.FSGroup).To(BeNil())
		Expect(source(ctx).Spec.Containers[0].Env).To(ContainElements(
			corev1.EnvVar{Name: "HTTPS_PROXY", Value: "http://proxy.example.com:3128"},
			corev1.EnvVar{Name: "NO_PROXY", Value: ".example.com,$(KUBERNETES_SERVICE_HOST),.svc,.svc.,.cluster.local,.cluster.local."},
		))
		Expect(apierrors.IsNotFound(exists(ctx, &corev1.ConfigMap{}, "flux-trusted-ca"))).To(BeTrue(), "the cluster has no authorities of its own")

		applied(ctx, func(in *v1.FluxInstance) {
			in.Spec.Cluster.Type = "kubernetes"
			in.Spec.Cluster.Size = "small" // the type alone would change nothing that the API server counts
		})
		expectReady(ctx)
		Expect(source(ctx).Spec.SecurityContext.FSGroup).NotTo(BeNil())
	})

	It("trusts the authorities of the cluster", func(ctx SpecContext) {
		settings := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"trustedCA": map[string]any{"name": "user-ca-bundle"}}}}
		settings.SetAPIVersion("config.openshift.io/v1")
		settings.SetKind("Proxy")
		settings.SetName("cluster")
		Expect(k8s.Create(ctx, settings)).To(Succeed())
		DeferCleanup(func(ctx context.Context) { Expect(client.IgnoreNotFound(k8s.Delete(ctx, settings))).To(Succeed()) })
		applied(ctx, nil)
		expectReady(ctx)
		Expect(source(ctx).Annotations).NotTo(HaveKey(v1.TrustedCAAnnotation), "nobody filled the ConfigMap yet")

		By("filling it as the network operator of OpenShift does")
		config := &corev1.ConfigMap{}
		Expect(exists(ctx, config, "flux-trusted-ca")).To(Succeed())
		Expect(config.Labels).To(HaveKeyWithValue("config.openshift.io/inject-trusted-cabundle", "true"))
		fill := func(certificates string) {
			GinkgoHelper()
			Expect(exists(ctx, config, "flux-trusted-ca")).To(Succeed())
			config.Data = map[string]string{render.TrustedCAKey: certificates}
			Expect(k8s.Update(ctx, config)).To(Succeed())
		}
		digest := func() string { becomeAvailable(ctx); return source(ctx).Annotations[v1.TrustedCAAnnotation] }
		fill("one")
		Eventually(digest, soon, tick).Should(HavePrefix("sha256:"))
		expectReady(ctx)
		Expect(source(ctx).Spec.Containers[0].Env).To(ContainElement(HaveField("Name", "SSL_CERT_DIR")))
		Expect(exists(ctx, config, "flux-trusted-ca")).To(Succeed())
		Expect(config.Data).To(HaveKeyWithValue(render.TrustedCAKey, "one"), "the data is not ours")
		first := digest()
		fill("two")
		Eventually(digest, soon, tick).Should(And(HavePrefix("sha256:"), Not(Equal(first))))
		expectReady(ctx)

		By("having none any more")
		Expect(k8s.Delete(ctx, settings)).To(Succeed())
		change(ctx, func(in *v1.FluxInstance) {
			metav1.SetMetaDataAnnotation(&in.ObjectMeta, "reconcile.fluxcd.io/requestedAt", "now")
		})
		Eventually(func() error { becomeAvailable(ctx); return exists(ctx, config, "flux-trusted-ca") }, soon, tick).Should(MatchError(apierrors.IsNotFound, "IsNotFound"))
		Expect(digest()).To(BeEmpty())
	})

	It("says that a ConfigMap with authorities is not there, and leaves what runs as it is", func(ctx SpecContext) {
		applied(ctx, nil)
		expectReady(ctx)
		before := source(ctx)
		stop()
		start("authorities")
		Expect(expectFailure(ctx, v1.ReasonPreflightFailed)).To(SatisfyAll(ContainSubstring("--trusted-ca"), ContainSubstring(`"authorities"`)))
		Expect(source(ctx)).To(Equal(before))
		config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "authorities"}, Data: map[string]string{render.TrustedCAKey: "one"}}
		Expect(k8s.Create(ctx, config)).To(Succeed())
		DeferCleanup(k8s.Delete, config)
		trusted := func() string { return source(ctx).Annotations[v1.TrustedCAAnnotation] }
		Eventually(func() string { becomeAvailable(ctx); return trusted() }, soon, tick).ShouldNot(BeEmpty())
		expectReady(ctx)

		By("changing it, and once more while the controllers restart for the first change")
		for _, certificates := range []string{"two", "three"} {
			last := trusted()
			config.Data[render.TrustedCAKey] = certificates
			Expect(k8s.Update(ctx, config)).To(Succeed())
			Eventually(trusted, soon, tick).ShouldNot(Equal(last), "nobody asked for a pass, and no pod becomes available")
		}
		expectReady(ctx)
	})
})
