package controllers_test

import (
	"context"
	"maps"
	"slices"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

const (
	fluxFinalizer   = "finalizers.fluxcd.io"
	ssaAnnotation   = "kustomize.toolkit.fluxcd.io/ssa"
	repositoriesCRD = "helmrepositories.source.toolkit.fluxcd.io"
)

var _ = Describe("Backing out of an adoption", Ordered, func() {
	var stop func()

	BeforeAll(func() { stop = startOperator() })
	AfterAll(func() { stop() })
	AfterEach(letGo)

	DescribeTable("leaves the former Flux as it was, whose migration did not succeed",
		func(ctx SpecContext, policy v1.DeletionPolicy, farewell string) {
			bootstrap(ctx, "v2.7.5")
			app, charts := kustomization(ctx, "app"), helmRepository(ctx, "charts")
			definition := &apiextensionsv1.CustomResourceDefinition{}
			Expect(k8s.Get(ctx, client.ObjectKey{Name: repositoriesCRD}, definition)).To(Succeed())
			definition.Status.StoredVersions = []string{"v1beta2", "v1"}
			Expect(k8s.Status().Update(ctx, definition)).To(Succeed())
			before := snapshotOf(ctx, bootstrapped("v2.7.5"))
			DeferCleanup(func(ctx SpecContext) { free(ctx, app); free(ctx, charts); removeAll(ctx, before) })
			allow := forbidUpdates(ctx, charts, "helmrepositories")

			Expect(k8s.Create(ctx, newInstance(func(in *v1.FluxInstance) { in.Spec.DeletionPolicy = policy }))).To(Succeed())
			expectFailure(ctx, v1.ReasonMigrationFailed)
			instance := fetch(ctx)
			for _, obj := range snapshotOf(ctx, before) {
				Expect(obj.GetAnnotations()).To(HaveKeyWithValue(ssaAnnotation, "Ignore"), "it should be adopted: "+obj.GetName())
				Expect(obj.GetLabels()).NotTo(HaveKey(v1.OwnerNameLabel), "it should not be applied: "+obj.GetName())
			}
			letGo(ctx)
			allow(ctx)
			expectAsBefore(ctx, before)
			for _, obj := range []*unstructured.Unstructured{app, charts} {
				Expect(k8s.Get(ctx, client.ObjectKeyFromObject(obj), obj)).To(Succeed())
				Expect(obj.GetFinalizers()).To(ConsistOf(fluxFinalizer), "its controller runs, and would come too late for the end of it")
				Expect(obj.GetDeletionTimestamp()).To(BeNil())
			}
			Eventually(func() []string { return eventsAbout(ctx, instance, v1.ReasonUninstalled) }, soon, tick).Should(ConsistOf(ContainSubstring(farewell)))
		},
		Entry(nil, v1.DeleteAll, "2 controllers among them: they keep running"),
		Entry(nil, v1.DeleteControllers, "2 controllers among them: they keep running"),
		Entry(nil, v1.Orphan, "removed nothing: Flux keeps running"),
	)

	It("leaves a component as it was that was added and is given up", func(ctx SpecContext) {
		bootstrap(ctx, "v2.9.4")
		app := kustomization(ctx, "app")
		Expect(k8s.Create(ctx, newInstance(func(in *v1.FluxInstance) { in.Spec.Components = []v1.Component{v1.SourceController} }))).To(Succeed())
		expectReady(ctx)
		before := slices.DeleteFunc(snapshotOf(ctx, bootstrapped("v2.9.4")), func(obj *unstructured.Unstructured) bool {
			_, owned := obj.GetLabels()[v1.OwnerNameLabel]
			return owned
		})
		DeferCleanup(func(ctx SpecContext) { free(ctx, app); removeAll(ctx, before) })
		deployment := &unstructured.Unstructured{}
		deployment.SetGroupVersionKind(appsv1.SchemeGroupVersion.WithKind("Deployment"))
		deployment.SetNamespace(namespace)
		deployment.SetName("kustomize-controller")
		allow := forbidUpdates(ctx, deployment, "deployments")

		change(ctx, func(in *v1.FluxInstance) {
			in.Spec.Components = []v1.Component{v1.SourceController, v1.KustomizeController}
		})
		Expect(expectFailure(ctx, v1.ReasonReconciliationFailed)).To(ContainSubstring("kustomize-controller"))
		definition := &apiextensionsv1.CustomResourceDefinition{}
		Expect(k8s.Get(ctx, client.ObjectKey{Name: kustomizationsCRD}, definition)).To(Succeed())
		Expect(definition.Annotations).To(HaveKeyWithValue(ssaAnnotation, "Ignore"), "it should be adopted")
		change(ctx, func(in *v1.FluxInstance) { in.Spec.Components = []v1.Component{v1.SourceController} })
		expectReady(ctx)
		allow(ctx)
		expectAsBefore(ctx, before)
		Expect(k8s.Get(ctx, client.ObjectKeyFromObject(app), app)).To(Succeed())
		Expect(app.GetFinalizers()).To(ConsistOf(fluxFinalizer))
	})
})

var _ = Describe("Backing out of an adoption with the whole namespace", func() {
	It("holds nothing up in it, and releases nothing elsewhere", func(ctx SpecContext) {
		const leaving = "leaving"
		Expect(k8s.Create(ctx, &corev1.Namespace{ObjectMeta: metav1Name(leaving)})).To(Succeed())
		stop := startOperatorIn(leaving)
		noWait := false
		instance := newInstance(func(in *v1.FluxInstance) { in.Namespace, in.Spec.Wait = leaving, &noWait })
		Expect(k8s.Create(ctx, instance)).To(Succeed())
		Eventually(func(g Gomega) {
			g.Expect(k8s.Get(ctx, client.ObjectKeyFromObject(instance), instance)).To(Succeed())
			g.Expect(instance.Status.LastAppliedRevision).NotTo(BeEmpty())
		}, soon, tick).Should(Succeed())
		stop()
		inside, elsewhere := kustomizationIn(ctx, leaving, "inside"), kustomization(ctx, "elsewhere")
		before := liveInventory(ctx, instance)
		definitions := slices.DeleteFunc(slices.Clone(before), func(obj *unstructured.Unstructured) bool {
			return obj.GetKind() != "CustomResourceDefinition"
		})
		for _, obj := range definitions { // as if they had not been applied yet
			base := obj.DeepCopy()
			obj.SetLabels(nil)
			Expect(k8s.Patch(ctx, obj, client.MergeFrom(base))).To(Succeed())
		}
		DeferCleanup(func(ctx SpecContext) { free(ctx, elsewhere); removeAll(ctx, definitions) })

		Expect(k8s.Delete(ctx, &corev1.Namespace{ObjectMeta: metav1Name(leaving)})).To(Succeed())
		Expect(newFarewell(leaving).Say(ctx)).To(Succeed())
		Expect(k8s.Get(ctx, client.ObjectKeyFromObject(instance), instance)).To(Succeed())
		Expect(instance.Finalizers).To(BeEmpty())
		Expect(k8s.Get(ctx, client.ObjectKeyFromObject(inside), inside)).To(Succeed())
		Expect(inside.GetFinalizers()).To(BeEmpty())
		Expect(k8s.Get(ctx, client.ObjectKeyFromObject(elsewhere), elsewhere)).To(Succeed())
		Expect(elsewhere.GetFinalizers()).To(ConsistOf(fluxFinalizer))
		for _, obj := range definitions {
			Expect(defined(ctx, obj.GetName())).To(Succeed())
		}
	})
})

// helmRepository is an object of a user, held by source-controller as it is held when it runs.
func helmRepository(ctx context.Context, name string) *unstructured.Unstructured {
	GinkgoHelper()
	obj := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"interval": "10m", "url": "https://charts.example.com"}}}
	obj.SetAPIVersion("source.toolkit.fluxcd.io/v1")
	obj.SetKind("HelmRepository")
	obj.SetNamespace(namespace)
	obj.SetName(name)
	obj.SetFinalizers([]string{fluxFinalizer})
	createCustom(ctx, obj)
	return obj
}

// eventsAbout are the messages of the events of an instance with a reason.
func eventsAbout(ctx context.Context, instance *v1.FluxInstance, reason string) []string {
	GinkgoHelper()
	events := &corev1.EventList{}
	Expect(k8s.List(ctx, events, client.InNamespace(namespace))).To(Succeed())
	var messages []string
	for i := range events.Items {
		if events.Items[i].Reason == reason && events.Items[i].InvolvedObject.UID == instance.UID {
			messages = append(messages, events.Items[i].Message)
		}
	}
	return messages
}

// snapshotOf reads objects as they are.
func snapshotOf(ctx context.Context, objects []*unstructured.Unstructured) []*unstructured.Unstructured {
	GinkgoHelper()
	live := make([]*unstructured.Unstructured, 0, len(objects))
	for _, obj := range objects {
		now := obj.DeepCopy()
		Expect(k8s.Get(ctx, client.ObjectKeyFromObject(obj), now)).To(Succeed(), obj.GetKind()+" "+obj.GetName())
		live = append(live, now)
	}
	return live
}

// expectAsBefore checks that objects are as they were, but for what an adoption takes from them and what their former owner puts back by itself.
func expectAsBefore(ctx context.Context, before []*unstructured.Unstructured) {
	GinkgoHelper()
	for i, now := range snapshotOf(ctx, before) {
		then, name := before[i], now.GetKind()+" "+now.GetName()
		Expect(now.GetUID()).To(Equal(then.GetUID()), name)
		Expect(now.GetDeletionTimestamp()).To(BeNil(), name)
		Expect(now.GetAnnotations()).To(Equal(then.GetAnnotations()), name)
		labels := then.GetLabels()
		maps.DeleteFunc(labels, func(key, _ string) bool {
			return key == "kustomize.toolkit.fluxcd.io/name" || key == "kustomize.toolkit.fluxcd.io/namespace"
		})
		maps.Copy(labels, now.GetLabels())
		Expect(now.GetLabels()).To(Equal(labels), name)
		Expect(now.GetLabels()).NotTo(Or(HaveKey(v1.OwnerNameLabel), HaveKey(v1.OwnerNamespaceLabel)), name)
		for _, content := range []string{"spec", "rules", "subjects"} {
			Expect(equality.Semantic.DeepEqual(now.Object[content], then.Object[content])).To(BeTrue(), name)
		}
		for _, entry := range now.GetManagedFields() {
			Expect(entry.Manager).NotTo(Equal(v1.FieldManager), name)
		}
	}
}

// forbidUpdates makes the API server refuse to update one object, until the returned function is called. It may be deleted, and its status changed.
func forbidUpdates(ctx context.Context, obj *unstructured.Unstructured, resource string) (allow func(context.Context)) {
	GinkgoHelper()
	kind, name := obj.GroupVersionKind(), "forbid-updates-of-"+resource
	policy := &admissionv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1Name(name),
		Spec: admissionv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionv1.MatchResources{ResourceRules: []admissionv1.NamedRuleWithOperations{{
				ResourceNames: []string{obj.GetName()},
				RuleWithOperations: admissionv1.RuleWithOperations{
					Operations: []admissionv1.OperationType{admissionv1.Update},
					Rule:       admissionv1.Rule{APIGroups: []string{kind.Group}, APIVersions: []string{"*"}, Resources: []string{resource}},
				},
			}}},
			Validations: []admissionv1.Validation{{Expression: "false", Message: "updating is forbidden by the test"}},
		},
	}
	binding := &admissionv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1Name(name),
		Spec:       admissionv1.ValidatingAdmissionPolicyBindingSpec{PolicyName: name, ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny}},
	}
	Expect(k8s.Create(ctx, policy)).To(Succeed())
	Expect(k8s.Create(ctx, binding)).To(Succeed())
	probe := func(ctx context.Context) func() error {
		return func() error {
			return k8s.Patch(ctx, obj.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"annotations":{"probe":"x"}}}`)), client.DryRunAll)
		}
	}
	allow = func(ctx context.Context) {
		Expect(client.IgnoreNotFound(k8s.Delete(ctx, binding))).To(Succeed())
		Expect(client.IgnoreNotFound(k8s.Delete(ctx, policy))).To(Succeed())
		Eventually(func() error { return client.IgnoreNotFound(probe(ctx)()) }, soon, tick).Should(Succeed(), "the policy should not be in force any more")
	}
	DeferCleanup(allow)
	Eventually(probe(ctx), soon, tick).Should(MatchError(ContainSubstring("forbidden by the test")), "the policy should be in force")
	return allow
}
