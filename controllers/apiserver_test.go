package controllers_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/controllers"
)

// newAPIServer asks the API server that a configuration is of.
func newAPIServer(config *rest.Config) *controllers.APIServer {
	GinkgoHelper()
	asking, err := discovery.NewDiscoveryClientForConfig(config)
	Expect(err).NotTo(HaveOccurred())
	return controllers.NewAPIServer(asking.RESTClient())
}

// upgraded lets the API server be of another version, or not say of which.
type upgraded struct {
	version atomic.Value
	asked   atomic.Int64
}

// become changes the version; without one the API server does not answer.
func (u *upgraded) become(version string) { u.version.Store(version) }

func (u *upgraded) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		if req.URL.Path != "/version" {
			return next.RoundTrip(req)
		}
		u.asked.Add(1)
		said, _ := u.version.Load().(string)
		if said == "" {
			return nil, errOutage
		}
		body, err := json.Marshal(version.Info{GitVersion: said, Platform: "linux/amd64"})
		header := http.Header{"Content-Type": {"application/json"}}
		return &http.Response{StatusCode: http.StatusOK, Header: header, Body: io.NopCloser(bytes.NewReader(body)), Request: req}, err
	})
}

var _ = Describe("An API server that is upgraded", func() {
	var api *upgraded
	BeforeEach(func() {
		api = &upgraded{}
		api.become("v1.24.17")
		config := rest.CopyConfig(testEnv.Config)
		config.Wrap(api.wrap)
		server = newAPIServer(config)
		DeferCleanup(func() { server = nil })
		DeferCleanup(startOperator())
	})
	AfterEach(letGo)

	refused := func(ctx SpecContext) {
		GinkgoHelper()
		Expect(k8s.Create(ctx, newInstance(nil))).To(Succeed())
		Expect(expectFailure(ctx, v1.ReasonPreflightFailed)).To(SatisfyAll(ContainSubstring("needs Kubernetes 1."), ContainSubstring("v1.24.17")))
		Expect(apimeta.IsStatusConditionTrue(fetch(ctx).Status.Conditions, meta.StalledCondition)).To(BeTrue())
	}

	It("gets what the older one was refused as soon as the report sees it, and is asked no more", func(ctx SpecContext) {
		refused(ctx)
		asked := api.asked.Load()
		Expect(asked).To(BeEquivalentTo(1), "a stalled instance asks for nothing")
		api.become("v1.36.3")
		Expect(server.Look(ctx)).To(HaveField("ServerVersion", "v1.36.3"))
		expectReady(ctx)
		Expect(api.asked.Load()-asked).To(BeEquivalentTo(2), "the report's look and that of the install")

		settled := settle()
		change(ctx, func(in *v1.FluxInstance) { in.Annotations = map[string]string{v1.ReconcileEveryAnnotation: "59m"} })
		Consistently(requests.sent.Load, time.Second, tick).Should(Equal(settled))
		Expect(api.asked.Load()-asked).To(BeEquivalentTo(2), "a pass without a change")
	})

	It("gets it when somebody asks for it", func(ctx SpecContext) {
		refused(ctx)
		api.become("v1.36.3")
		change(ctx, func(in *v1.FluxInstance) { in.Annotations = map[string]string{meta.ReconcileRequestAnnotation: "now"} })
		expectReady(ctx)
	})

	It("is waited for while it does not say which version it has", func(ctx SpecContext) {
		api.become("")
		Expect(k8s.Create(ctx, newInstance(nil))).To(Succeed())
		Expect(expectFailure(ctx, v1.ReasonPreflightFailed)).To(ContainSubstring("version of the API server"))
		api.become("v1.36.3")
		expectReady(ctx)
	})
})
