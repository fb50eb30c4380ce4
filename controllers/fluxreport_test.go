package controllers_test

import (
	"context"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/types"
	appsv1 "k8s.io/api/apps/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apitypes "k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/transport"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/controllers"
	"github.com/flux-autopilot/flux-operator/pkg/apply"
	"github.com/flux-autopilot/flux-operator/pkg/report"
)

// startReporter runs the FluxReport controller alone, counting its requests, until the returned function is called. Its requests go through the wires.
func startReporter(wires ...transport.WrapperFunc) (stop func()) {
	_, stop = runReporter(wires...)
	return stop
}

// runReporter does it and returns the reconciler as well.
func runReporter(wires ...transport.WrapperFunc) (reporter *controllers.FluxReportReconciler, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	config := rest.CopyConfig(testEnv.Config)
	config.QPS = -1
	config.Wrap(requests.count)
	for _, wire := range wires {
		config.Wrap(wire)
	}
	here := map[string]cache.Config{namespace: {}}
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme: scheme, Metrics: metricsserver.Options{BindAddress: "0"}, HealthProbeBindAddress: "0",
		Controller: skipNameValidation(),
		Cache: cache.Options{ByObject: map[client.Object]cache.ByObject{
			&v1.FluxReport{}: {Namespaces: here}, &appsv1.Deployment{}: {Namespaces: here},
		}},
	})
	Expect(err).NotTo(HaveOccurred())
	writer, err := client.NewWithWatch(mgr.GetConfig(), client.Options{HTTPClient: mgr.GetHTTPClient(), Scheme: scheme, Mapper: mgr.GetRESTMapper()})
	Expect(err).NotTo(HaveOccurred())
	observer, err := report.NewObserver(mgr.GetConfig(), mgr.GetHTTPClient(), report.ObserverOptions{})
	Expect(err).NotTo(HaveOccurred())
	reporter = &controllers.FluxReportReconciler{
		Client: mgr.GetClient(), Reader: writer, Observer: observer, Applier: apply.New(writer, apply.Options{}), Namespace: namespace,
		Operator: v1.OperatorInfo{APIVersion: v1.GroupVersion.String(), Version: "1.2.3", Platform: "linux/amd64"},
		Server:   newAPIServer(mgr.GetConfig()),
	}
	Expect(reporter.SetupWithManager(mgr, controllers.Backoff{Min: 50 * time.Millisecond, Max: time.Second})).To(Succeed())
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	return reporter, func() {
		cancel()
		Eventually(done, soon).Should(Receive(Not(HaveOccurred())))
	}
}

// reported reads the report.
func reported(g Gomega, ctx context.Context) *v1.FluxReport { //nolint:revive // context-as-argument: Gomega comes first
	found := &v1.FluxReport{}
	g.Expect(k8s.Get(ctx, client.ObjectKey{Namespace: namespace, Name: v1.DefaultInstanceName}, found)).To(Succeed())
	return found
}

var _ = Describe("a FluxReport", func() {
	AfterEach(func(ctx context.Context) {
		Expect(client.IgnoreNotFound(k8s.Delete(ctx, &v1.FluxReport{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: v1.DefaultInstanceName}}))).To(Succeed())
	})

	It("is made at the start, made again when it is gone, and costs nothing while nothing changes", func(ctx context.Context) {
		DeferCleanup(startReporter())
		Eventually(func(g Gomega) {
			found := reported(g, ctx)
			g.Expect(found.Spec.Distribution.Status).To(Equal("Not Installed"))
			g.Expect(found.Spec.Operator.Version).To(Equal("1.2.3"))
			g.Expect(found.Spec.Cluster.ServerVersion).To(HavePrefix("v1."))
			g.Expect(found.Spec.Cluster.Platform).To(HavePrefix("linux/"))
			ready := apimeta.FindStatusCondition(found.Status.Conditions, "Ready")
			g.Expect(ready).NotTo(BeNil())
			g.Expect(ready.Status).To(Equal(metav1.ConditionTrue), ready.Message)
		}, soon, tick).Should(Succeed())

		Expect(k8s.Delete(ctx, reported(Default, ctx))).To(Succeed())
		Eventually(func(g Gomega) { reported(g, ctx) }, soon, tick).Should(Succeed())

		Eventually(func(g Gomega) {
			before := requests.sent.Load()
			g.Consistently(requests.sent.Load, 4*time.Second, time.Second).Should(Equal(before))
		}, soon).Should(Succeed())
	})

	It("tells of controllers that are not ready, and answers a request", func(ctx context.Context) {
		DeferCleanup(startReporter())
		deployment := controllerSelecting("source-controller", "")
		Expect(k8s.Create(ctx, deployment)).To(Succeed())
		DeferCleanup(func(ctx context.Context) { Expect(k8s.Delete(ctx, deployment)).To(Succeed()) })
		Eventually(func(g Gomega) {
			components := reported(g, ctx).Spec.ComponentsStatus
			g.Expect(components).To(HaveLen(1))
			g.Expect(components[0].Name).To(Equal("source-controller"))
			g.Expect(components[0].Ready).To(BeFalse())
			g.Expect(components[0].Image).To(Equal("example.com/source-controller:v1"))
		}, soon, tick).Should(Succeed())
		becomeAvailable(ctx)
		Eventually(func(g Gomega) { g.Expect(reported(g, ctx).Spec.ComponentsStatus[0].Ready).To(BeTrue()) },
			soon, tick).Should(Succeed())

		By("losing the label of the controller, beside a Deployment of somebody else")
		stranger := controllerSelecting("stranger", "")
		stranger.Labels = nil
		Expect(k8s.Create(ctx, stranger)).To(Succeed())
		DeferCleanup(func(ctx context.Context) { Expect(k8s.Delete(ctx, stranger)).To(Succeed()) })
		Expect(k8s.Patch(ctx, deployment, client.RawPatch(apitypes.MergePatchType, []byte(`{"metadata":{"labels":null}}`)))).To(Succeed())
		components := func(g Gomega) []v1.FluxComponentStatus { return reported(g, ctx).Spec.ComponentsStatus }
		Eventually(components, soon, tick).Should(BeEmpty(), "no instance owns it")
		instance := newInstance(nil)
		Expect(k8s.Create(ctx, instance)).To(Succeed())
		DeferCleanup(func(ctx context.Context) { Expect(k8s.Delete(ctx, fetch(ctx))).To(Succeed()) })
		instance.Status.Inventory = &v1.ResourceInventory{Entries: []v1.ResourceRef{{ID: namespace + "_source-controller_apps_Deployment", Version: "v1"}}}
		Expect(k8s.Status().Update(ctx, instance)).To(Succeed())
		Eventually(components, soon, tick).Should(ConsistOf(HaveField("Name", "source-controller")))

		base := reported(Default, ctx)
		asked := base.DeepCopy()
		asked.Annotations = map[string]string{"reconcile.fluxcd.io/requestedAt": "now"}
		Expect(k8s.Patch(ctx, asked, client.MergeFrom(base))).To(Succeed())
		Eventually(func(g Gomega) { g.Expect(reported(g, ctx).Status.LastHandledReconcileAt).To(Equal("now")) },
			soon, tick).Should(Succeed())
	})

	It("says when it was written last", func(ctx context.Context) {
		DeferCleanup(startReporter())
		ready := func(g Gomega) *metav1.Condition {
			condition := apimeta.FindStatusCondition(reported(g, ctx).Status.Conditions, "Ready")
			g.Expect(condition).NotTo(BeNil())
			return condition
		}
		Eventually(func(g Gomega) { g.Expect(ready(g).Status).To(Equal(metav1.ConditionTrue)) }, soon, tick).Should(Succeed())
		base := reported(Default, ctx)
		aged := base.DeepCopy()
		aged.Status.Conditions[0].LastTransitionTime = metav1.NewTime(time.Now().Add(-48 * time.Hour))
		Expect(k8s.Status().Patch(ctx, aged, client.MergeFrom(base))).To(Succeed())
		deployment := controllerSelecting("source-controller", "")
		Expect(k8s.Create(ctx, deployment)).To(Succeed())
		DeferCleanup(func(ctx context.Context) { Expect(k8s.Delete(ctx, deployment)).To(Succeed()) })
		Eventually(func(g Gomega) {
			found := reported(g, ctx)
			g.Expect(found.Spec.ComponentsStatus).To(HaveLen(1))
			condition := ready(g)
			g.Expect(condition.ObservedGeneration).To(Equal(found.Generation))
			g.Expect(condition.LastTransitionTime.Time).To(BeTemporally("~", time.Now(), time.Minute))
		}, soon, tick).Should(Succeed())
	})

	It("tells of an API server that was upgraded, and of one that does not say", func(ctx context.Context) {
		var api upgraded
		api.become("v1.35.1")
		DeferCleanup(startReporter(api.wrap))
		cluster := func(version string, stale types.GomegaMatcher) {
			GinkgoHelper()
			Eventually(func(g Gomega) {
				found := reported(g, ctx)
				g.Expect(found.Spec.Cluster.ServerVersion).To(Equal(version))
				g.Expect(found.Spec.Stale).To(stale)
			}, soon, tick).Should(Succeed())
		}
		cluster("v1.35.1", BeEmpty())
		ask := func(value string) {
			GinkgoHelper()
			patch := `{"metadata":{"annotations":{"reconcile.fluxcd.io/requestedAt":"` + value + `"}}}`
			Expect(k8s.Patch(ctx, reported(Default, ctx), client.RawPatch(apitypes.MergePatchType, []byte(patch)))).To(Succeed())
		}
		api.become("v1.36.3")
		ask("after the upgrade")
		cluster("v1.36.3", BeEmpty())

		api.become("")
		ask("while it is away")
		cluster("v1.36.3", ConsistOf(And(HaveField("Part", "cluster"), HaveField("Message", ContainSubstring("version of the API server")))))
	})

	It("stays as it is while it is disabled, and the metrics go on", func(ctx context.Context) {
		var api upgraded
		api.become("v1.36.3")
		reporter, stop := runReporter(api.wrap)
		DeferCleanup(stop)
		Eventually(func(g Gomega) { g.Expect(reported(g, ctx).Spec.ComponentsStatus).To(BeEmpty()) }, soon, tick).Should(Succeed())
		annotate := func(value string) {
			GinkgoHelper()
			patch := `{"metadata":{"annotations":{"` + v1.ReconcileAnnotation + `":` + value + `}}}`
			Expect(k8s.Patch(ctx, reported(Default, ctx), client.RawPatch(apitypes.MergePatchType, []byte(patch)))).To(Succeed())
		}
		annotate(`"disabled"`)
		deployment := controllerSelecting("source-controller", "")
		Expect(k8s.Create(ctx, deployment)).To(Succeed())
		DeferCleanup(func(ctx context.Context) { Expect(k8s.Delete(ctx, deployment)).To(Succeed()) })
		Eventually(reporter.Components, soon, tick).Should(ConsistOf(HaveField("Ready", false)))
		becomeAvailable(ctx)
		Eventually(reporter.Components, soon, tick).Should(ConsistOf(HaveField("Ready", true)))
		Expect(reported(Default, ctx).Spec.ComponentsStatus).To(BeEmpty())

		By("asking it for something that it answers once it is not disabled any more")
		asked := api.asked.Load()
		request := `{"metadata":{"annotations":{"reconcile.fluxcd.io/requestedAt":"then"}}}`
		Expect(k8s.Patch(ctx, reported(Default, ctx), client.RawPatch(apitypes.MergePatchType, []byte(request)))).To(Succeed())
		Expect(k8s.Patch(ctx, deployment, client.RawPatch(apitypes.MergePatchType, []byte(`{"spec":{"replicas":3}}`)))).To(Succeed())
		Eventually(reporter.Components, soon, tick).Should(ConsistOf(HaveField("Ready", false)))
		Expect(api.asked.Load()).To(Equal(asked))

		annotate("null")
		Eventually(func(g Gomega) {
			found := reported(g, ctx)
			g.Expect(found.Spec.ComponentsStatus).To(HaveLen(1))
			g.Expect(found.Status.LastHandledReconcileAt).To(Equal("then"))
		}, soon, tick).Should(Succeed())
		Expect(api.asked.Load()).To(BeNumerically(">", asked))
	})
})
