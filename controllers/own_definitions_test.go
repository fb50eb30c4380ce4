package controllers_test

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/controllers"
	"github.com/flux-autopilot/flux-operator/pkg/migrate"
)

var _ = Describe("The operator's own definitions", Ordered, func() {
	const name, old = "fluxinstances." + v1.Group, "v1alpha1"
	var sent *requestCounter
	var refused atomic.Bool
	var definitions *controllers.OwnDefinitions
	read := func(ctx context.Context) *apiextensionsv1.CustomResourceDefinition {
		GinkgoHelper()
		definition := &apiextensionsv1.CustomResourceDefinition{}
		Expect(k8s.Get(ctx, client.ObjectKey{Name: name}, definition)).To(Succeed())
		return definition
	}

	BeforeEach(func() {
		sent = &requestCounter{}
		config := rest.CopyConfig(testEnv.Config)
		config.Wrap(func(next http.RoundTripper) http.RoundTripper {
			return roundTripper(func(req *http.Request) (*http.Response, error) {
				if refused.Load() {
					sent.sent.Add(1)
					return &http.Response{StatusCode: http.StatusForbidden, Header: http.Header{}, Body: http.NoBody, Request: req}, nil
				}
				return sent.count(next).RoundTrip(req)
			})
		})
		direct, err := client.New(config, client.Options{Scheme: scheme})
		Expect(err).NotTo(HaveOccurred())
		for _, list := range []client.ObjectList{&apiextensionsv1.CustomResourceDefinitionList{}, &v1.FluxInstanceList{}} {
			Expect(direct.List(context.Background(), list)).To(Succeed(), "the kinds are to be looked up already, as in the running process")
		}
		definitions = &controllers.OwnDefinitions{
			Migrator: migrate.New(direct, migrate.Options{Settle: time.Second}),
			Backoff:  controllers.Backoff{Min: tick, Max: time.Second},
		}
		sent.sent.Store(0)
	})

	It("are not touched while they are clean", func(ctx SpecContext) {
		before := read(ctx).ResourceVersion
		Expect(definitions.Start(ctx)).To(Succeed())
		Expect(read(ctx).ResourceVersion).To(Equal(before))
		Expect(sent.sent.Load()).To(BeNumerically("<=", 3), "the names, and the two definitions")
	})

	It("are cleaned of a version that objects may be stored in", func(ctx SpecContext) {
		By("having had an older storage version")
		definition := read(ctx)
		older := definition.Spec.Versions[0].DeepCopy()
		older.Name, older.Storage = old, true
		definition.Spec.Versions[0].Storage = false
		definition.Spec.Versions = append(definition.Spec.Versions, *older)
		Expect(k8s.Update(ctx, definition)).To(Succeed())
		instance := newInstance(func(in *v1.FluxInstance) { in.Namespace = "default" })
		Eventually(func(g Gomega) {
			g.Expect(read(ctx).Status.StoredVersions).To(ConsistOf("v1", old))
			g.Expect(k8s.Create(ctx, instance)).To(Succeed())
		}, soon, tick).Should(Succeed())
		DeferCleanup(k8s.Delete, instance)
		definition = read(ctx)
		definition.Spec.Versions[0].Storage, definition.Spec.Versions[1].Storage = true, false
		Expect(k8s.Update(ctx, definition)).To(Succeed())

		Expect(definitions.Start(ctx)).To(Succeed())
		definition = read(ctx)
		Expect(definition.Status.StoredVersions).To(Equal([]string{"v1"}))

		By("dropping it")
		definition.Spec.Versions = definition.Spec.Versions[:1]
		Expect(k8s.Update(ctx, definition)).To(Succeed())
		Eventually(func() error { return k8s.Get(ctx, client.ObjectKeyFromObject(instance), instance) }, soon, tick).Should(Succeed())
	})

	It("are tried again when that fails", func(ctx SpecContext) {
		refused.Store(true)
		done := make(chan error, 1)
		go func() { done <- definitions.Start(ctx) }()
		Eventually(sent.sent.Load, soon, tick).Should(BeNumerically(">=", 2))
		Consistently(done, time.Second, tick).ShouldNot(Receive())
		refused.Store(false)
		Eventually(done, soon, tick).Should(Receive(BeNil()))
	})
})
