package controllers_test

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

var _ = Describe("Storage", Ordered, func() {
	var stop func()

	BeforeAll(func() { stop = startOperator() })
	AfterAll(func() { stop() })
	AfterEach(letGo)

	It("grows volumes and refuses to shrink or exchange them before anything is changed", func(ctx SpecContext) {
		elastic := true
		class := &storagev1.StorageClass{ObjectMeta: metav1Name("elastic"), Provisioner: "example.com/none", AllowVolumeExpansion: &elastic}
		Expect(k8s.Create(ctx, class)).To(Succeed())
		DeferCleanup(k8s.Delete, class)
		Expect(k8s.Create(ctx, newInstance(func(in *v1.FluxInstance) {
			in.Spec.Components = []v1.Component{v1.SourceController}
			in.Spec.Storage = &v1.Storage{Class: "elastic", Size: "2Gi"}
		}))).To(Succeed())
		running := expectReady(ctx)

		By("giving the claim its volume")
		claim := &corev1.PersistentVolumeClaim{}
		Expect(exists(ctx, claim, "source-controller")).To(Succeed())
		claim.Finalizers = nil // nobody would take away what keeps claims from being deleted while they are used
		claim.Spec.VolumeName = "volume"
		Expect(k8s.Update(ctx, claim)).To(Succeed())
		claim.Status = corev1.PersistentVolumeClaimStatus{
			Phase: corev1.ClaimBound, Capacity: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("2Gi")},
		}
		Expect(k8s.Status().Update(ctx, claim)).To(Succeed())
		source := &appsv1.Deployment{}
		Expect(exists(ctx, source, "source-controller")).To(Succeed())

		for _, refused := range []struct {
			field  string
			change func(*v1.FluxInstance)
		}{
			{"spec.storage.size", func(in *v1.FluxInstance) { in.Spec.Storage.Size = "1Gi" }},
			{"spec.storage.class", func(in *v1.FluxInstance) { in.Spec.Storage.Class = "rigid" }},
		} {
			change(ctx, func(in *v1.FluxInstance) {
				in.Spec.CommonMetadata = &v1.CommonMetadata{Labels: map[string]string{"refused": "yes"}}
				refused.change(in)
			})
			Eventually(func() string { return expectFailure(ctx, v1.ReasonPreflightFailed) }, soon, tick).Should(HavePrefix(refused.field + ": "))
			instance := fetch(ctx)
			Expect(instance.Status.LastAppliedRevision).To(Equal(running.Status.LastAppliedRevision))
			untouched := &appsv1.Deployment{}
			Expect(exists(ctx, untouched, "source-controller")).To(Succeed())
			Expect(untouched.ResourceVersion).To(Equal(source.ResourceVersion))
			change(ctx, func(in *v1.FluxInstance) { in.Spec = running.Spec })
			expectReady(ctx)
		}

		change(ctx, func(in *v1.FluxInstance) { in.Spec.Storage.Size = "4Gi" })
		expectReady(ctx)
		grown := &corev1.PersistentVolumeClaim{}
		Expect(k8s.Get(ctx, client.ObjectKeyFromObject(claim), grown)).To(Succeed())
		Expect(grown.UID).To(Equal(claim.UID))
		Expect(grown.Spec.Resources.Requests.Storage().String()).To(Equal("4Gi"))
	})
})
