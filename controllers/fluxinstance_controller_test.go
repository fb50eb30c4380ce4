package controllers_test

import (
	"context"
	"time"

	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/fluxcd/pkg/apis/meta"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/config"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

const (
	soon = time.Minute // for how long a test waits for what is to happen, on a machine of any speed
	tick = 100 * time.Millisecond
)

func metav1Name(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name} }

func skipNameValidation() ctrlconfig.Controller {
	skip := true
	return ctrlconfig.Controller{SkipNameValidation: &skip}
}

// newInstance is what a user would apply, small enough to be quick.
func newInstance(change func(*v1.FluxInstance)) *v1.FluxInstance {
	instance := &v1.FluxInstance{
		ObjectMeta: metav1.ObjectMeta{Name: v1.DefaultInstanceName, Namespace: namespace},
		Spec: v1.FluxInstanceSpec{
			Distribution: v1.Distribution{Version: "2.9.4", Registry: "ghcr.io/fluxcd"},
			Components:   []v1.Component{v1.SourceController, v1.KustomizeController},
			Cluster:      &v1.Cluster{NetworkPolicy: true},
		},
	}
	if change != nil {
		change(instance)
	}
	return instance
}

func fetch(ctx context.Context) *v1.FluxInstance {
	GinkgoHelper()
	instance := &v1.FluxInstance{}
	Expect(k8s.Get(ctx, client.ObjectKey{Namespace: namespace, Name: v1.DefaultInstanceName}, instance)).To(Succeed())
	return instance
}

func change(ctx context.Context, mutate func(*v1.FluxInstance)) {
	GinkgoHelper()
	instance := fetch(ctx)
	base := instance.DeepCopy()
	mutate(instance)
	Expect(k8s.Patch(ctx, instance, client.MergeFrom(base))).To(Succeed())
}

// expectReady waits until the instance is Ready for its current generation, with the nodes doing their part.
func expectReady(ctx context.Context) *v1.FluxInstance {
	GinkgoHelper()
	var instance *v1.FluxInstance
	Eventually(func(g Gomega) {
		becomeAvailable(ctx)
		instance = fetch(ctx)
		ready := apimeta.FindStatusCondition(instance.Status.Conditions, meta.ReadyCondition)
		g.Expect(ready).NotTo(BeNil())
		g.Expect(ready.Status).To(Equal(metav1.ConditionTrue), ready.Message)
		g.Expect(ready.ObservedGeneration).To(Equal(instance.Generation))
		g.Expect(apimeta.FindStatusCondition(instance.Status.Conditions, meta.ReconcilingCondition)).To(BeNil())
	}, soon, tick).Should(Succeed())
	return instance
}

// expectFailure waits for Ready=False with a reason and returns the message.
func expectFailure(ctx context.Context, reason string) string {
	GinkgoHelper()
	var message string
	Eventually(func(g Gomega) {
		ready := apimeta.FindStatusCondition(fetch(ctx).Status.Conditions, meta.ReadyCondition)
		g.Expect(ready).NotTo(BeNil())
		g.Expect(ready.Status).To(Equal(metav1.ConditionFalse))
		g.Expect(ready.Reason).To(Equal(reason), ready.Message)
		message = ready.Message
	}, soon, tick).Should(Succeed())
	return message
}

// settle waits until the operator under test sends nothing for a moment, since events are on their way a little longer than what they tell of, and
// returns how many requests it has sent.
func settle() (sent int64) {
	GinkgoHelper()
	Eventually(func(g Gomega) {
		sent = requests.sent.Load()
		g.Consistently(requests.sent.Load, time.Second, tick).Should(Equal(sent))
	}, soon, tick).Should(Succeed())
	return sent
}

func exists(ctx context.Context, obj client.Object, name string) error {
	return k8s.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, obj)
}

// letGo deletes the instance and waits until it is gone.
func letGo(ctx SpecContext) {
	instance := newInstance(nil)
	Expect(client.IgnoreNotFound(k8s.Delete(ctx, instance))).To(Succeed())
	Eventually(func() bool {
		return apierrors.IsNotFound(k8s.Get(ctx, client.ObjectKeyFromObject(instance), instance))
	}, soon, tick).Should(BeTrue(), "the instance should be let go")
}

var _ = Describe("FluxInstance", Ordered, func() {
	var stop func()

	BeforeAll(func() { stop = startOperator() })
	AfterAll(func() { stop() })

	AfterEach(letGo)

	It("installs, records what it owns, and asks for nothing more once that is done", func(ctx SpecContext) {
		before := requests.sent.Load()
		Expect(k8s.Create(ctx, newInstance(nil))).To(Succeed())
		instance := expectReady(ctx)
		Expect(requests.sent.Load()-before).To(BeNumerically("<=", 100), "requests of an install")

		Expect(instance.Finalizers).To(ContainElement(v1.Finalizer))
		Expect(instance.Status.LastAppliedRevision).To(MatchRegexp(`^v2\.9\.4@sha256:[0-9a-f]{64}$`))
		Expect(instance.Status.LastAttemptedRevision).To(Equal(instance.Status.LastAppliedRevision))
		Expect(instance.Status.Components).To(HaveLen(2))
		for _, component := range instance.Status.Components {
			Expect(component.Digest).To(HavePrefix("sha256:"), component.Name)
		}
		Expect(instance.Status.Inventory.Entries).To(ContainElement(v1.ResourceRef{ID: "flux-system_source-controller_apps_Deployment", Version: "v1"}))
		Expect(instance.Status.History).To(HaveLen(1))
		Expect(instance.Status.History[0].Metadata).To(HaveKeyWithValue("flux", "v2.9.4"))

		By("asking for passes that have nothing to do")
		settled := settle()
		change(ctx, func(in *v1.FluxInstance) { in.Annotations = map[string]string{v1.ReconcileEveryAnnotation: "59m"} })
		Consistently(requests.sent.Load, 2*time.Second, tick).Should(Equal(settled))
	})

	It("puts drift back when it happens, and leaves what others own", func(ctx SpecContext) {
		Expect(k8s.Create(ctx, newInstance(nil))).To(Succeed())
		expectReady(ctx)

		By("changing, deleting and relabelling managed objects")
		deployment := &appsv1.Deployment{}
		Expect(exists(ctx, deployment, "source-controller")).To(Succeed())
		base := deployment.DeepCopy()
		deployment.Spec.Template.Spec.Containers[0].Args = []string{"--wrong"}
		deployment.Labels["team"] = "platform"
		Expect(k8s.Patch(ctx, deployment, client.MergeFrom(base))).To(Succeed())
		Expect(k8s.Delete(ctx, &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "allow-egress", Namespace: namespace}})).To(Succeed())
		Eventually(func(g Gomega) {
			g.Expect(exists(ctx, deployment, "source-controller")).To(Succeed())
			g.Expect(deployment.Spec.Template.Spec.Containers[0].Args).To(ContainElement("--enable-leader-election"))
			g.Expect(exists(ctx, &networkingv1.NetworkPolicy{}, "allow-egress")).To(Succeed())
		}, soon, tick).Should(Succeed())
		Expect(deployment.Labels).To(HaveKeyWithValue("team", "platform"))
		expectReady(ctx)
	})

	It("removes what is no longer wanted and leaves the rest alone", func(ctx SpecContext) {
		Expect(k8s.Create(ctx, newInstance(nil))).To(Succeed())
		expectReady(ctx)
		source := &appsv1.Deployment{}
		Expect(exists(ctx, source, "source-controller")).To(Succeed())

		change(ctx, func(in *v1.FluxInstance) {
			in.Spec.Components = []v1.Component{v1.SourceController}
			in.Spec.Cluster.NetworkPolicy = false
		})
		instance := expectReady(ctx)
		Expect(apierrors.IsNotFound(exists(ctx, &appsv1.Deployment{}, "kustomize-controller"))).To(BeTrue())
		Expect(apierrors.IsNotFound(exists(ctx, &networkingv1.NetworkPolicy{}, "allow-egress"))).To(BeTrue())
		after := &appsv1.Deployment{}
		Expect(exists(ctx, after, "source-controller")).To(Succeed())
		Expect(after.UID).To(Equal(source.UID))
		for _, entry := range instance.Status.Inventory.Entries {
			Expect(entry.ID).NotTo(ContainSubstring("NetworkPolicy"))
		}
	})

	DescribeTable("refuses what cannot work, and leaves what runs untouched",
		func(ctx SpecContext, breaking func(*v1.FluxInstance), reason, words string) {
			Expect(k8s.Create(ctx, newInstance(nil))).To(Succeed())
			running := expectReady(ctx)
			source := &appsv1.Deployment{}
			Expect(exists(ctx, source, "source-controller")).To(Succeed())

			change(ctx, breaking)
			Expect(expectFailure(ctx, reason)).To(ContainSubstring(words))
			instance := fetch(ctx)
			stalled := apimeta.FindStatusCondition(instance.Status.Conditions, meta.StalledCondition)
			Expect(stalled).NotTo(BeNil())
			Expect(stalled.Reason).To(Equal(reason))
			Expect(instance.Status.LastAppliedRevision).To(Equal(running.Status.LastAppliedRevision))
			after := &appsv1.Deployment{}
			Expect(exists(ctx, after, "source-controller")).To(Succeed())
			Expect(after.Generation).To(Equal(source.Generation))

			By("recovering after the fix")
			change(ctx, func(in *v1.FluxInstance) { in.Spec = newInstance(nil).Spec })
			expectReady(ctx)
		},
		Entry("a range that is none", func(in *v1.FluxInstance) { in.Spec.Distribution.Version = "two" }, v1.ReasonBuildFailed, "spec.distribution.version"),
		Entry("a release that is not there", func(in *v1.FluxInstance) { in.Spec.Distribution.Version = "9.x" }, v1.ReasonBuildFailed, "9.x"),
		Entry("a downgrade of a minor", func(in *v1.FluxInstance) { in.Spec.Distribution.Version = "2.8.x" }, v1.ReasonBuildFailed, "2.8"),
		Entry("a patch without a target", func(in *v1.FluxInstance) {
			in.Spec.Kustomize = &v1.Kustomize{Patches: []kustomize.Patch{{
				Target: &kustomize.Selector{Kind: "Deployment", Name: "nobody"}, Patch: `[{"op":"remove","path":"/spec/replicas"}]`,
			}}}
		}, v1.ReasonBuildFailed, "spec.kustomize.patches[0]"),
		Entry("a registry without digests", func(in *v1.FluxInstance) { in.Spec.Distribution.Registry = "registry.example.com/flux" }, v1.ReasonBuildFailed, "spec.distribution"),
	)

	It("keeps a failed object in the inventory and says which one it is", func(ctx SpecContext) {
		Expect(k8s.Create(ctx, newInstance(func(in *v1.FluxInstance) {
			in.Spec.Kustomize = &v1.Kustomize{Patches: []kustomize.Patch{{
				Target: &kustomize.Selector{Kind: "Deployment", Name: "source-controller"}, Patch: `[{"op":"replace","path":"/spec/replicas","value":-1}]`,
			}}}
		}))).To(Succeed())
		Expect(expectFailure(ctx, v1.ReasonReconciliationFailed)).To(ContainSubstring("source-controller"))
		instance := fetch(ctx)
		Expect(apimeta.FindStatusCondition(instance.Status.Conditions, meta.StalledCondition)).To(BeNil())
		Expect(apimeta.FindStatusCondition(instance.Status.Conditions, meta.ReconcilingCondition).Reason).To(Equal(v1.ReasonProgressingWithRetry))
		Expect(instance.Status.Inventory.Entries).To(ContainElement(v1.ResourceRef{ID: "flux-system_source-controller_apps_Deployment", Version: "v1"}))
	})

	It("says what is not ready in time", func(ctx SpecContext) {
		Expect(k8s.Create(ctx, newInstance(func(in *v1.FluxInstance) {
			in.Annotations = map[string]string{v1.ReconcileTimeoutAnnotation: "1s"}
		}))).To(Succeed())
		Expect(expectFailure(ctx, v1.ReasonHealthCheckFailed)).To(ContainSubstring("source-controller"))
	})

	It("waits no longer for what is not wanted any more", func(ctx SpecContext) {
		Expect(k8s.Create(ctx, newInstance(func(in *v1.FluxInstance) {
			in.Annotations = map[string]string{v1.ReconcileTimeoutAnnotation: "10m"}
		}))).To(Succeed())
		Eventually(func() []metav1.Condition { return fetch(ctx).Status.Conditions }, soon, tick).ShouldNot(BeEmpty())
		Eventually(func() string {
			return apimeta.FindStatusCondition(fetch(ctx).Status.Conditions, meta.ReadyCondition).Reason
		}, soon, tick).Should(Equal(v1.ReasonProgressing))
		change(ctx, func(in *v1.FluxInstance) { in.Spec.Wait = new(bool) })
		expectReady(ctx)
	})

	It("puts back what is deleted or hidden while it waits for readiness", func(ctx SpecContext) {
		Expect(k8s.Create(ctx, newInstance(nil))).To(Succeed())
		deployment := &appsv1.Deployment{}
		Eventually(func() error { return exists(ctx, deployment, "source-controller") }, soon, tick).Should(Succeed())
		Eventually(func() error { return exists(ctx, &appsv1.Deployment{}, "kustomize-controller") }, soon, tick).Should(Succeed())

		Expect(k8s.Delete(ctx, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "kustomize-controller", Namespace: namespace}})).To(Succeed())
		base := deployment.DeepCopy()
		delete(deployment.Labels, v1.OwnerNameLabel)
		Expect(k8s.Patch(ctx, deployment, client.MergeFrom(base))).To(Succeed())
		Eventually(func(g Gomega) {
			g.Expect(exists(ctx, &appsv1.Deployment{}, "kustomize-controller")).To(Succeed())
			g.Expect(exists(ctx, deployment, "source-controller")).To(Succeed())
			g.Expect(deployment.Labels).To(HaveKey(v1.OwnerNameLabel))
		}, soon, tick).Should(Succeed())
		expectReady(ctx)
	})

	It("reports a distribution that is not there, and goes on when it is", func(ctx SpecContext) {
		generated := distribution
		distribution = GinkgoT().TempDir()
		Expect(k8s.Create(ctx, newInstance(nil))).To(Succeed())
		expectFailure(ctx, v1.ReasonArtifactFailed)
		distribution = generated
		expectReady(ctx)
	})

	It("keeps in the inventory what could not be deleted", func(ctx SpecContext) {
		Expect(k8s.Create(ctx, newInstance(nil))).To(Succeed())
		expectReady(ctx)
		allow := forbidDeletion(ctx, networkingv1.SchemeGroupVersion.WithKind("NetworkPolicy"), "networkpolicies")
		change(ctx, func(in *v1.FluxInstance) { in.Spec.Cluster.NetworkPolicy = false })
		Expect(expectFailure(ctx, v1.ReasonPruneFailed)).To(ContainSubstring("allow-egress"))
		Expect(fetch(ctx).Status.Inventory.Entries).To(ContainElement(v1.ResourceRef{ID: "flux-system_allow-egress_networking.k8s.io_NetworkPolicy", Version: "v1"}))
		allow(ctx)
		expectReady(ctx)
		Expect(apierrors.IsNotFound(exists(ctx, &networkingv1.NetworkPolicy{}, "allow-egress"))).To(BeTrue())
	})

	It("keeps its finalizer while an uninstall cannot be finished", func(ctx SpecContext) {
		Expect(k8s.Create(ctx, newInstance(nil))).To(Succeed())
		expectReady(ctx)
		allow := forbidDeletion(ctx, appsv1.SchemeGroupVersion.WithKind("Deployment"), "deployments")
		Expect(k8s.Delete(ctx, newInstance(nil))).To(Succeed())
		Expect(expectFailure(ctx, v1.ReasonUninstallFailed)).To(ContainSubstring("source-controller"))
		Expect(fetch(ctx).Finalizers).To(ContainElement(v1.Finalizer))
		allow(ctx)
		Eventually(func() bool {
			return apierrors.IsNotFound(exists(ctx, &v1.FluxInstance{}, v1.DefaultInstanceName))
		}, soon, tick).Should(BeTrue())
		crds := &apiextensionsv1.CustomResourceDefinitionList{}
		Expect(k8s.List(ctx, crds, client.MatchingLabels{"app.kubernetes.io/part-of": "flux"})).To(Succeed())
		Expect(crds.Items).To(BeEmpty())
		Expect(k8s.Get(ctx, client.ObjectKey{Name: namespace}, &corev1.Namespace{})).To(Succeed())
	})

	It("leaves everything running when disabled, also when it is deleted then", func(ctx SpecContext) {
		Expect(k8s.Create(ctx, newInstance(nil))).To(Succeed())
		expectReady(ctx)
		change(ctx, func(in *v1.FluxInstance) { in.Annotations = map[string]string{v1.ReconcileAnnotation: "Disabled"} })
		Expect(k8s.Delete(ctx, newInstance(nil))).To(Succeed())
		Eventually(func() bool {
			return apierrors.IsNotFound(exists(ctx, &v1.FluxInstance{}, v1.DefaultInstanceName))
		}, soon, tick).Should(BeTrue())
		Expect(exists(ctx, &appsv1.Deployment{}, "source-controller")).To(Succeed())

		By("taking it over again")
		Expect(k8s.Create(ctx, newInstance(nil))).To(Succeed())
		expectReady(ctx)
	})

	It("tells an instance in another namespace that it is not acted upon", func(ctx SpecContext) {
		Expect(k8s.Create(ctx, &corev1.Namespace{ObjectMeta: metav1Name("elsewhere")})).To(Succeed())
		stray := newInstance(func(in *v1.FluxInstance) { in.Namespace = "elsewhere" })
		Expect(k8s.Create(ctx, stray)).To(Succeed())
		Eventually(func(g Gomega) {
			g.Expect(k8s.Get(ctx, client.ObjectKeyFromObject(stray), stray)).To(Succeed())
			stalled := apimeta.FindStatusCondition(stray.Status.Conditions, meta.StalledCondition)
			g.Expect(stalled).NotTo(BeNil())
			g.Expect(stalled.Reason).To(Equal(v1.ReasonNotWatched))
			g.Expect(stalled.Message).To(ContainSubstring(namespace))
		}, soon, tick).Should(Succeed())
		Expect(stray.Finalizers).To(BeEmpty())
		Expect(k8s.Delete(ctx, stray)).To(Succeed())
	})

	It("makes a pass when one is asked for, and says that it did", func(ctx SpecContext) {
		Expect(k8s.Create(ctx, newInstance(nil))).To(Succeed())
		expectReady(ctx)
		change(ctx, func(in *v1.FluxInstance) {
			in.Annotations = map[string]string{meta.ReconcileRequestAnnotation: "now"}
		})
		Eventually(func() string { return fetch(ctx).Status.LastHandledReconcileAt }, soon, tick).Should(Equal("now"))
		expectReady(ctx)
	})
})

// forbidDeletion makes the API server refuse to delete a kind in the namespace of Flux, until the returned function is called.
func forbidDeletion(ctx context.Context, kind schema.GroupVersionKind, resource string) (allow func(context.Context)) {
	GinkgoHelper()
	name := "forbid-" + resource
	policy := &admissionv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1Name(name),
		Spec: admissionv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionv1.MatchResources{ResourceRules: []admissionv1.NamedRuleWithOperations{{
				RuleWithOperations: admissionv1.RuleWithOperations{
					Operations: []admissionv1.OperationType{admissionv1.Delete},
					Rule:       admissionv1.Rule{APIGroups: []string{kind.Group}, APIVersions: []string{kind.Version}, Resources: []string{resource}},
				},
			}}},
			Validations: []admissionv1.Validation{{Expression: "false", Message: "deleting is forbidden by the test"}},
		},
	}
	binding := &admissionv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1Name(name),
		Spec:       admissionv1.ValidatingAdmissionPolicyBindingSpec{PolicyName: name, ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny}},
	}
	Expect(k8s.Create(ctx, policy)).To(Succeed())
	Expect(k8s.Create(ctx, binding)).To(Succeed())
	allow = func(ctx context.Context) {
		Expect(client.IgnoreNotFound(k8s.Delete(ctx, binding))).To(Succeed())
		Expect(client.IgnoreNotFound(k8s.Delete(ctx, policy))).To(Succeed())
	}
	DeferCleanup(allow)
	Eventually(func(g Gomega) {
		objects := &unstructured.UnstructuredList{}
		objects.SetGroupVersionKind(kind)
		g.Expect(k8s.List(ctx, objects, client.InNamespace(namespace))).To(Succeed())
		g.Expect(objects.Items).NotTo(BeEmpty())
		g.Expect(apierrors.IsInvalid(k8s.Delete(ctx, &objects.Items[0], client.DryRunAll)) || apierrors.IsForbidden(k8s.Delete(ctx, &objects.Items[0], client.DryRunAll))).To(BeTrue())
	}, soon, tick).Should(Succeed(), "the policy should be in force")
	return allow
}
