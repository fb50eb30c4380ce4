package controllers_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/fluxcd/pkg/apis/meta"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/artifact"
	"github.com/flux-autopilot/flux-operator/pkg/render"
)

// bootstrapped are the objects of a release in the shape that flux bootstrap leaves, with a patch of a user in kustomize-controller.
func bootstrapped(release string) []*unstructured.Unstructured {
	GinkgoHelper()
	catalog, err := artifact.Builtin(distribution)
	Expect(err).NotTo(HaveOccurred())
	defer func() { Expect(catalog.Close()).To(Succeed()) }()
	set, err := render.Render(catalog.FS, release, newInstance(nil))
	Expect(err).NotTo(HaveOccurred())
	for _, obj := range set.Objects {
		labels := obj.GetLabels()
		maps.DeleteFunc(labels, func(key, _ string) bool { return key == v1.OwnerNameLabel || key == v1.OwnerNamespaceLabel })
		labels["kustomize.toolkit.fluxcd.io/name"], labels["kustomize.toolkit.fluxcd.io/namespace"] = "flux-system", namespace
		labels["app.kubernetes.io/managed-by"] = "kustomize"
		obj.SetLabels(labels)
		obj.SetAnnotations(nil)
		if obj.GetKind() == "Deployment" && obj.GetName() == "kustomize-controller" {
			containers, _, err := unstructured.NestedSlice(obj.Object, "spec", "template", "spec", "containers")
			Expect(err).NotTo(HaveOccurred())
			manager := containers[0].(map[string]any)
			manager["args"] = append(manager["args"].([]any), "--concurrent=20")
			manager["env"] = append(manager["env"].([]any), map[string]any{"name": "HTTPS_PROXY", "value": "http://user:s3cret@proxy"})
			Expect(unstructured.SetNestedSlice(obj.Object, containers, "spec", "template", "spec", "containers")).To(Succeed())
		}
	}
	return set.Objects
}

// bootstrap installs a release as kustomize-controller does.
func bootstrap(ctx context.Context, release string) []*unstructured.Unstructured {
	GinkgoHelper()
	ns := &corev1.Namespace{}
	Expect(k8s.Get(ctx, client.ObjectKey{Name: namespace}, ns)).To(Succeed())
	ns.Labels, ns.Annotations, ns.ManagedFields = nil, nil, []metav1.ManagedFieldsEntry{{}} // other test cases had it, too
	Expect(k8s.Update(ctx, ns)).To(Succeed())
	objects := bootstrapped(release)
	for _, obj := range objects {
		// What another test case deleted may be on its way out still, and would go on.
		Eventually(func() bool { return isLeaving(ctx, obj) }, soon, tick).Should(BeFalse(), obj.GetName())
		body, err := obj.MarshalJSON()
		Expect(err).NotTo(HaveOccurred())
		Eventually(func() error {
			return k8s.Patch(ctx, obj.DeepCopy(), client.RawPatch(types.ApplyPatchType, body), client.FieldOwner("kustomize-controller"), client.ForceOwnership)
		}, soon, tick).Should(Succeed())
	}
	for _, obj := range objects {
		if obj.GetKind() == "CustomResourceDefinition" { // the API server writes into its status until then
			Eventually(func() error { return established(ctx, obj.GetName()) }, soon, tick).Should(Succeed())
		}
	}
	return objects
}

// established tells whether a definition is served, nil if it is.
func established(ctx context.Context, name string) error {
	definition := &apiextensionsv1.CustomResourceDefinition{}
	if err := k8s.Get(ctx, client.ObjectKey{Name: name}, definition); err != nil {
		return err
	}
	for _, condition := range definition.Status.Conditions {
		if condition.Type == apiextensionsv1.Established && condition.Status == apiextensionsv1.ConditionTrue {
			return nil
		}
	}
	return fmt.Errorf("definition %q is not established", name)
}

// isLeaving tells whether an object is being deleted.
func isLeaving(ctx context.Context, obj *unstructured.Unstructured) bool {
	GinkgoHelper()
	live := obj.DeepCopy()
	err := k8s.Get(ctx, client.ObjectKeyFromObject(obj), live)
	Expect(client.IgnoreNotFound(err)).To(Succeed())
	return err == nil && live.GetDeletionTimestamp() != nil
}

// removeAll deletes what a test case installed without the operator.
func removeAll(ctx context.Context, objects []*unstructured.Unstructured) {
	GinkgoHelper()
	for _, obj := range objects {
		if obj.GetKind() == "Namespace" {
			continue
		}
		Expect(client.IgnoreNotFound(k8s.Delete(ctx, obj))).To(Succeed())
	}
	for _, obj := range objects {
		if obj.GetKind() == "CustomResourceDefinition" {
			Eventually(func() bool { return !there(ctx, obj) }, soon, tick).Should(BeTrue(), obj.GetName())
		}
	}
}

func there(ctx context.Context, obj *unstructured.Unstructured) bool {
	return k8s.Get(ctx, client.ObjectKeyFromObject(obj), obj.DeepCopy()) == nil
}

// identities returns the UIDs of objects, and their versions.
func identities(ctx context.Context, objects []*unstructured.Unstructured) (uids map[string]types.UID, versions map[string]string) {
	GinkgoHelper()
	uids, versions = map[string]types.UID{}, map[string]string{}
	for _, obj := range objects {
		live := obj.DeepCopy()
		Expect(k8s.Get(ctx, client.ObjectKeyFromObject(obj), live)).To(Succeed())
		name := obj.GetKind() + "/" + obj.GetName()
		uids[name], versions[name] = live.GetUID(), live.GetResourceVersion()
	}
	return uids, versions
}

// expectFailed waits until the instance is not Ready for a reason.
func expectFailed(ctx context.Context, reason string) *v1.FluxInstance {
	GinkgoHelper()
	var instance *v1.FluxInstance
	Eventually(func(g Gomega) {
		instance = fetch(ctx)
		ready := apimeta.FindStatusCondition(instance.Status.Conditions, meta.ReadyCondition)
		g.Expect(ready).NotTo(BeNil())
		g.Expect(ready.Reason).To(Equal(reason), ready.Message)
		g.Expect(ready.ObservedGeneration).To(Equal(instance.Generation))
		g.Expect(apimeta.IsStatusConditionTrue(instance.Status.Conditions, meta.StalledCondition)).To(BeTrue())
	}, soon, tick).Should(Succeed())
	return instance
}

func readyMessage(instance *v1.FluxInstance) string {
	return apimeta.FindStatusCondition(instance.Status.Conditions, meta.ReadyCondition).Message
}

// adoptions returns the events that tell of a takeover of an instance.
func adoptions(ctx context.Context, instance *v1.FluxInstance) []string {
	GinkgoHelper()
	return eventsAbout(ctx, instance, v1.ReasonAdopted)
}

const bootstrapTool = "flux bootstrap, Kustomization flux-system/flux-system"

var _ = Describe("Adoption", Ordered, func() {
	var stop func()

	BeforeAll(func() { stop = startOperator() })
	AfterAll(func() { stop() })
	AfterEach(letGo)

	It("takes over what flux bootstrap left, without deleting anything", func(ctx SpecContext) {
		objects := bootstrap(ctx, "v2.8.8")
		uids, _ := identities(ctx, objects)
		deployment := &appsv1.Deployment{}
		key := client.ObjectKey{Namespace: namespace, Name: "kustomize-controller"}
		Expect(k8s.Get(ctx, key, deployment)).To(Succeed())

		Expect(k8s.Create(ctx, newInstance(func(in *v1.FluxInstance) { in.Spec.Distribution.Version = "2.8.8" }))).To(Succeed())
		instance := expectReady(ctx)
		after, _ := identities(ctx, objects)
		Expect(after).To(Equal(uids))

		adoption := instance.Status.Adoption
		Expect(adoption).NotTo(BeNil())
		Expect(adoption.Taken).To(BeTrue())
		Expect(adoption.Version).To(Equal("v2.8.8"))
		Expect(adoption.Objects).To(BeEquivalentTo(len(objects)))
		Expect(adoption.Tools).To(HaveLen(1))
		Expect(adoption.Tools[0].Name).To(Equal(bootstrapTool))
		Expect(adoption.Losses).To(Equal([]v1.AdoptionLoss{{
			Object: "Deployment/flux-system/kustomize-controller", Manager: "kustomize-controller", Fields: []string{
				".spec.template.spec.containers[manager].args[--concurrent=20]",
				".spec.template.spec.containers[manager].env[HTTPS_PROXY]",
			},
		}}))
		Eventually(func() []string { return adoptions(ctx, instance) }, soon, tick).Should(HaveLen(1))
		Expect(adoptions(ctx, instance)[0]).To(ContainSubstring(bootstrapTool))

		Expect(k8s.Get(ctx, key, deployment)).To(Succeed())
		Expect(deployment.Labels).NotTo(HaveKey("kustomize.toolkit.fluxcd.io/name"))
		Expect(deployment.Annotations).To(HaveKeyWithValue("kustomize.toolkit.fluxcd.io/ssa", "Ignore"))
		for _, entry := range deployment.ManagedFields {
			Expect(entry.Manager).NotTo(Equal("kustomize-controller"))
		}
		Expect(slices.ContainsFunc(deployment.Spec.Template.Spec.Containers[0].Env, func(e corev1.EnvVar) bool { return e.Name == "HTTPS_PROXY" })).To(BeFalse())

		By("looking again, which tells nothing new")
		change(ctx, func(in *v1.FluxInstance) { in.Annotations = map[string]string{meta.ReconcileRequestAnnotation: "1"} })
		Eventually(func() string { return fetch(ctx).Status.LastHandledReconcileAt }, soon, tick).Should(Equal("1"))
		Expect(fetch(ctx).Status.Adoption).To(Equal(adoption))
		Expect(adoptions(ctx, instance)).To(HaveLen(1))
	})

	It("reports and changes nothing in a dry run, and goes ahead afterwards", func(ctx SpecContext) {
		removeSnapshots(ctx)
		objects := bootstrap(ctx, "v2.2.3")
		_, versions := identities(ctx, objects)
		Expect(k8s.Create(ctx, newInstance(func(in *v1.FluxInstance) { in.Spec.Adoption = &v1.Adoption{DryRun: true} }))).To(Succeed())
		instance := expectFailed(ctx, v1.ReasonAdoptionPending)
		Expect(readyMessage(instance)).To(ContainSubstring("spec.adoption.dryRun"))
		Expect(instance.Status.Adoption.Taken).To(BeFalse())
		Expect(instance.Status.Adoption.Objects).To(BeEquivalentTo(len(objects)))
		Expect(instance.Status.Adoption.Version).To(Equal("v2.2.3"))
		Expect(instance.Status.Adoption.Losses).To(HaveLen(1))
		Expect(instance.Status.Adoption.StoredVersions).NotTo(BeEmpty())
		Expect(instance.Status.Inventory).To(BeNil())
		_, after := identities(ctx, objects)
		Expect(after).To(Equal(versions))

		change(ctx, func(in *v1.FluxInstance) { in.Spec.Adoption = nil })
		Eventually(func(g Gomega) {
			becomeAvailable(ctx)
			g.Expect(fetch(ctx).Status.LastAppliedRevision).To(HavePrefix("v2.9.4@"))
		}, journeyTime, tick).Should(Succeed())
		Expect(expectReady(ctx).Status.Adoption).To(And(HaveField("Taken", BeTrue()), HaveField("InProgress", BeFalse())))
		saved := kept(ctx)
		Expect(saved).To(HaveLen(1), "the upgrade of what was found is one like every other")
		Expect(saved[0].Header).To(And(HaveField("Flux", "v2.2.3"), HaveField("Upgrade", "v2.9.4")))
	})

	DescribeTable("refuses what the collision rule does not let it take",
		func(ctx SpecContext, rule v1.CollisionRule) {
			objects := bootstrap(ctx, "v2.9.4")
			_, versions := identities(ctx, objects)
			Expect(k8s.Create(ctx, newInstance(func(in *v1.FluxInstance) { in.Spec.Adoption = &v1.Adoption{Collisions: rule} }))).To(Succeed())
			instance := expectFailed(ctx, v1.ReasonPreflightFailed)
			Expect(readyMessage(instance)).To(And(ContainSubstring("spec.adoption.collisions: "+string(rule)), ContainSubstring("CustomResourceDefinition/buckets.source.toolkit.fluxcd.io")))
			Expect(instance.Status.Adoption.Refused).To(ContainElement("ClusterRole/crd-controller-flux-system"))
			Expect(instance.Status.Adoption.Refused).NotTo(ContainElement("Namespace/flux-system"))
			_, after := identities(ctx, objects)
			Expect(after).To(Equal(versions))

			By("going away without them")
			letGo(ctx)
			_, after = identities(ctx, objects)
			Expect(after).To(Equal(versions))
			removeAll(ctx, objects)
		},
		Entry(nil, v1.CollideOwn),
		Entry(nil, v1.CollideUnowned),
	)

	It("forgets what it refused once that is gone, or is not wanted any more", func(ctx SpecContext) {
		Expect(k8s.Create(ctx, newInstance(func(in *v1.FluxInstance) {
			in.Spec.Components = []v1.Component{v1.SourceController}
			in.Spec.Adoption = &v1.Adoption{Collisions: v1.CollideUnowned}
		}))).To(Succeed())
		expectReady(ctx)
		objects := slices.DeleteFunc(bootstrap(ctx, "v2.9.4"), func(obj *unstructured.Unstructured) bool {
			return !strings.Contains(obj.GetName(), "kustomiz")
		})
		Expect(objects).NotTo(BeEmpty())
		for _, end := range []func(){
			func() {
				change(ctx, func(in *v1.FluxInstance) { in.Spec.Components = []v1.Component{v1.SourceController} })
			},
			func() { removeAll(ctx, objects); change(ctx, func(in *v1.FluxInstance) { in.Spec.Wait = new(bool) }) },
		} {
			change(ctx, func(in *v1.FluxInstance) {
				in.Spec.Components = []v1.Component{v1.SourceController, v1.KustomizeController}
			})
			Expect(expectFailed(ctx, v1.ReasonPreflightFailed).Status.Adoption.Refused).NotTo(BeEmpty())
			end()
			instance := expectReady(ctx)
			Expect(instance.Status.Adoption).To(BeNil())
			Expect(adoptions(ctx, instance)).To(BeEmpty(), "nothing was taken over")
		}
	})

	It("refuses to go back to an older minor of Flux", func(ctx SpecContext) {
		objects := bootstrap(ctx, "v2.9.4")
		Expect(k8s.Create(ctx, newInstance(func(in *v1.FluxInstance) { in.Spec.Distribution.Version = "2.8.x" }))).To(Succeed())
		Expect(readyMessage(expectFailed(ctx, v1.ReasonPreflightFailed))).To(ContainSubstring("spec.distribution.version"))
		letGo(ctx)
		removeAll(ctx, objects)
	})

	It("says nothing of a fresh installation, whatever the rule", func(ctx SpecContext) {
		for _, rule := range []v1.CollisionRule{v1.CollideAny, v1.CollideUnowned, v1.CollideOwn} {
			Expect(k8s.Create(ctx, newInstance(func(in *v1.FluxInstance) { in.Spec.Adoption = &v1.Adoption{Collisions: rule} }))).To(Succeed())
			Expect(expectReady(ctx).Status.Adoption).To(BeNil())
			letGo(ctx)
		}
	})

	It("takes over what has been let go before, and an added component that is there already", func(ctx SpecContext) {
		objects := bootstrap(ctx, "v2.9.4")
		Expect(k8s.Create(ctx, newInstance(func(in *v1.FluxInstance) { in.Spec.Components = []v1.Component{v1.SourceController} }))).To(Succeed())
		first := expectReady(ctx).Status.Adoption
		Expect(int(first.Objects)).To(BeNumerically("<", len(objects)))

		change(ctx, func(in *v1.FluxInstance) {
			in.Spec.Components = []v1.Component{v1.SourceController, v1.KustomizeController}
		})
		instance := expectReady(ctx)
		Expect(instance.Status.Adoption.Taken).To(BeTrue())
		Expect(int(first.Objects + instance.Status.Adoption.Objects)).To(BeNumerically(">=", len(objects)))
		Expect(instance.Status.Adoption.Losses).To(HaveLen(1))

		change(ctx, func(in *v1.FluxInstance) {
			in.Annotations = map[string]string{v1.ReconcileAnnotation: v1.DisabledValue}
		})
		uids, _ := identities(ctx, objects)
		letGo(ctx)
		Expect(k8s.Create(ctx, newInstance(nil))).To(Succeed())
		again := expectReady(ctx)
		Expect(again.Status.Adoption.Tools).To(HaveLen(1))
		Expect(again.Status.Adoption.Tools[0].Name).To(Equal("flux-operator"))
		Expect(again.Status.Adoption.Losses).To(BeEmpty())
		after, _ := identities(ctx, objects)
		Expect(after).To(Equal(uids))
	})
})
