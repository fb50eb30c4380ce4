package controllers_test

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/controllers"
	"github.com/flux-autopilot/flux-operator/pkg/apply"
)

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

	It("lets go in time where a stranger holds an object of Flux, and strips nothing of theirs", func(ctx SpecContext) {
		const blocked = "blocked"
		instance, app := goingWithStranger(ctx, blocked)
		farewell := newFarewell(blocked)
		farewell.Timeout = 40 * time.Second // half of it to try
		asked := 0
		farewell.Client = interceptor.NewClient(directClient(), interceptor.Funcs{
			Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
				if _, ok := obj.(*corev1.Namespace); ok {
					if asked++; asked == 1 {
						return apierrors.NewInternalError(errors.New("the API server has a bad moment"))
					}
				}
				return c.Get(ctx, key, obj, opts...)
			},
		})
		began := time.Now()
		Expect(farewell.Say(ctx)).To(Succeed())
		Expect(time.Since(began)).To(BeNumerically("<", farewell.Timeout))
		Expect(asked).To(Equal(2))
		Expect(k8s.Get(ctx, client.ObjectKeyFromObject(instance), instance)).To(Succeed())
		Expect(instance.Finalizers).To(BeEmpty(), "no operator will ever run in this namespace again")
		Expect(k8s.Get(ctx, client.ObjectKeyFromObject(app), app)).To(Succeed())
		Expect(app.GetFinalizers()).To(Equal([]string{foreign}))
		definition := &apiextensionsv1.CustomResourceDefinition{}
		Expect(k8s.Get(ctx, client.ObjectKey{Name: kustomizationsCRD}, definition)).To(Succeed())
		Expect(definition.DeletionTimestamp).NotTo(BeNil(), "it goes when the stranger lets go")
	})

	It("sees that it is given less time meanwhile", func(ctx SpecContext) {
		const hurried = "hurried"
		instance, _ := goingWithStranger(ctx, hurried)
		done := make(chan error, 1)
		go func() { done <- newFarewell(hurried).Say(ctx) }()
		Eventually(func(g Gomega) {
			g.Expect(k8s.Get(ctx, client.ObjectKeyFromObject(instance), instance)).To(Succeed())
			g.Expect(conditionMessage(instance)).To(HavePrefix("Uninstalling Flux, 4 of 4"))
		}, soon, tick).Should(Succeed())
		base := instance.DeepCopy()
		instance.Annotations = map[string]string{v1.UninstallTimeoutAnnotation: "1s"}
		Expect(k8s.Patch(ctx, instance, client.MergeFrom(base))).To(Succeed())
		Eventually(done, soon, tick).Should(Receive(Not(HaveOccurred())))
		Expect(k8s.Get(ctx, client.ObjectKeyFromObject(instance), instance)).To(Succeed())
		Expect(instance.Finalizers).To(BeEmpty())
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

// goingWithStranger is an instance in a namespace that is being deleted, and a Kustomization elsewhere that a stranger holds.
func goingWithStranger(ctx SpecContext, going string) (*v1.FluxInstance, *unstructured.Unstructured) {
	GinkgoHelper()
	Expect(k8s.Create(ctx, &corev1.Namespace{ObjectMeta: metav1Name(going)})).To(Succeed())
	stop := startOperatorIn(going)
	noWait := false
	instance := newInstance(func(in *v1.FluxInstance) { in.Namespace, in.Spec.Wait = going, &noWait })
	Expect(k8s.Create(ctx, instance)).To(Succeed())
	Eventually(func(g Gomega) {
		g.Expect(k8s.Get(ctx, client.ObjectKeyFromObject(instance), instance)).To(Succeed())
		g.Expect(apimeta.IsStatusConditionTrue(instance.Status.Conditions, meta.ReadyCondition)).To(BeTrue())
	}, soon, tick).Should(Succeed())
	app := kustomization(ctx, "kept-from-"+going)
	base := app.DeepCopy()
	app.SetFinalizers([]string{"finalizers.fluxcd.io", foreign})
	Expect(k8s.Patch(ctx, app, client.MergeFrom(base))).To(Succeed())
	stop()
	DeferCleanup(func(ctx SpecContext) {
		free(ctx, app)
		Eventually(func(g Gomega) {
			all := &apiextensionsv1.CustomResourceDefinitionList{}
			g.Expect(k8s.List(ctx, all)).To(Succeed())
			for i := range all.Items {
				g.Expect(all.Items[i].DeletionTimestamp).To(BeNil(), all.Items[i].Name)
			}
		}, soon, tick).Should(Succeed(), "whoever installs next must not find a definition that is on its way out")
	})
	Expect(k8s.Delete(ctx, &corev1.Namespace{ObjectMeta: metav1Name(going)})).To(Succeed())
	return instance, app
}

// newFarewell is what a process does that ran in the namespace.
func newFarewell(namespace string) *controllers.Farewell {
	GinkgoHelper()
	direct := directClient()
	owner := client.ObjectKey{Namespace: namespace, Name: v1.DefaultInstanceName}
	return &controllers.Farewell{Client: direct, Applier: apply.New(direct, apply.Options{Owner: owner}), Namespace: namespace}
}

// directClient is that of a process, past every cache.
func directClient() client.WithWatch {
	GinkgoHelper()
	config := rest.CopyConfig(testEnv.Config)
	config.QPS = -1
	config.Wrap(requests.count)
	direct, err := client.NewWithWatch(config, client.Options{Scheme: scheme})
	Expect(err).NotTo(HaveOccurred())
	return direct
}
