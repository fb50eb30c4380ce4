package apply_test

import (
	"context"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/flux-autopilot/flux-operator/pkg/apply"
)

// kustomizations defines the kind as Flux does, with the given fields of spec, until the test case ends.
func (w *world) kustomizations(ctx context.Context, fields string) {
	GinkgoHelper()
	crd := w.object(`
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: kustomizations.kustomize.toolkit.fluxcd.io}
spec:
  group: kustomize.toolkit.fluxcd.io
  names: {kind: Kustomization, listKind: KustomizationList, plural: kustomizations, singular: kustomization}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: {type: object, required: [prune], properties: {prune: {type: boolean}, path: {type: string}` + fields + `}}
          status: {type: object, x-kubernetes-preserve-unknown-fields: true}
`)
	w.mustApply(ctx, nil, crd)
	served(ctx, w.kustomization("x", ""))
	undo := func(ctx context.Context) {
		Expect(admin.Delete(ctx, crd)).To(Succeed())
		Eventually(func() bool { return exists(ctx, crd) }).Should(BeFalse())
	}
	DeferCleanup(undo)
}

// kustomization is what a sync deploys with, held by kustomize-controller.
func (w *world) kustomization(name, policy string) *unstructured.Unstructured {
	return w.object("apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: " + name +
		", finalizers: [finalizers.fluxcd.io]}\nspec: {prune: true" + policy + "}")
}

// finalize does what kustomize-controller does in the end: it tells whether it removes what was deployed, and lets the object go.
func (w *world) finalize(ctx context.Context, obj *unstructured.Unstructured) (removes bool) {
	GinkgoHelper()
	live := w.live(ctx, obj)
	Expect(live.GetDeletionTimestamp()).NotTo(BeNil())
	removes, _, _ = unstructured.NestedBool(live.Object, "spec", "prune")
	switch policy, _, _ := unstructured.NestedString(live.Object, "spec", "deletionPolicy"); policy {
	case "Orphan":
		removes = false
	case "Delete":
		removes = true
	}
	live.SetFinalizers(nil)
	Expect(admin.Update(ctx, live)).To(Succeed())
	return removes
}

var _ = Describe("Pruning what deploys", func() {
	const old, recent = "", ", deletionPolicy: {type: string}"

	DescribeTable("keeps what was deployed",
		func(ctx SpecContext, fields, policy string, removes bool) {
			w := newWorld(ctx)
			w.kustomizations(ctx, fields)
			sync := w.kustomization("sync", policy)
			w.mustApply(ctx, nil, sync)
			changes, survivors, err := w.applier.Prune(ctx, []*unstructured.Unstructured{byName(sync)})
			Expect(err).NotTo(HaveOccurred())
			Expect(survivors).To(BeEmpty())
			Expect(changes).To(ConsistOf(HaveField("Action", apply.Deleted)))
			Expect(w.finalize(ctx, sync)).To(Equal(removes))
		},
		Entry("of a release that knows no deletion policy", old, "", false),
		Entry("of a release that does", recent, ", deletionPolicy: Orphan", false),
		Entry("of an object left behind by an older release", recent, "", false),
		Entry("unless the user said otherwise", recent, ", deletionPolicy: Delete", true),
	)

	It("does not revive a sync that is on its way out, and makes it anew afterwards", func(ctx SpecContext) {
		w := newWorld(ctx)
		w.kustomizations(ctx, old)
		sync := w.kustomization("sync", "")
		w.mustApply(ctx, nil, sync)
		_, _, err := w.applier.Prune(ctx, []*unstructured.Unstructured{byName(sync)})
		Expect(err).NotTo(HaveOccurred())

		_, err = w.applier.Apply(ctx, []*unstructured.Unstructured{sync}, nil)
		Expect(err).To(MatchError(ContainSubstring("Kustomization/" + w.ns + "/sync: the object is being deleted")))
		renamed := w.kustomization("renamed", "")
		actions, _ := w.mustApply(ctx, nil, renamed)
		Expect(actions).To(HaveKeyWithValue("Kustomization/renamed", apply.Created))
		Expect(w.finalize(ctx, sync)).To(BeFalse())

		actions, _ = w.mustApply(ctx, nil, sync)
		Expect(actions).To(HaveKeyWithValue("Kustomization/sync", apply.Created))
		Expect(w.live(ctx, sync).Object["spec"]).To(HaveKeyWithValue("prune", true))
		for _, obj := range []*unstructured.Unstructured{sync, renamed} {
			Expect(admin.Delete(ctx, byName(obj))).To(Succeed())
			w.finalize(ctx, obj)
		}
	})
})
