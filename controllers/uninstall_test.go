package controllers_test

import (
	"context"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

const (
	kustomizationsCRD = "kustomizations.kustomize.toolkit.fluxcd.io"
	generatorsCRD     = "artifactgenerators.source.extensions.fluxcd.io"
)

// runningPod makes a pod of a controller as its ReplicaSet would. It stays when it is deleted: there is no node to end it.
func runningPod(ctx context.Context, controller string) *corev1.Pod {
	GinkgoHelper()
	const hash = "5d4f8c7b9"
	owns := true
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: controller + "-" + hash + "-", Namespace: namespace,
			Labels: map[string]string{"app": controller, appsv1.DefaultDeploymentUniqueLabelKey: hash},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "apps/v1", Kind: "ReplicaSet", Name: controller + "-" + hash, UID: "1", Controller: &owns,
			}},
		},
		Spec: corev1.PodSpec{NodeName: "node", Containers: []corev1.Container{{Name: "manager", Image: "example.com/x"}}},
	}
	Expect(k8s.Create(ctx, pod)).To(Succeed())
	end := func(ctx context.Context) {
		Expect(client.IgnoreNotFound(k8s.Delete(ctx, pod, client.GracePeriodSeconds(0)))).To(Succeed())
	}
	DeferCleanup(end)
	return pod
}

// kustomization is an object of a user, held by kustomize-controller as it is held when it runs.
func kustomization(ctx context.Context, name string) *unstructured.Unstructured {
	GinkgoHelper()
	return kustomizationIn(ctx, namespace, name)
}

// kustomizationIn is the same in another namespace.
func kustomizationIn(ctx context.Context, namespace, name string) *unstructured.Unstructured {
	GinkgoHelper()
	obj := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{
		"interval": "10m", "prune": true, "sourceRef": map[string]any{"kind": "GitRepository", "name": name},
	}}}
	obj.SetAPIVersion("kustomize.toolkit.fluxcd.io/v1")
	obj.SetKind("Kustomization")
	obj.SetNamespace(namespace)
	obj.SetName(name)
	obj.SetFinalizers([]string{"finalizers.fluxcd.io"})
	createCustom(ctx, obj)
	return obj
}

// generator is an object of a user, held by source-watcher as it is held when it runs: by another finalizer than all others.
func generator(ctx context.Context, name string) {
	GinkgoHelper()
	obj := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{
		"sources":   []any{map[string]any{"alias": "app", "kind": "GitRepository", "name": name}},
		"artifacts": []any{map[string]any{"name": name, "copy": []any{map[string]any{"from": "@app/**", "to": "@artifact/"}}}},
	}}}
	obj.SetAPIVersion("source.extensions.fluxcd.io/v1beta1")
	obj.SetKind("ArtifactGenerator")
	obj.SetNamespace(namespace)
	obj.SetName(name)
	obj.SetFinalizers([]string{"source.extensions.fluxcd.io/finalizer"})
	createCustom(ctx, obj)
	DeferCleanup(free, obj)
}

func defined(ctx context.Context, crd string) error {
	definition := &apiextensionsv1.CustomResourceDefinition{}
	if err := k8s.Get(ctx, client.ObjectKey{Name: crd}, definition); err != nil {
		return err
	}
	if definition.DeletionTimestamp != nil {
		return apierrors.NewNotFound(apiextensionsv1.Resource("customresourcedefinitions"), crd)
	}
	return nil
}

var _ = Describe("Removing controllers", Ordered, func() {
	var stop func()

	BeforeEach(func(ctx SpecContext) {
		stop = startOperator()
		Expect(k8s.Create(ctx, newInstance(nil))).To(Succeed())
		expectReady(ctx)
	})
	AfterEach(letGo)
	AfterEach(func() { stop() })

	It("waits for the pods of a controller that a former pass stopped, and asks deaf ones once more", func(ctx SpecContext) {
		pod := runningPod(ctx, "kustomize-controller")
		By("ending the operator in the midst of an uninstall")
		stop()
		Expect(k8s.Delete(ctx, newInstance(nil))).To(Succeed())
		Expect(k8s.Delete(ctx, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "kustomize-controller", Namespace: namespace}})).To(Succeed())
		Expect(k8s.Delete(ctx, pod, client.GracePeriodSeconds(600))).To(Succeed())
		stop = startOperator()

		Eventually(func(g Gomega) {
			g.Expect(k8s.Get(ctx, client.ObjectKeyFromObject(pod), pod)).To(Succeed())
			g.Expect(*pod.DeletionGracePeriodSeconds).To(BeEquivalentTo(1), "it had its time")
		}, 2*soon, tick).Should(Succeed())
		Expect(defined(ctx, kustomizationsCRD)).To(Succeed(), "nothing else is removed while the controller runs")
		Expect(apimeta.FindStatusCondition(fetch(ctx).Status.Conditions, meta.ReadyCondition).Reason).To(Equal(v1.ReasonUninstalling))

		Expect(k8s.Delete(ctx, pod, client.GracePeriodSeconds(0))).To(Succeed())
		Eventually(func() bool {
			return apierrors.IsNotFound(exists(ctx, &v1.FluxInstance{}, v1.DefaultInstanceName))
		}, soon, tick).Should(BeTrue())
	})

	It("keeps what was deployed when the component that deployed it goes", func(ctx SpecContext) {
		app := kustomization(ctx, "app")
		pod := runningPod(ctx, "kustomize-controller")
		change(ctx, func(in *v1.FluxInstance) { in.Spec.Components = []v1.Component{v1.SourceController} })
		Eventually(func() bool {
			return apierrors.IsNotFound(exists(ctx, &appsv1.Deployment{}, "kustomize-controller"))
		}, soon, tick).Should(BeTrue())
		Consistently(func(g Gomega) {
			becomeAvailable(ctx)
			g.Expect(defined(ctx, kustomizationsCRD)).To(Succeed())
			g.Expect(k8s.Get(ctx, client.ObjectKeyFromObject(app), app)).To(Succeed())
			g.Expect(app.GetDeletionTimestamp()).To(BeNil(), "the controller would remove what it deployed")
		}, 2*time.Second, tick).Should(Succeed())

		Expect(k8s.Delete(ctx, pod, client.GracePeriodSeconds(0))).To(Succeed())
		expectReady(ctx)
		Eventually(func() error { return defined(ctx, kustomizationsCRD) }, soon, tick).ShouldNot(Succeed())
		Eventually(func() bool {
			return apierrors.IsNotFound(k8s.Get(ctx, client.ObjectKey{Name: kustomizationsCRD}, &apiextensionsv1.CustomResourceDefinition{}))
		}, soon, tick).Should(BeTrue(), "no finalizer should keep the definition")
	})

	It("takes source-watcher along with its generators, and brings it back", func(ctx SpecContext) {
		watching := func(in *v1.FluxInstance) { in.Spec.Components = append(in.Spec.Components, v1.SourceWatcher) }
		change(ctx, watching)
		expectReady(ctx)
		generator(ctx, "app")
		change(ctx, func(in *v1.FluxInstance) { in.Spec.Components = newInstance(nil).Spec.Components })
		expectReady(ctx)
		Eventually(func() bool {
			return apierrors.IsNotFound(k8s.Get(ctx, client.ObjectKey{Name: generatorsCRD}, &apiextensionsv1.CustomResourceDefinition{}))
		}, soon, tick).Should(BeTrue(), "no finalizer should keep the definition")

		By("adding it again, and removing all of Flux")
		change(ctx, watching)
		expectReady(ctx)
		generator(ctx, "app")
		letGo(ctx)
		Expect(k8s.Get(ctx, client.ObjectKey{Name: generatorsCRD}, &apiextensionsv1.CustomResourceDefinition{})).To(MatchError(apierrors.IsNotFound, "IsNotFound"))
	})
})
