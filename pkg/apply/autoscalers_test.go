package apply_test

import (
	"context"
	"net/http"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-autopilot/flux-operator/pkg/apply"
)

const verticalDefinition = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: verticalpodautoscalers.autoscaling.k8s.io
  annotations: {api-approved.kubernetes.io: "unapproved, for a test"}
spec:
  group: autoscaling.k8s.io
  names: {kind: VerticalPodAutoscaler, listKind: VerticalPodAutoscalerList, plural: verticalpodautoscalers, singular: verticalpodautoscaler}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`

func (w *world) horizontal(name, target string) *unstructured.Unstructured {
	return w.object(`
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: ` + name + `}
spec:
  maxReplicas: 5
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: ` + target + `}
`)
}

func (w *world) vertical(name, target, more string) *unstructured.Unstructured {
	return w.object(`
apiVersion: autoscaling.k8s.io/v1
kind: VerticalPodAutoscaler
metadata: {name: ` + name + `}
spec: {targetRef: {apiVersion: apps/v1, kind: Deployment, name: ` + target + `}` + more + `}
`)
}

// autoscaled applies an object as the operator does: with the fields left to others that autoscalers set.
func (w *world) autoscaled(ctx context.Context, obj *unstructured.Unstructured) apply.Action {
	GinkgoHelper()
	objects := []*unstructured.Unstructured{obj}
	fields, err := w.applier.Autoscaled(ctx, objects)
	Expect(err).NotTo(HaveOccurred())
	changes, err := w.applier.Leaving(fields).Apply(ctx, objects, nil)
	Expect(err).NotTo(HaveOccurred())
	actions, _ := outcome(changes)
	return actions[obj.GetKind()+"/"+obj.GetName()]
}

// defined defines VerticalPodAutoscalers for one test case.
func (w *world) defined(ctx context.Context) {
	GinkgoHelper()
	crd := w.object(verticalDefinition)
	Expect(admin.Create(ctx, crd)).To(Succeed())
	DeferCleanup(undefined, crd)
	Eventually(func() error {
		list := &unstructured.UnstructuredList{}
		list.SetAPIVersion("autoscaling.k8s.io/v1")
		list.SetKind("VerticalPodAutoscalerList")
		return w.client.List(ctx, list)
	}).Should(Succeed())
}

func undefined(ctx SpecContext, crd *unstructured.Unstructured) {
	Expect(admin.Delete(ctx, crd)).To(Succeed())
	Eventually(func() bool { return apierrors.IsNotFound(admin.Get(ctx, client.ObjectKeyFromObject(crd), byName(crd))) }).Should(BeTrue())
}

var _ = Describe("Autoscalers", func() {
	It("get the replicas of what a HorizontalPodAutoscaler targets, until it goes", func(ctx SpecContext) {
		w := newWorld(ctx)
		app := w.deployment("app")
		Expect(w.autoscaled(ctx, app)).To(Equal(apply.Created))
		scaler := w.horizontal("app", "app")
		Expect(admin.Create(ctx, scaler)).To(Succeed())

		By("having a person set them, whom the operator would put back otherwise")
		Expect(w.autoscaled(ctx, app)).To(Equal(apply.Configured))
		kubectl(ctx, "", "", "-n", w.ns, "scale", "deployment", "app", "--replicas=2")
		Expect(w.autoscaled(ctx, app)).To(Equal(apply.Unchanged))
		Expect(replicas(w.live(ctx, app))).To(BeEquivalentTo(2))

		By("having the autoscaler set them, while something else changes")
		scale(ctx, w, app, "kube-controller-manager", 3)
		Expect(unstructured.SetNestedField(app.Object, int64(7), "spec", "minReadySeconds")).To(Succeed())
		Expect(w.autoscaled(ctx, app)).To(Equal(apply.Configured))
		Expect(replicas(w.live(ctx, app))).To(BeEquivalentTo(3))

		Expect(admin.Delete(ctx, scaler)).To(Succeed())
		Expect(w.autoscaled(ctx, app)).To(Equal(apply.Configured))
		Expect(replicas(w.live(ctx, app))).To(BeEquivalentTo(1))
	})

	It("let what they target be created whole", func(ctx SpecContext) {
		w := newWorld(ctx)
		Expect(admin.Create(ctx, w.horizontal("app", "app"))).To(Succeed())
		app := w.deployment("app")
		Expect(unstructured.SetNestedField(app.Object, int64(2), "spec", "replicas")).To(Succeed())
		Expect(w.autoscaled(ctx, app)).To(Equal(apply.Created))
		Expect(replicas(w.live(ctx, app))).To(BeEquivalentTo(2))
	})

	It("get the resources that a VerticalPodAutoscaler sets, until it goes", func(ctx SpecContext) {
		w := newWorld(ctx)
		w.defined(ctx)
		app := w.leaving()
		app.SetAnnotations(nil)
		Expect(w.autoscaled(ctx, app)).To(Equal(apply.Created))
		scaler := w.vertical("app", "app", "")
		Expect(admin.Create(ctx, scaler)).To(Succeed())
		Expect(w.autoscaled(ctx, app)).To(Equal(apply.Configured))
		w.patched(ctx, app, "updater", moreMemory)
		Expect(w.autoscaled(ctx, app)).To(Equal(apply.Unchanged))
		Expect(memoryOf(w.live(ctx, app))).To(Equal("1Gi"))

		Expect(admin.Delete(ctx, scaler)).To(Succeed())
		Expect(w.autoscaled(ctx, app)).To(Equal(apply.Configured))
		Expect(memoryOf(w.live(ctx, app))).To(Equal("64Mi"))
	})

	It("get nothing of what they only recommend for, nor of others", func(ctx SpecContext) {
		w := newWorld(ctx)
		w.defined(ctx)
		app, other := w.deployment("app"), w.deployment("other")
		Expect(unstructured.SetNestedSlice(app.Object, []any{
			map[string]any{"name": "manager", "image": "a"}, map[string]any{"name": "left", "image": "a"}, map[string]any{"name": "proxy", "image": "a"},
		}, "spec", "template", "spec", "containers")).To(Succeed())
		elsewhere := w.horizontal("stateful", "other")
		Expect(unstructured.SetNestedField(elsewhere.Object, "StatefulSet", "spec", "scaleTargetRef", "kind")).To(Succeed())
		for _, scaler := range []*unstructured.Unstructured{
			elsewhere, w.horizontal("nothing", "nothing"),
			w.vertical("recommends", "other", ", updatePolicy: {updateMode: \"Off\"}"),
			w.vertical("recommends-for-each", "other", ", resourcePolicy: {containerPolicies: [{containerName: \"*\", mode: \"Off\"}]}"),
			w.vertical("app", "app", ", resourcePolicy: {containerPolicies: [{containerName: left, mode: \"Off\"}, {containerName: manager, mode: Auto}]}"),
		} {
			Expect(admin.Create(ctx, scaler)).To(Succeed())
		}
		fields, err := w.applier.Autoscaled(ctx, []*unstructured.Unstructured{app, other, w.configMap("settings", nil)})
		Expect(err).NotTo(HaveOccurred())
		Expect(fields[apply.IDOf(other)]).To(BeEmpty())
		Expect(fields[apply.IDOf(app)]).To(Equal([][]string{
			{"spec", "template", "spec", "containers", "0", "resources"},
			{"spec", "template", "spec", "containers", "2", "resources"},
		}))
	})

	It("are asked for once, and only where they could target something", func(ctx SpecContext) {
		w := newWorld(ctx)
		one, two := w.deployment("one"), w.deployment("two")
		w.warm(one, w.horizontal("app", "app"))
		_, err := w.applier.Autoscaled(ctx, []*unstructured.Unstructured{w.configMap("settings", nil)})
		Expect(err).NotTo(HaveOccurred())
		Expect(w.traffic.seen("")).To(BeEmpty())
		fields, err := w.applier.Autoscaled(ctx, []*unstructured.Unstructured{one, two})
		Expect(err).NotTo(HaveOccurred())
		Expect(fields).To(BeEmpty())
		Expect(w.traffic.seen("")).To(HaveLen(2))
	})

	It("are not thought to be gone when they cannot be listed", func(ctx SpecContext) {
		w := newWorld(ctx)
		app := w.deployment("app")
		w.warm(app)
		w.traffic.respond(func(r *http.Request) (*http.Response, error) {
			return refusal(r, http.StatusForbidden, metav1.StatusReasonForbidden, "not allowed"), nil
		})
		_, err := w.applier.Autoscaled(ctx, []*unstructured.Unstructured{app})
		Expect(err).To(MatchError(ContainSubstring(`listing each HorizontalPodAutoscaler of namespace "` + w.ns + `"`)))
	})
})
