package controllers_test

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/fluxcd/pkg/apis/meta"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/controllers"
	"github.com/flux-autopilot/flux-operator/pkg/apply"
	"github.com/flux-autopilot/flux-operator/pkg/inventory"
)

const foreign = "example.com/keep"

var _ = Describe("The end of an instance", Ordered, func() {
	var stop func()

	BeforeAll(func() { stop = startOperator() })
	AfterAll(func() { stop() })
	AfterEach(letGo)

	It("leaves definitions and custom resources under DeleteControllers, for whoever comes next", func(ctx SpecContext) {
		instance := installed(ctx, func(in *v1.FluxInstance) {
			in.Spec.DeletionPolicy = v1.DeleteControllers
			in.Spec.Sync = &v1.Sync{Name: "fleet", Kind: "GitRepository", URL: "https://git.example.com/fleet.git", Ref: "refs/heads/main", Path: "."}
		})
		deployer := deployedBy("fleet")
		hold(ctx, deployer)
		stays := map[string]bool{
			"CustomResourceDefinition": true, "Kustomization": true, "GitRepository": true, "Namespace": true,
			"ClusterRole/flux-view-" + namespace: true, "ClusterRole/flux-edit-" + namespace: true,
		}
		before := liveInventory(ctx, instance)
		letGo(ctx)
		for _, obj := range before {
			kept := stays[obj.GetKind()] || stays[obj.GetKind()+"/"+obj.GetName()]
			if kept {
				expectKept(ctx, obj)
				continue
			}
			Expect(apierrors.IsNotFound(k8s.Get(ctx, client.ObjectKeyFromObject(obj), obj))).To(BeTrue(), obj.GetKind()+" "+obj.GetName())
		}
		Eventually(func() []string { return eventsOf(ctx, v1.ReasonUninstalled) }, soon, tick).Should(ContainElement(HavePrefix("Flux controllers removed")))

		By("taking it over again")
		adopted := uidsOf(liveInventory(ctx, installed(ctx, nil)))
		for _, obj := range before {
			if obj.GetKind() == "CustomResourceDefinition" {
				Expect(adopted).To(HaveKeyWithValue("CustomResourceDefinition/"+obj.GetName(), obj.GetUID()))
			}
		}
		home := &unstructured.Unstructured{}
		home.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
		Expect(k8s.Get(ctx, client.ObjectKey{Name: namespace}, home)).To(Succeed())
		Expect(home.GetLabels()).To(HaveKey(v1.OwnerNameLabel))
		letGo(ctx)
		Expect(k8s.Get(ctx, client.ObjectKey{Name: namespace}, home)).To(Succeed())
		expectDisowned(home)
		Eventually(func() []string { return eventsOf(ctx, v1.ReasonUninstalled) }, soon, tick).Should(ContainElement(HavePrefix(fmt.Sprintf("Flux uninstalled: %d objects removed", len(adopted)-1))), "the namespace stays")
		Expect(defined(ctx, kustomizationsCRD)).NotTo(Succeed())
		Expect(defined(ctx, "gitrepositories.source.toolkit.fluxcd.io")).NotTo(Succeed())
	})

	It("removes nothing under Orphan", func(ctx SpecContext) {
		instance := installed(ctx, func(in *v1.FluxInstance) { in.Spec.DeletionPolicy = v1.Orphan })
		before := liveInventory(ctx, instance)
		letGo(ctx)
		for _, obj := range before {
			expectKept(ctx, obj)
		}
		Eventually(func() []string { return eventsOf(ctx, v1.ReasonUninstalled) }, soon, tick).Should(ContainElement(ContainSubstring("removed nothing")))

		By("taking it over again")
		Expect(uidsOf(liveInventory(ctx, installed(ctx, nil)))).To(Equal(uidsOf(before)))
	})

	It("takes a change of the policy in the midst of it, and does not claim that nothing was removed", func(ctx SpecContext) {
		before := liveInventory(ctx, installed(ctx, nil))
		pod := runningPod(ctx, "source-controller")
		Expect(k8s.Delete(ctx, newInstance(nil))).To(Succeed())
		Eventually(func() string { return conditionMessage(fetch(ctx)) }, soon, tick).Should(HavePrefix("Uninstalling Flux, 1 of 4: stopping the controllers"))
		Eventually(func() bool { return apierrors.IsNotFound(exists(ctx, &appsv1.Deployment{}, "kustomize-controller")) }, soon, tick).Should(BeTrue())
		change(ctx, func(in *v1.FluxInstance) { in.Spec.DeletionPolicy = v1.Orphan })
		Eventually(func() bool {
			return apierrors.IsNotFound(exists(ctx, &v1.FluxInstance{}, v1.DefaultInstanceName))
		}, soon, tick).Should(BeTrue())
		for _, obj := range before {
			if obj.GetKind() != "Deployment" {
				expectKept(ctx, obj)
			}
		}
		Eventually(func() []string { return eventsOf(ctx, v1.ReasonUninstalled) }, soon, tick).Should(ContainElement(ContainSubstring("what was removed before is gone")))

		By("installing it again")
		Expect(k8s.Delete(ctx, pod, client.GracePeriodSeconds(0))).To(Succeed())
		installed(ctx, nil)
	})

	It("names who keeps what, strips nothing of theirs, and ends soon after they let go", func(ctx SpecContext) {
		installed(ctx, nil)
		app := kustomization(ctx, "kept")
		base := app.DeepCopy()
		app.SetFinalizers([]string{foreign, "finalizers.fluxcd.io"})
		Expect(k8s.Patch(ctx, app, client.MergeFrom(base))).To(Succeed())
		Expect(k8s.Delete(ctx, newInstance(nil))).To(Succeed())
		message := expectFailure(ctx, v1.ReasonUninstallFailed)
		Expect(message).To(ContainSubstring("Kustomization/" + namespace + "/kept (" + foreign + ")"))
		Expect(message).To(ContainSubstring("CustomResourceDefinition/" + kustomizationsCRD))
		Expect(k8s.Get(ctx, client.ObjectKeyFromObject(app), app)).To(Succeed())
		Expect(app.GetFinalizers()).To(Equal([]string{foreign}))
		Eventually(func() []string { return eventsOf(ctx, v1.ReasonUninstallFailed) }, soon, tick).Should(ContainElement(ContainSubstring("kept")))

		By("releasing it")
		free(ctx, app)
		Eventually(func() error { // the API server looks every five seconds whether the objects of a definition are gone
			return k8s.Get(ctx, client.ObjectKey{Name: kustomizationsCRD}, &apiextensionsv1.CustomResourceDefinition{})
		}, soon, tick).Should(MatchError(apierrors.IsNotFound, "IsNotFound"))
		freed := time.Now()
		Eventually(func() bool {
			return apierrors.IsNotFound(exists(ctx, &v1.FluxInstance{}, v1.DefaultInstanceName))
		}, soon, tick).Should(BeTrue())
		Expect(time.Since(freed)).To(BeNumerically("<", 10*time.Second))
	})

	It("is given up only when the user said so, and then says what is left", func(ctx SpecContext) {
		installed(ctx, func(in *v1.FluxInstance) { in.Annotations = map[string]string{v1.UninstallTimeoutAnnotation: "soon"} })
		app := kustomization(ctx, "stuck")
		base := app.DeepCopy()
		app.SetFinalizers([]string{foreign})
		Expect(k8s.Patch(ctx, app, client.MergeFrom(base))).To(Succeed())
		DeferCleanup(func(ctx SpecContext) {
			free(ctx, app)
			Eventually(func() error { return defined(ctx, kustomizationsCRD) }, soon, tick).ShouldNot(Succeed())
			Eventually(func() bool {
				return apimeta.IsNoMatchError(k8s.Get(ctx, client.ObjectKeyFromObject(app), app)) || apierrors.IsNotFound(k8s.Get(ctx, client.ObjectKeyFromObject(app), app))
			}, soon, tick).Should(BeTrue())
		})
		Expect(k8s.Delete(ctx, newInstance(nil))).To(Succeed())
		Expect(expectFailure(ctx, v1.ReasonUninstallFailed)).To(And(
			ContainSubstring(v1.UninstallTimeoutAnnotation), ContainSubstring(`"soon"`), ContainSubstring("Kustomization/"+namespace+"/stuck")))

		By("mending the annotation in the midst of the wait")
		change(ctx, func(in *v1.FluxInstance) { in.Annotations[v1.UninstallTimeoutAnnotation] = "1s" })
		Eventually(func() bool {
			return apierrors.IsNotFound(exists(ctx, &v1.FluxInstance{}, v1.DefaultInstanceName))
		}, soon, tick).Should(BeTrue())
		Eventually(func() []string { return eventsOf(ctx, v1.ReasonUninstallFailed) }, soon, tick).Should(ContainElement(And(
			HavePrefix("Let go after 1s"), ContainSubstring("Kustomization/"+namespace+"/stuck ("+foreign+")"))))
		Expect(k8s.Get(ctx, client.ObjectKeyFromObject(app), app)).To(Succeed())
		Expect(app.GetFinalizers()).To(Equal([]string{foreign}))
	})

	It("removes what a first install applied that failed half-way", func(ctx SpecContext) {
		Expect(k8s.Create(ctx, newInstance(func(in *v1.FluxInstance) {
			in.Spec.Kustomize = &v1.Kustomize{Patches: []kustomize.Patch{{
				Target: &kustomize.Selector{Kind: "Deployment", Name: "source-controller"}, Patch: `[{"op":"replace","path":"/spec/replicas","value":-1}]`,
			}}}
		}))).To(Succeed())
		Expect(expectFailure(ctx, v1.ReasonReconciliationFailed)).To(ContainSubstring("source-controller"))
		instance := fetch(ctx)
		Expect(instance.Status.LastAppliedRevision).To(BeEmpty())
		applied := liveInventory(ctx, instance)
		Expect(uidsOf(applied)).To(And(HaveKey("CustomResourceDefinition/"+kustomizationsCRD), HaveKey("ClusterRole/crd-controller-"+namespace)))
		letGo(ctx)
		for _, obj := range applied {
			if obj.GetKind() != "Namespace" {
				Expect(apierrors.IsNotFound(k8s.Get(ctx, client.ObjectKeyFromObject(obj), obj))).To(BeTrue(), obj.GetKind()+" "+obj.GetName())
			}
		}
	})

	It("says how far it is", func(ctx SpecContext) {
		installed(ctx, nil)
		pod := runningPod(ctx, "kustomize-controller")
		Expect(k8s.Delete(ctx, newInstance(nil))).To(Succeed())
		Eventually(func() string { return conditionMessage(fetch(ctx)) }, soon, tick).Should(HavePrefix("Uninstalling Flux, 1 of 4: stopping the controllers"))
		Expect(k8s.Delete(ctx, pod, client.GracePeriodSeconds(0))).To(Succeed())
	})
})

var _ = Describe("The end of a namespace", func() {
	It("takes Flux along, and holds nothing up", func(ctx SpecContext) {
		const going = "going"
		Expect(k8s.Create(ctx, &corev1.Namespace{ObjectMeta: metav1Name(going)})).To(Succeed())
		stop := startOperatorIn(going)
		noWait := false
		instance := newInstance(func(in *v1.FluxInstance) { in.Namespace, in.Spec.Wait = going, &noWait })
		Expect(k8s.Create(ctx, instance)).To(Succeed())
		Eventually(func(g Gomega) {
			g.Expect(k8s.Get(ctx, client.ObjectKeyFromObject(instance), instance)).To(Succeed())
			g.Expect(apimeta.IsStatusConditionTrue(instance.Status.Conditions, meta.ReadyCondition)).To(BeTrue())
		}, soon, tick).Should(Succeed())
		before := liveInventory(ctx, instance)
		elsewhere := kustomization(ctx, "elsewhere")
		stop()

		By("ending as it does on any other day")
		sent := requests.sent.Load()
		Expect(newFarewell(going).Say(ctx)).To(Succeed())
		Expect(requests.sent.Load()-sent).To(BeNumerically("<=", 3), "one question, and two to learn how to ask it")
		Expect(k8s.Get(ctx, client.ObjectKeyFromObject(instance), instance)).To(Succeed())
		Expect(instance.Finalizers).To(ConsistOf(v1.Finalizer))

		By("ending while the namespace is being deleted")
		Expect(k8s.Delete(ctx, &corev1.Namespace{ObjectMeta: metav1Name(going)})).To(Succeed())
		Expect(newFarewell(going).Say(ctx)).To(Succeed())
		Expect(k8s.Get(ctx, client.ObjectKeyFromObject(instance), instance)).To(Succeed())
		Expect(instance.Finalizers).To(BeEmpty())
		Expect(conditionMessage(instance)).To(HavePrefix("Uninstalling Flux, 4 of 4"))
		for _, obj := range before {
			if obj.GetKind() != "Namespace" {
				Expect(apierrors.IsNotFound(k8s.Get(ctx, client.ObjectKeyFromObject(obj), obj))).To(BeTrue(), obj.GetKind()+" "+obj.GetName())
			}
		}
		Expect(client.IgnoreNotFound(k8s.Get(ctx, client.ObjectKeyFromObject(elsewhere), elsewhere))).To(Or(Succeed(), Satisfy(apimeta.IsNoMatchError)))
	})

	It("releases nothing but what is in it, where Flux is to stay", func(ctx SpecContext) {
		const orphan = "orphaned"
		Expect(k8s.Create(ctx, &corev1.Namespace{ObjectMeta: metav1Name(orphan)})).To(Succeed())
		stop := startOperatorIn(orphan)
		noWait := false
		instance := newInstance(func(in *v1.FluxInstance) {
			in.Namespace, in.Spec.Wait, in.Spec.DeletionPolicy = orphan, &noWait, v1.Orphan
			in.Spec.Sync = &v1.Sync{Name: "fleet", Kind: "GitRepository", URL: "https://git.example.com/fleet.git", Ref: "refs/heads/main", Path: "."}
		})
		Expect(k8s.Create(ctx, instance)).To(Succeed())
		Eventually(func(g Gomega) {
			g.Expect(k8s.Get(ctx, client.ObjectKeyFromObject(instance), instance)).To(Succeed())
			g.Expect(apimeta.IsStatusConditionTrue(instance.Status.Conditions, meta.ReadyCondition)).To(BeTrue())
		}, soon, tick).Should(Succeed())
		stop()
		before := liveInventory(ctx, instance)
		inside := deployedBy("fleet")
		inside.SetNamespace(orphan)
		hold(ctx, inside)
		elsewhere := kustomization(ctx, "elsewhere")
		DeferCleanup(func(ctx SpecContext) {
			free(ctx, elsewhere)
			// Whoever installs next must not find a definition that is on its way out.
			removeAll(ctx, slices.DeleteFunc(slices.Clone(before), func(obj *unstructured.Unstructured) bool { return obj.GetNamespace() != "" }))
		})

		Expect(k8s.Delete(ctx, &corev1.Namespace{ObjectMeta: metav1Name(orphan)})).To(Succeed())
		Expect(newFarewell(orphan).Say(ctx)).To(Succeed())
		Expect(k8s.Get(ctx, client.ObjectKeyFromObject(instance), instance)).To(Succeed())
		Expect(instance.Finalizers).To(BeEmpty())
		Expect(k8s.Get(ctx, client.ObjectKeyFromObject(inside), inside)).To(Succeed())
		Expect(inside.GetFinalizers()).To(BeEmpty())
		Expect(k8s.Get(ctx, client.ObjectKeyFromObject(elsewhere), elsewhere)).To(Succeed())
		Expect(elsewhere.GetFinalizers()).To(Equal([]string{"finalizers.fluxcd.io"}))
		for _, obj := range before {
			if obj.GetNamespace() == "" {
				expectKept(ctx, obj)
			}
		}
	})
})

// installed is an instance that is ready, with nobody waiting for its pods.
func installed(ctx context.Context, change func(*v1.FluxInstance)) *v1.FluxInstance {
	GinkgoHelper()
	noWait := false
	Expect(k8s.Create(ctx, newInstance(func(in *v1.FluxInstance) {
		in.Spec.Wait = &noWait
		if change != nil {
			change(in)
		}
	}))).To(Succeed())
	return expectReady(ctx)
}

// liveInventory reads those objects of the inventory that are there.
func liveInventory(ctx context.Context, instance *v1.FluxInstance) []*unstructured.Unstructured {
	GinkgoHelper()
	owned, err := inventory.FromStatus(instance.Status.Inventory)
	Expect(err).NotTo(HaveOccurred())
	var live []*unstructured.Unstructured
	for _, obj := range owned.Objects() {
		err := k8s.Get(ctx, client.ObjectKeyFromObject(obj), obj)
		if !apierrors.IsNotFound(err) {
			Expect(err).NotTo(HaveOccurred())
			live = append(live, obj)
		}
	}
	return live
}

func uidsOf(objects []*unstructured.Unstructured) map[string]types.UID {
	uids := map[string]types.UID{}
	for _, obj := range objects {
		uids[obj.GetKind()+"/"+obj.GetName()] = obj.GetUID()
	}
	return uids
}

// expectKept checks that an object is as it was, but for its owner.
func expectKept(ctx context.Context, before *unstructured.Unstructured) {
	GinkgoHelper()
	now := before.DeepCopy()
	Expect(k8s.Get(ctx, client.ObjectKeyFromObject(now), now)).To(Succeed(), before.GetKind()+" "+before.GetName())
	Expect(now.GetUID()).To(Equal(before.GetUID()))
	expectDisowned(now)
	Expect(now.GetFinalizers()).To(Equal(before.GetFinalizers()))
	if before.GetKind() != "Namespace" {
		Expect(now.GetDeletionTimestamp()).To(BeNil())
	}
	for _, content := range []string{"spec", "rules"} {
		Expect(equality.Semantic.DeepEqual(now.Object[content], before.Object[content])).To(BeTrue(), before.GetKind()+" "+before.GetName())
	}
}

// expectDisowned checks that nothing on an object says any more that the operator manages it.
func expectDisowned(obj *unstructured.Unstructured) {
	GinkgoHelper()
	Expect(obj.GetLabels()).NotTo(Or(HaveKey(v1.OwnerNameLabel), HaveKey(v1.OwnerNamespaceLabel), HaveKey("app.kubernetes.io/managed-by")))
	Expect(obj.GetAnnotations()).NotTo(Or(
		HaveKey("kustomize.toolkit.fluxcd.io/ssa"), HaveKey("kustomize.toolkit.fluxcd.io/prune"), HaveKey(v1.PruneAnnotation)))
	for _, entry := range obj.GetManagedFields() {
		Expect(entry.Manager).NotTo(Equal(v1.FieldManager))
	}
}

// free takes an object's finalizers, as their owner would.
func free(ctx context.Context, obj *unstructured.Unstructured) {
	GinkgoHelper()
	err := k8s.Get(ctx, client.ObjectKeyFromObject(obj), obj)
	if apierrors.IsNotFound(err) || apimeta.IsNoMatchError(err) {
		return
	}
	Expect(err).NotTo(HaveOccurred())
	base := obj.DeepCopy()
	obj.SetFinalizers(nil)
	Expect(client.IgnoreNotFound(k8s.Patch(ctx, obj, client.MergeFrom(base)))).To(Succeed())
}

// eventsOf are the messages of the events with a reason.
func eventsOf(ctx context.Context, reason string) []string {
	GinkgoHelper()
	events := &corev1.EventList{}
	Expect(k8s.List(ctx, events, client.InNamespace(namespace))).To(Succeed())
	var messages []string
	for _, event := range events.Items {
		if event.Reason == reason {
			messages = append(messages, event.Message)
		}
	}
	return messages
}

func conditionMessage(instance *v1.FluxInstance) string {
	if ready := apimeta.FindStatusCondition(instance.Status.Conditions, meta.ReadyCondition); ready != nil {
		return ready.Message
	}
	return ""
}

// newFarewell is what a process does that ran in the namespace.
func newFarewell(namespace string) *controllers.Farewell {
	GinkgoHelper()
	config := rest.CopyConfig(testEnv.Config)
	config.QPS = -1
	config.Wrap(requests.count)
	direct, err := client.NewWithWatch(config, client.Options{Scheme: scheme})
	Expect(err).NotTo(HaveOccurred())
	owner := client.ObjectKey{Namespace: namespace, Name: v1.DefaultInstanceName}
	return &controllers.Farewell{Client: direct, Applier: apply.New(direct, apply.Options{Owner: owner}), Namespace: namespace}
}
