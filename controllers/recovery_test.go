package controllers_test

import (
	"context"
	"fmt"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fluxcd/pkg/apis/meta"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

var _ = Describe("What a failed pass leaves behind", Ordered, func() {
	var stop func()

	BeforeAll(func() { stop = startOperator() })
	AfterAll(func() { stop() })
	AfterEach(letGo)

	It("is kept from drift, while the spec asks for something that cannot be had", func(ctx SpecContext) {
		Expect(k8s.Create(ctx, newInstance(nil))).To(Succeed())
		expectReady(ctx)
		corrected := told(ctx, v1.ReasonDriftCorrected)
		change(ctx, func(in *v1.FluxInstance) { in.Spec.Distribution.Version = "2.99.x" })
		expectFailure(ctx, v1.ReasonBuildFailed)
		Expect(k8s.Delete(ctx, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "kustomize-controller", Namespace: namespace}})).To(Succeed())
		Eventually(func() error { return exists(ctx, &appsv1.Deployment{}, "kustomize-controller") }, soon, tick).Should(Succeed())
		Eventually(func() int32 { return told(ctx, v1.ReasonDriftCorrected) }, soon, tick).Should(BeNumerically(">", corrected))
		expectFailure(ctx, v1.ReasonBuildFailed)
		Expect(apimeta.IsStatusConditionTrue(fetch(ctx).Status.Conditions, meta.StalledCondition)).To(BeTrue())

		change(ctx, func(in *v1.FluxInstance) { in.Spec.Distribution.Version = "2.9.4" })
		expectReady(ctx)
	})

	It("is said once the status can be written again", func(ctx SpecContext) {
		allow := forbidSaying(ctx, meta.ReadyCondition, metav1.ConditionTrue)
		installed := told(ctx, v1.ReasonReconciliationSucceeded)
		Expect(k8s.Create(ctx, newInstance(func(in *v1.FluxInstance) { in.Spec.Wait = new(bool) }))).To(Succeed())
		Eventually(func() int32 { return told(ctx, v1.ReasonReconciliationSucceeded) }, soon, tick).Should(BeNumerically(">", installed))
		Expect(isReady(ctx)).To(BeFalse())
		allow(ctx)
		Expect(expectReady(ctx).Status.LastAppliedRevision).NotTo(BeEmpty())
	})

	It("is no reason to fight over a field without end", func(ctx SpecContext) {
		Expect(k8s.Create(ctx, newInstance(labeled))).To(Succeed())
		expectReady(ctx)
		counted := corrections()
		allow := forbidDeletion(ctx, networkingv1.SchemeGroupVersion.WithKind("NetworkPolicy"), "networkpolicies")
		change(ctx, func(in *v1.FluxInstance) { in.Spec.Cluster.NetworkPolicy, in.Spec.Wait = false, new(bool) })
		expectFailure(ctx, v1.ReasonPruneFailed)

		end := contend()
		DeferCleanup(func() { end() })
		Eventually(func(g Gomega) { g.Expect(contested(ctx)).NotTo(BeNil()) }, soon, tick).Should(Succeed())
		Expect(corrections() - counted).To(BeNumerically("==", 5))
		expectFailure(ctx, v1.ReasonPruneFailed)
		end()
		allow(ctx)
		expectReady(ctx)
	})
})

// forbidSaying makes the API server refuse a status of an instance that has a condition of this status, until the returned function is called.
func forbidSaying(ctx context.Context, condition string, status metav1.ConditionStatus) (allow func(context.Context)) {
	GinkgoHelper()
	const name = "forbid-saying"
	policy := &admissionv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1Name(name),
		Spec: admissionv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionv1.MatchResources{ResourceRules: []admissionv1.NamedRuleWithOperations{{
				RuleWithOperations: admissionv1.RuleWithOperations{
					Operations: []admissionv1.OperationType{admissionv1.Update},
					Rule:       admissionv1.Rule{APIGroups: []string{v1.Group}, APIVersions: []string{"v1"}, Resources: []string{"fluxinstances/status"}},
				},
			}}},
			Validations: []admissionv1.Validation{{
				Expression: fmt.Sprintf("!object.status.conditions.exists(c, c.type == '%s' && c.status == '%s')", condition, status),
				Message:    "saying so is forbidden by the test",
			}},
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
	probe := newInstance(nil)
	probe.Name, probe.Namespace = v1.DefaultInstanceName, "default" // one that nobody acts upon
	Expect(k8s.Create(ctx, probe)).To(Succeed())
	DeferCleanup(func(ctx context.Context) { Expect(client.IgnoreNotFound(k8s.Delete(ctx, probe))).To(Succeed()) })
	Eventually(func() bool {
		saying := probe.DeepCopy()
		saying.Status.Conditions = []metav1.Condition{{Type: condition, Status: status, Reason: "Probe", LastTransitionTime: metav1.Now()}}
		err := k8s.Status().Patch(ctx, saying, client.MergeFrom(probe), client.DryRunAll)
		return apierrors.IsInvalid(err) || apierrors.IsForbidden(err)
	}, soon, tick).Should(BeTrue(), "the policy should be in force")
	return allow
}
