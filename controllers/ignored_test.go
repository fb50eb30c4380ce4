package controllers_test

import (
	"context"
	"time"

	"github.com/fluxcd/pkg/apis/kustomize"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// told returns how often events with a reason were emitted for the instance.
func told(ctx context.Context, reason string) (times int32) {
	GinkgoHelper()
	events := &corev1.EventList{}
	Expect(k8s.List(ctx, events, client.InNamespace(namespace))).To(Succeed())
	for i := range events.Items {
		if events.Items[i].Reason == reason {
			times += max(events.Items[i].Count, 1)
		}
	}
	return times
}

var _ = Describe("Fields that others manage", Ordered, func() {
	var stop func()

	BeforeAll(func() { stop = startOperator() })
	AfterAll(func() { stop() })
	AfterEach(letGo)

	It("are left alone, without passes for ever, while the rest is put back", func(ctx SpecContext) {
		Expect(k8s.Create(ctx, newInstance(func(in *v1.FluxInstance) {
			in.Spec.Components = []v1.Component{v1.SourceController}
			in.Spec.Kustomize = &v1.Kustomize{Patches: []kustomize.Patch{{
				Target: &kustomize.Selector{Kind: "Deployment", Name: "source-controller"},
				Patch: `[{"op":"add","path":"/metadata/annotations/fluxcd.controlplane.io~1ignoreFields",` +
					`"value":"/spec/replicas,/spec/template/spec/containers/0/resources"}]`,
			}}}
		}))).To(Succeed())
		expectReady(ctx)
		corrected := told(ctx, v1.ReasonDriftCorrected)

		By("having somebody else set them")
		set := func(mutate func(*appsv1.Deployment)) {
			deployment := &appsv1.Deployment{}
			Expect(exists(ctx, deployment, "source-controller")).To(Succeed())
			base := deployment.DeepCopy()
			mutate(deployment)
			Expect(k8s.Patch(ctx, deployment, client.StrategicMergeFrom(base), client.FieldOwner("recommender"))).To(Succeed())
		}
		memory := resource.MustParse("3Gi")
		before := requests.sent.Load()
		set(func(d *appsv1.Deployment) {
			d.Spec.Template.Spec.Containers[0].Resources.Limits[corev1.ResourceMemory] = memory
		})
		Eventually(func() int64 { return requests.sent.Load() - before }, soon, tick).Should(BeNumerically(">=", 2), "a look at what was changed")
		becomeAvailable(ctx)
		expectReady(ctx)
		settled := settle()
		Consistently(requests.sent.Load, 2*time.Second, tick).Should(Equal(settled))
		deployment := &appsv1.Deployment{}
		Expect(exists(ctx, deployment, "source-controller")).To(Succeed())
		Expect(deployment.Spec.Template.Spec.Containers[0].Resources.Limits.Memory().String()).To(Equal("3Gi"))
		Expect(told(ctx, v1.ReasonDriftCorrected)).To(Equal(corrected))

		By("having somebody change something else")
		set(func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Args = []string{"--wrong"} })
		Eventually(func(g Gomega) {
			g.Expect(exists(ctx, deployment, "source-controller")).To(Succeed())
			g.Expect(deployment.Spec.Template.Spec.Containers[0].Args).To(ContainElement("--enable-leader-election"))
		}, soon, tick).Should(Succeed())
		Expect(deployment.Spec.Template.Spec.Containers[0].Resources.Limits.Memory().String()).To(Equal("3Gi"))
		expectReady(ctx)
		Eventually(func() int32 { return told(ctx, v1.ReasonDriftCorrected) }, soon, tick).Should(Equal(corrected + 1))
	})

	It("is refused when they cannot be told apart, before anything is applied", func(ctx SpecContext) {
		Expect(k8s.Create(ctx, newInstance(func(in *v1.FluxInstance) {
			in.Spec.CommonMetadata = &v1.CommonMetadata{Annotations: map[string]string{v1.IgnoreFieldsAnnotation: "spec.replicas"}}
		}))).To(Succeed())
		Expect(expectFailure(ctx, v1.ReasonPreflightFailed)).To(HavePrefix("spec.commonMetadata.annotations: "))
		Expect(exists(ctx, &appsv1.Deployment{}, "source-controller")).NotTo(Succeed())
	})
})
