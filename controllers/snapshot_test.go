package controllers_test

import (
	"context"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/snapshot"
)

// kept are the snapshots in the cluster.
func kept(ctx context.Context) []snapshot.Stored {
	GinkgoHelper()
	found, err := snapshot.NewStore(k8s, snapshot.Options{Namespace: namespace}).List(ctx)
	Expect(err).NotTo(HaveOccurred())
	return found
}

// removeSnapshots removes those of other test cases.
func removeSnapshots(ctx context.Context) {
	GinkgoHelper()
	Expect(k8s.DeleteAllOf(ctx, &corev1.ConfigMap{}, client.InNamespace(namespace), client.HasLabels{snapshot.NameLabel})).To(Succeed())
}

var _ = Describe("Snapshots", Ordered, func() {
	var stop func()

	BeforeAll(func() { stop = startOperator() })
	AfterAll(func() { stop() })
	BeforeEach(func(ctx SpecContext) { removeSnapshots(ctx) })
	AfterEach(letGo)

	install := func(ctx context.Context, release string, keep int32) {
		GinkgoHelper()
		Expect(k8s.Create(ctx, newInstance(func(i *v1.FluxInstance) {
			i.Spec.Distribution.Version = release
			i.Spec.Snapshots = &v1.Snapshots{Keep: new(keep)}
		}))).To(Succeed())
		expectReady(ctx)
	}
	upgrade := func(ctx context.Context) {
		GinkgoHelper()
		change(ctx, func(i *v1.FluxInstance) { i.Spec.Distribution.Version = "2.9.4" })
	}

	It("are made once before an upgrade to another minor, and hold what was there before", func(ctx SpecContext) {
		install(ctx, "2.8.8", 2)
		repository := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"interval": "1m", "url": "https://example.com/a.git"}}}
		repository.SetGroupVersionKind(schema.GroupVersionKind{Group: "source.toolkit.fluxcd.io", Version: "v1", Kind: "GitRepository"})
		repository.SetNamespace(namespace)
		repository.SetName("saved")
		createCustom(ctx, repository)
		foreign := foreignDefinition()
		Expect(k8s.Create(ctx, foreign)).To(Succeed())
		DeferCleanup(func(ctx SpecContext) { Expect(k8s.Delete(ctx, foreign)).To(Succeed()) })
		gadget := &unstructured.Unstructured{}
		gadget.SetGroupVersionKind(schema.GroupVersionKind{Group: "example.toolkit.fluxcd.io", Version: "v1", Kind: "Gadget"})
		gadget.SetNamespace(namespace)
		gadget.SetName("theirs")
		createCustom(ctx, gadget)
		Expect(kept(ctx)).To(BeEmpty(), "an installation has nothing to lose")
		upgrade(ctx)
		expectReady(ctx)
		Expect(fetch(ctx).Status.LastAppliedRevision).To(HavePrefix("v2.9.4@"))
		saved := kept(ctx)
		Expect(saved).To(HaveLen(1))
		Expect(saved[0].Header).To(And(HaveField("Flux", "v2.8.8"), HaveField("Upgrade", "v2.9.4")))
		Expect(saved[0].Kinds).To(Equal(map[string]int{"FluxInstance.fluxcd.controlplane.io": 1, "GitRepository.source.toolkit.fluxcd.io": 1}))
		Eventually(func() []string { return eventMessages(ctx, v1.ReasonProgressing) }, soon, tick).Should(ContainElement(
			ContainSubstring("Saved 2 objects in snapshot " + saved[0].Name + " before the upgrade from v2.8.8 to v2.9.4; " +
				"left out objects of definitions that the instance does not own: gadgets.example.toolkit.fluxcd.io")))
	})

	It("are not made before a patch", func(ctx SpecContext) {
		install(ctx, "2.9.2", 3)
		upgrade(ctx)
		expectReady(ctx)
		Expect(fetch(ctx).Status.LastAppliedRevision).To(HavePrefix("v2.9.4@"))
		Expect(kept(ctx)).To(BeEmpty())
	})

	It("are switched off with keep: 0", func(ctx SpecContext) {
		install(ctx, "2.8.8", 0)
		upgrade(ctx)
		expectReady(ctx)
		Expect(fetch(ctx).Status.LastAppliedRevision).To(HavePrefix("v2.9.4@"))
		Expect(kept(ctx)).To(BeEmpty())
	})

	It("are made once for a way through several releases, and the newest are kept", func(ctx SpecContext) {
		store := snapshot.NewStore(k8s, snapshot.Options{Namespace: namespace})
		install(ctx, "2.2.3", 1)
		before, err := store.Create(ctx, snapshot.Order{Flux: "v2.2.3"})
		Expect(err).NotTo(HaveOccurred())
		Eventually(func() bool { return metav1.Now().After(before.Created.Add(1e9)) }, soon, tick).Should(BeTrue(), "their times tell them apart")
		upgrade(ctx)
		Eventually(func(g Gomega) {
			becomeAvailable(ctx)
			g.Expect(fetch(ctx).Status.LastAppliedRevision).To(HavePrefix("v2.9.4@"))
		}, journeyTime, tick).Should(Succeed())
		expectReady(ctx)
		saved := kept(ctx)
		Expect(saved).To(HaveLen(1))
		Expect(saved[0].Header).To(And(HaveField("Flux", "v2.2.3"), HaveField("Upgrade", "v2.9.4")))
	})

	It("that cannot be saved hold the upgrade up, and the running version stays", func(ctx SpecContext) {
		install(ctx, "2.8.8", 3)
		quota := &corev1.ResourceQuota{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "no-snapshots"},
			Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"count/configmaps": resource.MustParse("0")}},
		}
		Expect(k8s.Create(ctx, quota)).To(Succeed())
		quota.Status = corev1.ResourceQuotaStatus{Hard: quota.Spec.Hard, Used: quota.Spec.Hard} // as its controller would
		Expect(k8s.Status().Update(ctx, quota)).To(Succeed())
		DeferCleanup(func(ctx SpecContext) { Expect(client.IgnoreNotFound(k8s.Delete(ctx, quota))).To(Succeed()) })
		Eventually(func() error {
			return k8s.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "probe"}}, client.DryRunAll)
		}, soon, tick).Should(MatchError(apierrors.IsForbidden, "IsForbidden"), "the quota should be in force")
		upgrade(ctx)
		message := expectFailure(ctx, v1.ReasonSnapshotFailed)
		Expect(message).To(And(ContainSubstring("flux-snapshot-"), ContainSubstring("no-snapshots")))
		Expect(fetch(ctx).Status.LastAppliedRevision).To(HavePrefix("v2.8.8@"))
		Expect(kept(ctx)).To(BeEmpty())

		Expect(k8s.Delete(ctx, quota)).To(Succeed())
		expectReady(ctx)
		Expect(fetch(ctx).Status.LastAppliedRevision).To(HavePrefix("v2.9.4@"))
		Expect(kept(ctx)).To(HaveLen(1), "attempts that failed leave none")
	})
})

// foreignDefinition is one that somebody else has put into a group that ends like those of Flux.
func foreignDefinition() *apiextensionsv1.CustomResourceDefinition {
	anything := &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object"}}
	return &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1Name("gadgets.example.toolkit.fluxcd.io"),
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group:    "example.toolkit.fluxcd.io",
			Scope:    apiextensionsv1.NamespaceScoped,
			Names:    apiextensionsv1.CustomResourceDefinitionNames{Plural: "gadgets", Singular: "gadget", Kind: "Gadget"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{Name: "v1", Served: true, Storage: true, Schema: anything}},
		},
	}
}

// eventMessages are those about the instance with a reason.
func eventMessages(ctx context.Context, reason string) []string {
	GinkgoHelper()
	list := &corev1.EventList{}
	Expect(k8s.List(ctx, list, client.InNamespace(namespace))).To(Succeed())
	var found []string
	for i := range list.Items {
		if list.Items[i].Reason == reason && strings.EqualFold(list.Items[i].InvolvedObject.Kind, v1.FluxInstanceKind) {
			found = append(found, list.Items[i].Message)
		}
	}
	return found
}
