package controllers_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/controllers"
)

// shownObjects are what the web console shows, by kind.
func shownObjects() map[string][]string {
	return map[string][]string{
		"ConsoleYAMLSample": {"flux-operator-install-flux", "flux-operator-sync-repository"},
		"ConsoleQuickStart": {"flux-operator-get-started"},
		"ConsoleLink":       {"flux-operator-documentation"},
	}
}

// requestLog notes what is asked of the API server.
type requestLog chan string

func (l requestLog) note(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		select {
		case l <- req.Method + " " + req.URL.Path:
		default: // it is full, and nobody counts that far
		}
		return next.RoundTrip(req)
	})
}

var _ = Describe("The web console of OpenShift", func() {
	var log requestLog

	// newConsole acts as the operator's service account, with the rights that config gives it.
	newConsole := func() *controllers.Console {
		GinkgoHelper()
		config := rest.CopyConfig(testEnv.Config)
		config.Impersonate = rest.ImpersonationConfig{
			UserName: "system:serviceaccount:" + namespace + ":flux-operator",
			Groups:   []string{"system:serviceaccounts", "system:authenticated"},
		}
		log = make(requestLog, 100)
		config.Wrap(log.note)
		asking, err := discovery.NewDiscoveryClientForConfig(config)
		Expect(err).NotTo(HaveOccurred())
		direct, err := client.New(config, client.Options{Scheme: scheme})
		Expect(err).NotTo(HaveOccurred())
		return &controllers.Console{
			API: asking.RESTClient(), Client: direct, Namespace: namespace,
			Backoff: controllers.Backoff{Min: tick, Max: time.Second},
		}
	}
	shown := func(kind, name string) *unstructured.Unstructured {
		obj := &unstructured.Unstructured{}
		obj.SetAPIVersion("console.openshift.io/v1")
		obj.SetKind(kind)
		obj.SetName(name)
		return obj
	}

	// rights are those of the operator in config.
	rights := func(ctx context.Context) *rbacv1.ClusterRoleBinding {
		GinkgoHelper()
		content, err := os.Open(filepath.Join("..", "config", "rbac", "cluster_role.yaml"))
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(content.Close)
		decoder := yaml.NewYAMLOrJSONDecoder(content, 1<<20)
		role, binding := &rbacv1.ClusterRole{}, &rbacv1.ClusterRoleBinding{}
		for _, obj := range []client.Object{role, binding} {
			Expect(decoder.Decode(obj)).To(Succeed())
			Expect(k8s.Create(ctx, obj)).To(Succeed())
			DeferCleanup(func(ctx context.Context) { Expect(client.IgnoreNotFound(k8s.Delete(ctx, obj))).To(Succeed()) })
		}
		return binding
	}

	It("is not there on other clusters, and then nothing is asked for but that", func(ctx SpecContext) {
		Expect(newConsole().Start(ctx)).To(Succeed())
		Expect(log).To(Receive(Equal("GET /apis/console.openshift.io/v1")))
		Expect(log).NotTo(Receive())
	})

	It("shows samples, a quick start and a link that go with the operator's rights, and takes them away when it is switched off", func(ctx SpecContext) {
		installOpenShift(ctx, "console/00_consoleyamlsamples.crd.yaml", "console/00_consolequickstarts.crd.yaml", "console/00_consolelinks.crd.yaml")
		console := newConsole()
		done := make(chan error, 1)
		go func() { done <- console.Start(ctx) }()

		By("trying again until it may")
		Eventually(func() int { return len(log) }, soon, tick).Should(BeNumerically(">", 3))
		Expect(done).NotTo(Receive())
		binding := rights(ctx)
		Eventually(done, soon, tick).Should(Receive(BeNil()))
		for kind, names := range shownObjects() {
			for _, name := range names {
				obj := shown(kind, name)
				Expect(k8s.Get(ctx, client.ObjectKeyFromObject(obj), obj)).To(Succeed())
				Expect(obj.GetOwnerReferences()).To(Equal([]metav1.OwnerReference{
					{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "ClusterRoleBinding", Name: binding.Name, UID: binding.UID},
				}))
			}
		}
		link := shown("ConsoleLink", "flux-operator-documentation")
		Expect(k8s.Get(ctx, client.ObjectKeyFromObject(link), link)).To(Succeed())
		projects, _, err := unstructured.NestedStringSlice(link.Object, "spec", "namespaceDashboard", "namespaces")
		Expect(err).NotTo(HaveOccurred())
		Expect(projects).To(Equal([]string{namespace}))

		By("offering samples that the API server takes")
		for _, name := range shownObjects()["ConsoleYAMLSample"] {
			sample := shown("ConsoleYAMLSample", name)
			Expect(k8s.Get(ctx, client.ObjectKeyFromObject(sample), sample)).To(Succeed())
			text, _, err := unstructured.NestedString(sample.Object, "spec", "yaml")
			Expect(err).NotTo(HaveOccurred())
			offered := &unstructured.Unstructured{}
			Expect(yaml.NewYAMLOrJSONDecoder(strings.NewReader(text), len(text)).Decode(offered)).To(Succeed())
			Expect(offered.GetKind()).To(Equal(v1.FluxInstanceKind))
			offered.SetNamespace(namespace)
			Expect(k8s.Create(ctx, offered, client.DryRunAll, client.FieldValidation(metav1.FieldValidationStrict))).To(Succeed())
		}

		By("starting once more")
		version := link.GetResourceVersion()
		Expect(newConsole().Start(ctx)).To(Succeed())
		Expect(k8s.Get(ctx, client.ObjectKeyFromObject(link), link)).To(Succeed())
		Expect(link.GetResourceVersion()).To(Equal(version))

		By("starting beside the rights of the version before, as in an upgrade by the lifecycle manager")
		other := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "another-version"}, RoleRef: binding.RoleRef, Subjects: binding.Subjects}
		Expect(k8s.Create(ctx, other)).To(Succeed())
		DeferCleanup(func(ctx context.Context) { Expect(k8s.Delete(ctx, other)).To(Succeed()) })
		Expect(newConsole().Start(ctx)).To(Succeed())
		Expect(k8s.Get(ctx, client.ObjectKeyFromObject(link), link)).To(Succeed())
		var owners []string
		for _, owner := range link.GetOwnerReferences() {
			owners = append(owners, owner.Name)
		}
		Expect(owners).To(ConsistOf(binding.Name, other.Name))

		By("switching it off")
		off := newConsole()
		off.Off = true
		Expect(off.Start(ctx)).To(Succeed())
		Expect(off.Start(ctx)).To(Succeed(), "and again, when nothing is left")
		for kind, names := range shownObjects() {
			for _, name := range names {
				Expect(k8s.Get(ctx, client.ObjectKey{Name: name}, shown(kind, name))).To(MatchError(apierrors.IsNotFound, "IsNotFound"))
			}
		}
	})
})
