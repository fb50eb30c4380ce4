package controllers_test

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/artifact"
	"github.com/flux-autopilot/flux-operator/pkg/render"
)

// journeyTime is what an upgrade through several releases may take, with the pauses that changed definitions need.
const journeyTime = 3 * time.Minute

func storedVersions(ctx context.Context, name string) []string {
	GinkgoHelper()
	crd := &apiextensionsv1.CustomResourceDefinition{}
	Expect(k8s.Get(ctx, client.ObjectKey{Name: name}, crd)).To(Succeed())
	return crd.Status.StoredVersions
}

var _ = Describe("Stored objects", Ordered, func() {
	var stop func()

	BeforeAll(func() { stop = startOperator() })
	AfterAll(func() { stop() })
	AfterEach(func(ctx SpecContext) {
		instance := newInstance(nil)
		Expect(client.IgnoreNotFound(k8s.Delete(ctx, instance))).To(Succeed())
		Eventually(func() bool {
			return apierrors.IsNotFound(k8s.Get(ctx, client.ObjectKeyFromObject(instance), instance))
		}, soon, tick).Should(BeTrue(), "the instance should be let go")
	})

	It("are carried from 2.2 to the newest release in one go, through the releases in between", func(ctx SpecContext) {
		Expect(k8s.Create(ctx, newInstance(func(i *v1.FluxInstance) { i.Spec.Distribution.Version = "2.2.3" }))).To(Succeed())
		expectReady(ctx)
		helm := &unstructured.Unstructured{Object: map[string]any{
			"spec": map[string]any{"interval": "10m", "url": "oci://example.com/charts", "type": "oci"},
		}}
		helm.SetGroupVersionKind(schema.GroupVersionKind{Group: "source.toolkit.fluxcd.io", Version: "v1beta2", Kind: "HelmRepository"})
		helm.SetNamespace(namespace)
		helm.SetName("charts")
		createCustom(ctx, helm)
		uid := helm.GetUID()
		const crd = "helmrepositories.source.toolkit.fluxcd.io"
		Expect(storedVersions(ctx, crd)).To(Equal([]string{"v1beta2"}))

		change(ctx, func(i *v1.FluxInstance) { i.Spec.Distribution.Version = "2.9.4" })
		var legs []string
		Eventually(func(g Gomega) {
			becomeAvailable(ctx)
			instance := fetch(ctx)
			legs = legs[:0]
			for _, snapshot := range instance.Status.History {
				legs = append(legs, snapshot.Metadata["flux"])
			}
			g.Expect(instance.Status.LastAppliedRevision).To(HavePrefix("v2.9.4@"), "%v", instance.Status.Conditions)
		}, journeyTime, tick).Should(Succeed())
		expectReady(ctx)
		Expect(storedVersions(ctx, crd)).To(Equal([]string{"v1"}))
		helm.SetAPIVersion("source.toolkit.fluxcd.io/v1")
		Expect(k8s.Get(ctx, client.ObjectKeyFromObject(helm), helm)).To(Succeed())
		Expect(helm.GetUID()).To(Equal(uid))
		Expect(legs).To(Equal([]string{"v2.9.4", "v2.7.5", "v2.2.3"}), "the history should name the releases on the way")
	})

	It("are looked at again when somebody forces it, whatever was done before", func(ctx SpecContext) {
		Expect(k8s.Create(ctx, newInstance(func(i *v1.FluxInstance) { i.Spec.Distribution.Version = "2.6.4" }))).To(Succeed())
		expectReady(ctx)
		crd := &apiextensionsv1.CustomResourceDefinition{}
		Expect(k8s.Get(ctx, client.ObjectKey{Name: "helmrepositories.source.toolkit.fluxcd.io"}, crd)).To(Succeed())
		crd.Status.StoredVersions = []string{"v1beta2", "v1"}
		Expect(k8s.Status().Update(ctx, crd)).To(Succeed())

		change(ctx, func(i *v1.FluxInstance) { i.Annotations = map[string]string{meta.ReconcileRequestAnnotation: "1"} })
		Eventually(func() string { return fetch(ctx).Status.LastHandledReconcileAt }, soon, tick).Should(Equal("1"))
		Expect(storedVersions(ctx, crd.Name)).To(HaveLen(2), "an ordinary request asks nobody about stored versions")

		change(ctx, func(i *v1.FluxInstance) {
			i.Annotations = map[string]string{meta.ReconcileRequestAnnotation: "2", meta.ForceRequestAnnotation: "2"}
		})
		Eventually(func() []string { return storedVersions(ctx, crd.Name) }, soon, tick).Should(Equal([]string{"v1"}))
		Expect(expectReady(ctx).Status.LastHandledForceAt).To(Equal("2"))
	})

	It("are looked at by the pass that succeeds, where the one that was forced failed", func(ctx SpecContext) {
		Expect(k8s.Create(ctx, newInstance(func(i *v1.FluxInstance) { i.Spec.Wait = new(bool) }))).To(Succeed())
		expectReady(ctx)
		crd := &apiextensionsv1.CustomResourceDefinition{}
		Expect(k8s.Get(ctx, client.ObjectKey{Name: "helmrepositories.source.toolkit.fluxcd.io"}, crd)).To(Succeed())
		deployment := &appsv1.Deployment{}
		Expect(exists(ctx, deployment, "kustomize-controller")).To(Succeed())
		unready := deployment.DeepCopy()
		unready.Status = appsv1.DeploymentStatus{ObservedGeneration: deployment.Generation}
		Expect(k8s.Status().Patch(ctx, unready, client.MergeFrom(deployment))).To(Succeed())

		change(ctx, func(i *v1.FluxInstance) {
			i.Spec.Wait = nil
			i.Annotations = map[string]string{
				v1.ReconcileTimeoutAnnotation: "1s", meta.ReconcileRequestAnnotation: "1", meta.ForceRequestAnnotation: "1",
			}
		})
		expectFailure(ctx, v1.ReasonHealthCheckFailed)
		Expect(fetch(ctx).Status.LastHandledReconcileAt).To(Equal("1"))
		Expect(fetch(ctx).Status.LastHandledForceAt).To(BeEmpty())
		// A definition that claims to be clean is looked at by a forced pass alone, which says so.
		change(ctx, func(i *v1.FluxInstance) { i.Spec.Wait = new(bool) })
		Expect(expectReady(ctx).Status.LastHandledForceAt).To(Equal("1"))
	})

	It("do not keep a failed upgrade from being taken back", func(ctx SpecContext) {
		const crd = "ocirepositories.source.toolkit.fluxcd.io"
		Expect(k8s.Create(ctx, newInstance(func(i *v1.FluxInstance) { i.Spec.Distribution.Version = "2.5.1" }))).To(Succeed())
		expectReady(ctx)
		repository := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"interval": "10m", "url": "oci://example.com/app"}}}
		repository.SetGroupVersionKind(schema.GroupVersionKind{Group: "source.toolkit.fluxcd.io", Version: "v1beta2", Kind: "OCIRepository"})
		repository.SetNamespace(namespace)
		repository.SetName("app")
		createCustom(ctx, repository)

		change(ctx, func(i *v1.FluxInstance) {
			i.Spec.Distribution.Version = "2.6.4"
			i.Annotations = map[string]string{v1.ReconcileTimeoutAnnotation: "1s"}
		})
		expectFailure(ctx, v1.ReasonHealthCheckFailed)
		Expect(storedVersions(ctx, crd)).To(ContainElement("v1"))
		Expect(fetch(ctx).Status.LastAppliedRevision).To(HavePrefix("v2.5.1@"))

		change(ctx, func(i *v1.FluxInstance) { i.Spec.Distribution.Version = "2.5.1" })
		Expect(expectReady(ctx).Status.LastAppliedRevision).To(HavePrefix("v2.5.1@"))
		Expect(storedVersions(ctx, crd)).To(Equal([]string{"v1beta2"}))
		Expect(k8s.Get(ctx, client.ObjectKeyFromObject(repository), repository)).To(Succeed())
	})

	It("of an added component go through releases in between, where its definitions were left by an old one", func(ctx SpecContext) {
		const crd = "imagerepositories.image.toolkit.fluxcd.io"
		left := leftByReflector(ctx, "v2.6.4")
		image := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"interval": "10m", "image": "ghcr.io/example/app"}}}
		image.SetGroupVersionKind(schema.GroupVersionKind{Group: "image.toolkit.fluxcd.io", Version: "v1beta2", Kind: "ImageRepository"})
		image.SetNamespace(namespace)
		image.SetName("app")
		createCustom(ctx, image)
		uid := image.GetUID()
		Expect(k8s.Create(ctx, newInstance(nil))).To(Succeed())
		expectReady(ctx)
		Expect(storedVersions(ctx, crd)).To(Equal([]string{"v1beta2"}))

		change(ctx, func(i *v1.FluxInstance) { i.Spec.Components = append(i.Spec.Components, v1.ImageReflectorController) })
		Eventually(func(g Gomega) {
			becomeAvailable(ctx)
			ready := apimeta.FindStatusCondition(fetch(ctx).Status.Conditions, meta.ReadyCondition)
			g.Expect(ready.Status).To(Equal(metav1.ConditionTrue), ready.Message)
			g.Expect(ready.ObservedGeneration).To(Equal(fetch(ctx).Generation))
		}, journeyTime, tick).Should(Succeed())
		for _, obj := range left {
			Expect(storedVersions(ctx, obj.GetName())).To(Equal([]string{"v1"}))
		}
		image.SetAPIVersion("image.toolkit.fluxcd.io/v1")
		Expect(k8s.Get(ctx, client.ObjectKeyFromObject(image), image)).To(Succeed())
		Expect(image.GetUID()).To(Equal(uid))
		for _, snapshot := range fetch(ctx).Status.History {
			Expect(snapshot.Metadata).To(HaveKeyWithValue("flux", "v2.9.4"), "what runs never went back")
		}
	})
})

// leftByReflector brings the definitions of image-reflector-controller into the cluster, in a release, as flux install does.
func leftByReflector(ctx context.Context, release string) []*unstructured.Unstructured {
	GinkgoHelper()
	catalog, err := artifact.Builtin(distribution)
	Expect(err).NotTo(HaveOccurred())
	defer func() { Expect(catalog.Close()).To(Succeed()) }()
	set, err := render.Render(catalog.FS, release, newInstance(func(i *v1.FluxInstance) { i.Spec.Components = append(i.Spec.Components, v1.ImageReflectorController) }))
	Expect(err).NotTo(HaveOccurred())
	left := slices.DeleteFunc(set.Objects, func(obj *unstructured.Unstructured) bool {
		return obj.GetKind() != "CustomResourceDefinition" || !strings.HasSuffix(obj.GetName(), ".image.toolkit.fluxcd.io")
	})
	Expect(left).NotTo(BeEmpty())
	for _, obj := range left {
		obj.SetLabels(nil)
		Eventually(func() bool { return isLeaving(ctx, obj) }, soon, tick).Should(BeFalse(), obj.GetName())
		Expect(k8s.Apply(ctx, client.ApplyConfigurationFromUnstructured(obj.DeepCopy()), client.ForceOwnership, client.FieldOwner("flux"))).To(Succeed())
	}
	return left
}
