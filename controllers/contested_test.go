package controllers_test

import (
	"context"
	"fmt"
	"time"

	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/fluxcd/pkg/apis/meta"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// coolDown is for how long the operator under test leaves contested objects alone at first: longer than a pass that was asked for, and than it takes to
// see that nothing is sent, on a busy machine.
const coolDown = 15 * time.Second

// contend changes the label x of source-controller again and again, until the returned function is called.
func contend() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer GinkgoRecover()
		defer close(done)
		ticker := time.NewTicker(20 * time.Millisecond)
		defer ticker.Stop()
		for i := 0; ; i++ {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"labels":{"x":"theirs-%d"}}}`, i))
			deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "source-controller"}}
			err := k8s.Patch(ctx, deployment, patch, client.FieldOwner("rival"))
			if ctx.Err() == nil {
				Expect(client.IgnoreNotFound(err)).To(Succeed())
			}
		}
	}()
	return func() {
		cancel()
		Eventually(done, soon).Should(BeClosed())
	}
}

// measured returns the sum of those series of a metric that have all of these labels.
func measured(name string, labels map[string]string) (sum float64) {
	GinkgoHelper()
	families, err := metrics.Registry.Gather()
	Expect(err).NotTo(HaveOccurred())
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, series := range family.GetMetric() {
			matching := 0
			for _, label := range series.GetLabel() {
				if labels[label.GetName()] == label.GetValue() {
					matching++
				}
			}
			if matching == len(labels) {
				sum += series.GetCounter().GetValue() + series.GetGauge().GetValue()
			}
		}
	}
	return sum
}

func corrections() float64 {
	GinkgoHelper()
	return measured("flux_operator_drift_corrections_total", map[string]string{"kind": "Deployment", "namespace": namespace, "name": "source-controller"})
}

func contested(ctx context.Context) *metav1.Condition {
	GinkgoHelper()
	return apimeta.FindStatusCondition(fetch(ctx).Status.Conditions, v1.ContestedCondition)
}

// said returns the messages of events about the instance with a reason.
func said(ctx context.Context, reason string) (messages []string) {
	GinkgoHelper()
	events := &corev1.EventList{}
	Expect(k8s.List(ctx, events, client.InNamespace(namespace))).To(Succeed())
	for i := range events.Items {
		if events.Items[i].Reason == reason {
			messages = append(messages, events.Items[i].Message)
		}
	}
	return messages
}

func labelX(ctx context.Context) string {
	GinkgoHelper()
	deployment := &appsv1.Deployment{}
	Expect(exists(ctx, deployment, "source-controller")).To(Succeed())
	return deployment.Labels["x"]
}

// labeled gives source-controller a label that somebody else can fight over.
func labeled(in *v1.FluxInstance) {
	in.Spec.Components = []v1.Component{v1.SourceController}
	in.Spec.Kustomize = &v1.Kustomize{Patches: []kustomize.Patch{{
		Target: &kustomize.Selector{Kind: "Deployment", Name: "source-controller"},
		Patch:  `[{"op":"add","path":"/metadata/labels/x","value":"ours"}]`,
	}}}
}

var _ = Describe("Contested fields", Ordered, func() {
	var stop func()

	BeforeAll(func() { stop = startOperator() })
	AfterAll(func() { stop() })
	AfterEach(letGo)

	It("are left alone for a while, with a word who contests them, and put back once nobody does", func(ctx SpecContext) {
		Expect(k8s.Create(ctx, newInstance(labeled))).To(Succeed())
		expectReady(ctx)
		told0, corrected0, counted := told(ctx, v1.ReasonFieldsContested), told(ctx, v1.ReasonDriftCorrected), corrections()

		By("fighting over a label")
		end := contend()
		DeferCleanup(func() { end() })
		Eventually(func(g Gomega) { g.Expect(contested(ctx)).NotTo(BeNil()) }, soon, tick).Should(Succeed())
		condition := contested(ctx)
		Expect(condition.Status).To(Equal(metav1.ConditionTrue))
		Expect(condition.Reason).To(Equal(v1.ReasonFieldsContested))
		Expect(condition.Message).To(ContainSubstring("Deployment/flux-system/source-controller (rival: .metadata.labels.x)"))
		Expect(corrections() - counted).To(BeNumerically("==", 5))
		gauge := map[string]string{"kind": "Deployment", "namespace": namespace, "name": "source-controller", "manager": "rival"}
		Expect(measured("flux_operator_contested_objects", gauge)).To(BeNumerically("==", 1))
		Expect(isReady(ctx)).To(BeTrue())

		By("leaving it to the rival, without a request")
		Eventually(func() int32 { return told(ctx, v1.ReasonDriftCorrected) }, soon, tick).Should(BeNumerically(">", corrected0))
		Expect(said(ctx, v1.ReasonDriftCorrected)).To(ContainElement(
			ContainSubstring("Deployment/flux-system/source-controller configured (rival: .metadata.labels.x)")))
		Eventually(func() int32 { return told(ctx, v1.ReasonFieldsContested) }, soon, tick).Should(Equal(told0 + 1))
		settled := settle()
		Consistently(requests.sent.Load, time.Second, tick).Should(Equal(settled))
		Expect(labelX(ctx)).To(HavePrefix("theirs-"))

		By("putting back whatever else is changed")
		service := &corev1.Service{}
		Expect(exists(ctx, service, "source-controller")).To(Succeed())
		Expect(k8s.Delete(ctx, service)).To(Succeed())
		Eventually(func() error { return exists(ctx, service, "source-controller") }, soon, tick).Should(Succeed())

		By("trying again after the cool-down")
		Eventually(corrections, soon, tick).Should(BeNumerically("==", counted+6))
		Consistently(corrections, 2*time.Second, tick).Should(BeNumerically("==", counted+6))
		Expect(contested(ctx)).NotTo(BeNil())
		end()
		Eventually(func() string { return labelX(ctx) }, soon, tick).Should(Equal("ours"))
		Eventually(func() *metav1.Condition { return contested(ctx) }, soon, tick).Should(BeNil())
		Expect(corrections() - counted).To(BeNumerically("==", 7))
		Expect(measured("flux_operator_contested_objects", nil)).To(BeZero())
		Expect(told(ctx, v1.ReasonFieldsContested)).To(Equal(told0+1), "one event for the whole fight")
		Expect(isReady(ctx)).To(BeTrue())
	})

	It("are put back at once when something else is asked for", func(ctx SpecContext) {
		Expect(k8s.Create(ctx, newInstance(labeled))).To(Succeed())
		expectReady(ctx)
		end := contend()
		DeferCleanup(func() { end() })
		Eventually(func(g Gomega) { g.Expect(contested(ctx)).NotTo(BeNil()) }, soon, tick).Should(Succeed())
		end()
		Expect(labelX(ctx)).To(HavePrefix("theirs-"))
		asked := time.Now()
		change(ctx, func(in *v1.FluxInstance) {
			in.Annotations = map[string]string{"reconcile.fluxcd.io/requestedAt": "now"}
		})
		Eventually(func() string { return labelX(ctx) }, coolDown, tick).Should(Equal("ours"))
		Eventually(func() *metav1.Condition { return contested(ctx) }, soon, tick).Should(BeNil())
		Expect(time.Since(asked)).To(BeNumerically("<", coolDown))
	})

	It("keep nobody from waiting for the rest", func(ctx SpecContext) {
		Expect(k8s.Create(ctx, newInstance(labeled))).To(Succeed())
		expectReady(ctx)
		told0, counted := told(ctx, v1.ReasonFieldsContested), corrections()
		change(ctx, func(in *v1.FluxInstance) { in.Spec.Components = append(in.Spec.Components, v1.KustomizeController) })
		Eventually(func() error { return exists(ctx, &appsv1.Deployment{}, "kustomize-controller") }, soon, tick).Should(Succeed())
		end := contend()
		DeferCleanup(func() { end() })
		Eventually(func() int32 { return told(ctx, v1.ReasonFieldsContested) }, soon, tick).Should(Equal(told0 + 1))
		Expect(isReady(ctx)).To(BeFalse(), "nothing has become available yet")
		expectReady(ctx)
		Expect(contested(ctx)).NotTo(BeNil())
		Expect(corrections() - counted).To(BeNumerically("<=", 6))
		end()
		Eventually(func() *metav1.Condition { return contested(ctx) }, soon, tick).Should(BeNil())
	})
})

func isReady(ctx context.Context) bool {
	GinkgoHelper()
	return apimeta.IsStatusConditionTrue(fetch(ctx).Status.Conditions, meta.ReadyCondition)
}
