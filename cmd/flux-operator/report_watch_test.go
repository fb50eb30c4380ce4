package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gbytes"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

var _ = Describe("report", Ordered, func() {
	const namespace, patience = "reported", 30 * time.Second

	report := func() *v1.FluxReport {
		return &v1.FluxReport{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: v1.DefaultInstanceName},
			Spec:       v1.FluxReportSpec{Distribution: v1.FluxDistributionStatus{Entitlement: "Unknown", Status: "Installed", Version: "v2.9.3"}},
		}
	}
	releases := func(ctx context.Context, release string) {
		GinkgoHelper()
		live := &v1.FluxReport{}
		Expect(k8s.Get(ctx, client.ObjectKeyFromObject(report()), live)).To(Succeed())
		live.Spec.Distribution.Version = release
		Expect(k8s.Update(ctx, live)).To(Succeed())
	}
	// run begins the command and returns what it prints as it does.
	run := func(ctx context.Context, kubeconfig string, args ...string) (out, told *gbytes.Buffer, done <-chan error) {
		root := newRootCommand()
		out, told = gbytes.NewBuffer(), gbytes.NewBuffer()
		root.SetOut(out)
		root.SetErr(told)
		root.SetArgs(append([]string{"report", "--kubeconfig", kubeconfig, "-n", namespace}, args...))
		ended := make(chan error, 1)
		go func() { ended <- root.ExecuteContext(ctx) }()
		return out, told, ended
	}

	BeforeAll(func(ctx SpecContext) {
		_, err := envtest.InstallCRDs(testEnv.Config, envtest.CRDInstallOptions{Paths: []string{"../../config/crd/bases"}, ErrorIfPathMissing: true, MaxTime: time.Minute})
		Expect(err).NotTo(HaveOccurred())
		Expect(k8s.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})).To(Succeed())
		Expect(k8s.Create(ctx, report())).To(Succeed())
		DeferCleanup(func(ctx SpecContext) { Expect(client.IgnoreNotFound(k8s.Delete(ctx, report()))).To(Succeed()) })
	})

	It("is printed once, as a table, YAML or JSON", func(ctx SpecContext) {
		for format, wanted := range map[string]string{"table": `Flux +v2\.9\.3 Installed`, "yaml": `version: v2\.9\.3`, "json": `"version": "v2\.9\.3"`} {
			out, told, done := run(ctx, kubeconfig, "-o", format)
			Eventually(done, patience).Should(Receive(BeNil()))
			Expect(out).To(gbytes.Say(wanted))
			Expect(told.Contents()).To(BeEmpty())
		}
	})

	It("warns of an operator that is gone, and not of one that runs", func(ctx SpecContext) {
		lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: operatorLease}}
		Expect(k8s.Create(ctx, lease)).To(Succeed())
		DeferCleanup(func(ctx SpecContext) { Expect(k8s.Delete(ctx, lease)).To(Succeed()) })
		for ago, wanted := range map[time.Duration]string{0: "", 26 * time.Hour: "no operator has renewed its Lease for 26h"} {
			lease.Spec.RenewTime = new(metav1.NewMicroTime(time.Now().Add(-ago)))
			Expect(k8s.Update(ctx, lease)).To(Succeed())
			_, told, done := run(ctx, kubeconfig)
			Eventually(done, patience).Should(Receive(BeNil()))
			if wanted == "" {
				Expect(told.Contents()).To(BeEmpty())
				continue
			}
			Expect(told).To(gbytes.Say(wanted))
		}
	})

	It("is printed whenever it changes, also after an API server that was away", func(ctx SpecContext) {
		watching, interrupt := context.WithCancel(ctx)
		defer interrupt()
		server, away := between()
		out, told, done := run(watching, kubeconfigOf(server.URL), "--watch")
		Eventually(out, patience).Should(gbytes.Say(`v2\.9\.3`))
		releases(ctx, "v2.9.4")
		Eventually(out, patience).Should(gbytes.Say(`v2\.9\.4`))

		away.Store(true)
		server.CloseClientConnections()
		Eventually(told, patience).Should(gbytes.Say("the cluster does not answer, it is asked again"))
		releases(ctx, "v2.9.5")
		away.Store(false)
		Eventually(out, patience).Should(gbytes.Say(`v2\.9\.5`))
		Consistently(done, time.Second).ShouldNot(Receive())
		interrupt()
		Eventually(done, patience).Should(Receive(BeNil()))
	})

	It("says where there is none", func(ctx SpecContext) {
		_, _, done := run(ctx, kubeconfig, "-n", "nowhere")
		Eventually(done, patience).Should(Receive(MatchError(ContainSubstring(`there is no FluxReport in namespace "nowhere"`))))
	})
})

// between is a server in front of the API server, which can be made to answer as one that starts.
func between() (server *httptest.Server, away *atomic.Bool) {
	GinkgoHelper()
	target, err := url.Parse(testEnv.Config.Host)
	Expect(err).NotTo(HaveOccurred())
	if target.Host == "" {
		target, err = url.Parse("https://" + testEnv.Config.Host)
		Expect(err).NotTo(HaveOccurred())
	}
	transport, err := rest.TransportFor(testEnv.Config)
	Expect(err).NotTo(HaveOccurred())
	away = &atomic.Bool{}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }, Transport: transport, FlushInterval: -1}
	server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if away.Load() {
			http.Error(rw, "not yet", http.StatusServiceUnavailable)
			return
		}
		proxy.ServeHTTP(rw, r)
	}))
	DeferCleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server, away
}

// kubeconfigOf writes a kubeconfig for an address.
func kubeconfigOf(address string) string {
	GinkgoHelper()
	path := filepath.Join(GinkgoT().TempDir(), "kubeconfig")
	content := fmt.Sprintf("apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{name: c, cluster: {server: %q}}]\ncontexts: [{name: c, context: {cluster: c, user: u}}]\nusers: [{name: u}]\n", address)
	Expect(os.WriteFile(path, []byte(content), 0o600)).To(Succeed())
	return path
}
