package migrate_test

import (
	"context"
	"errors"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-autopilot/flux-operator/pkg/migrate"
)

var _ = Describe("Rewriting what is stored", func() {
	It("rewrites what is stored in an old version and nothing else", func(ctx SpecContext) {
		w := newWorld(ctx)
		live, wanted := w.crd("v1* v1beta1"), w.crd("v1*")
		storeIn(ctx, live, "v1beta1")
		create(ctx, w.manyThings("v1beta1", 20)[:10])
		install(ctx, live)
		create(ctx, w.manyThings("v1", 20)[10:])
		Expect(storedVersions(ctx, live)).To(Equal([]string{"v1beta1", "v1"}))
		Expect(inEtcd(ctx, live)).To(Equal(map[string]int{"v1beta1": 10, "v1": 10}))
		Expect(applyAs(ctx, "installer", wanted)).To(MatchError(ContainSubstring("status.storedVersions")), "the API server should not let go of v1beta1 yet")
		before := w.revisions(ctx)

		var seen []migrate.Progress
		Expect(w.migrator.Run(ctx, w.plan(ctx, wanted), func(p migrate.Progress) { seen = append(seen, p) })).To(Succeed())

		Expect(seen).To(Equal([]migrate.Progress{{Definition: live.GetName(), Done: 20, Total: 20}}))
		Expect(storedVersions(ctx, live)).To(Equal([]string{"v1"}))
		Expect(inEtcd(ctx, live)).To(Equal(map[string]int{"v1": 20}))
		after := w.revisions(ctx)
		Expect(before["thing-00000"]).NotTo(Equal(after["thing-00000"]))
		Expect(before["thing-00010"]).To(Equal(after["thing-00010"]))
		install(ctx, wanted)
		for _, thing := range w.manyThings("v1", 20) {
			Expect(get(ctx, thing, "v1").Object["spec"]).To(Equal(map[string]any{"a": "a"}))
		}
		writes := w.traffic.written()
		Expect(w.migrator.Run(ctx, w.plan(ctx, wanted), nil)).To(Succeed())
		w.finish(ctx, wanted)
		Expect(w.traffic.written()).To(Equal(writes), "a second migration should have nothing to write")
	})

	It("moves the storage version first if that is what goes away", func(ctx SpecContext) {
		w := newWorld(ctx)
		// Nobody but the migrator knows when it has changed the definition, so that nothing can be asked before it goes on.
		w.migrator = migrate.New(w.client, migrate.Options{Settle: 3 * time.Second})
		live, wanted := w.crd("v1 v1beta1*"), w.crd("v1*")
		install(ctx, live)
		create(ctx, w.manyThings("v1beta1", 10))

		Expect(w.migrator.Run(ctx, w.plan(ctx, wanted), nil)).To(Succeed())

		Expect(inEtcd(ctx, live)).To(Equal(map[string]int{"v1": 10}))
		Expect(storedVersions(ctx, live)).To(Equal([]string{"v1"}))
		install(ctx, wanted)
		Expect(get(ctx, w.thing("v1", "thing-00003", ""), "v1").Object["spec"]).To(Equal(map[string]any{"a": "a"}))
	})

	It("rewrites after applying what the new definition stores elsewhere", func(ctx SpecContext) {
		w := newWorld(ctx)
		install(ctx, w.crd("v1beta1*"))
		create(ctx, w.manyThings("v1beta1", 10))
		applied := w.crd("v1* v1beta1")
		Expect(w.plan(ctx, applied)).To(BeEmpty())
		install(ctx, applied)

		w.finish(ctx, applied)

		Expect(inEtcd(ctx, applied)).To(Equal(map[string]int{"v1": 10}))
		Expect(storedVersions(ctx, applied)).To(Equal([]string{"v1"}))
	})

	It("rewrites by force what was pruned without being rewritten", func(ctx SpecContext) {
		w := newWorld(ctx)
		crd := w.crd("v1* v1beta1")
		storeIn(ctx, crd, "v1beta1")
		create(ctx, w.manyThings("v1", 3))
		install(ctx, crd)
		Expect(admin.Status().Patch(ctx, get(ctx, crd, "v1"), client.RawPatch(types.MergePatchType, []byte(`{"status":{"storedVersions":["v1"]}}`)))).To(Succeed())
		w.finish(ctx, crd)
		Expect(inEtcd(ctx, crd)).To(Equal(map[string]int{"v1beta1": 3}))
		live, err := w.migrator.Live(ctx, read(GinkgoT(), []*unstructured.Unstructured{crd}))
		Expect(err).NotTo(HaveOccurred())

		Expect(w.migrator.Run(ctx, migrate.Force(live), nil)).To(Succeed())

		Expect(inEtcd(ctx, crd)).To(Equal(map[string]int{"v1": 3}))
	})

	It("rewrites objects that are being deleted and objects that do not fit the schema any more", func(ctx SpecContext) {
		w := newWorld(ctx)
		live, wanted := w.crd("v2* v1"), w.crd("v2*")
		storeIn(ctx, live, "v1")
		leaving := w.thing("v1", "leaving", "a")
		leaving.SetFinalizers([]string{"example.com/slow"})
		create(ctx, []*unstructured.Unstructured{leaving, w.thing("v1", "misfit", "longer than v2 allows")})
		Expect(admin.Delete(ctx, w.thing("v1", "leaving", ""))).To(Succeed())
		install(ctx, live)

		Expect(w.migrator.Run(ctx, w.plan(ctx, wanted), nil)).To(Succeed())

		Expect(inEtcd(ctx, live)).To(Equal(map[string]int{"v2": 2}))
		install(ctx, wanted)
		Expect(get(ctx, leaving, "v2").GetDeletionTimestamp()).NotTo(BeNil())
		Expect(get(ctx, w.thing("v2", "misfit", ""), "v2").Object["spec"]).To(Equal(map[string]any{"a": "longer than v2 allows"}))
	})

	It("carries over who owns which field", func(ctx SpecContext) {
		w := newWorld(ctx)
		live, wanted := w.crd("v1* v1beta1"), w.crd("v1*")
		install(ctx, live)
		thing := w.thing("v1beta1", "owned", "a")
		thing.Object["spec"] = map[string]any{"a": "a", "b": "b"}
		Expect(applyAs(ctx, "kustomize-controller", thing)).To(Succeed())
		Expect(storedVersions(ctx, live)).To(Equal([]string{"v1"}), "nothing stored is in the way")

		Expect(w.migrator.Run(ctx, w.plan(ctx, wanted), nil)).To(Succeed())

		entries := get(ctx, thing, "v1").GetManagedFields()
		Expect(entries).To(HaveLen(1), "the migrator should not own a field")
		Expect(entries[0].APIVersion).To(Equal(w.group() + "/v1"))
		Expect(entries[0].Manager).To(Equal("kustomize-controller"))
		install(ctx, wanted)
		thing = w.thing("v1", "owned", "changed")
		Expect(applyAs(ctx, "kustomize-controller", thing)).To(Succeed())
		Expect(get(ctx, thing, "v1").Object["spec"]).To(Equal(map[string]any{"a": "changed"}), "a field that is not applied any more should go")
	})

	It("carries over field owners after applying, too", func(ctx SpecContext) {
		w := newWorld(ctx)
		live, wanted := w.crd("v1* v1beta1"), w.crd("v1*")
		install(ctx, live)
		thing := w.thing("v1beta1", "owned", "a")
		Expect(applyAs(ctx, "kustomize-controller", thing)).To(Succeed())
		install(ctx, wanted)
		again := w.thing("v1", "owned", "changed")
		// Until the API server has heard of the definition it would carry them over itself, if this were more than a question.
		Eventually(func() error { return applyAs(ctx, "kustomize-controller", again, client.DryRunAll) }).Should(MatchError(ContainSubstring("invalid group/version")), "the reason for all of this")

		w.finish(ctx, wanted)

		Expect(applyAs(ctx, "kustomize-controller", again)).To(Succeed())
	})

	It("carries over field owners to a version that has new defaults", func(ctx SpecContext) {
		w := newWorld(ctx)
		install(ctx, w.crd("v1beta1*"))
		for _, name := range []string{"carried", "left"} {
			Expect(applyAs(ctx, "kustomize-controller", w.thing("v1beta1", name, "a"))).To(Succeed())
		}
		crd := w.crd("v1* v1beta1")
		versions, _, _ := unstructured.NestedSlice(crd.Object, "spec", "versions")
		Expect(unstructured.SetNestedField(versions[0].(map[string]any), map[string]any{"type": "string", "default": "c"},
			"schema", "openAPIV3Schema", "properties", "spec", "properties", "c")).To(Succeed())
		Expect(unstructured.SetNestedSlice(crd.Object, versions, "spec", "versions")).To(Succeed())
		install(ctx, crd)
		left := get(ctx, w.thing("v1", "left", ""), "v1")
		left.SetLabels(map[string]string{"somebody": "was-here"})
		Expect(admin.Update(ctx, left)).To(Succeed())
		Expect(get(ctx, left, "v1").GetManagedFields()).To(BeEmpty(), "the reason for all of this")

		w.finish(ctx, crd)

		carried := get(ctx, w.thing("v1", "carried", ""), "v1")
		carried.SetLabels(map[string]string{"somebody": "was-here"})
		Expect(admin.Update(ctx, carried)).To(Succeed())
		owners := get(ctx, carried, "v1").GetManagedFields()
		Expect(owners).NotTo(BeEmpty())
		Expect(owners[0].Manager).To(Equal("kustomize-controller"))
	})
})

var _ = Describe("An object that cannot be rewritten", func() {
	It("is named, blocks its own definition and no other, and is dealt with once it can be", func(ctx SpecContext) {
		w, other := newWorld(ctx), newWorld(ctx)
		live, wanted := w.crd("v1* v1beta1"), w.crd("v1*")
		otherLive, otherWanted := other.crd("v1* v1beta1"), other.crd("v1*")
		storeIn(ctx, live, "v1beta1")
		storeIn(ctx, otherLive, "v1beta1")
		create(ctx, append(w.manyThings("v1beta1", 5), w.thing("v1beta1", "guarded", "a")))
		create(ctx, other.manyThings("v1beta1", 5))
		install(ctx, live)
		install(ctx, otherLive)
		allow := forbidUpdates(ctx, w, "object.metadata.name != 'guarded'")

		err := w.migrator.Run(ctx, w.plan(ctx, wanted, otherWanted), nil)

		var failed *migrate.ObjectsError
		Expect(errors.As(err, &failed)).To(BeTrue(), "%v", err)
		Expect(failed.Objects).To(HaveLen(1))
		Expect(failed.Objects[0].Object).To(Equal(types.NamespacedName{Namespace: w.ns, Name: "guarded"}))
		Expect(err).To(MatchError(And(ContainSubstring(live.GetName()), ContainSubstring("guarded"), ContainSubstring("hands off"))))
		Expect(storedVersions(ctx, live)).To(Equal([]string{"v1beta1", "v1"}))
		Expect(inEtcd(ctx, live)).To(Equal(map[string]int{"v1": 5, "v1beta1": 1}))
		Expect(isRefused(applyAs(ctx, "installer", wanted))).To(BeTrue(), "the old definition stays")
		Expect(storedVersions(ctx, otherLive)).To(Equal([]string{"v1"}))

		allow()
		Expect(w.migrator.Run(ctx, w.plan(ctx, wanted, otherWanted), nil)).To(Succeed())
		Expect(storedVersions(ctx, live)).To(Equal([]string{"v1"}))
	})

	It("is one of a bounded number if all are refused", func(ctx SpecContext) {
		w := newWorld(ctx)
		live, wanted := w.crd("v1* v1beta1"), w.crd("v1*")
		storeIn(ctx, live, "v1beta1")
		create(ctx, w.manyThings("v1beta1", 100))
		install(ctx, live)
		forbidUpdates(ctx, w, "false")
		steps, before := w.plan(ctx, wanted), w.traffic.written()

		err := w.migrator.Run(ctx, steps, nil)

		var failed *migrate.ObjectsError
		Expect(errors.As(err, &failed)).To(BeTrue(), "%v", err)
		Expect(len(failed.Objects)).To(BeNumerically("<", 20))
		Expect(err).To(MatchError(ContainSubstring("and maybe more failed")))
		Expect(w.traffic.written() - before).To(BeNumerically("<", 20))
	})
})

// forbidUpdates makes the API server refuse updates of the world's things that do not fulfil an expression, and returns how to end that.
func forbidUpdates(ctx context.Context, w *world, expression string) func() {
	GinkgoHelper()
	policy := object(`
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: ` + w.ns + `}
spec:
  matchConstraints:
    resourceRules:
    - {apiGroups: [` + w.group() + `], apiVersions: ["*"], operations: [UPDATE], resources: [things]}
  validations: [{expression: "` + expression + `", message: hands off}]
`)
	binding := object(`
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: ` + w.ns + `}
spec: {policyName: ` + w.ns + `, validationActions: [Deny]}
`)
	Expect(admin.Create(ctx, policy)).To(Succeed())
	Expect(admin.Create(ctx, binding)).To(Succeed())
	probe := func() error {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(w.thing("v1", "", "").GroupVersionKind())
		if err := admin.List(ctx, list, client.InNamespace(w.ns)); err != nil {
			return err
		}
		var refused error
		for i := range list.Items {
			refused = errors.Join(refused, admin.Patch(ctx, &list.Items[i], client.RawPatch(types.MergePatchType, []byte("{}")), client.DryRunAll))
		}
		return refused
	}
	Eventually(probe).Should(MatchError(ContainSubstring("hands off")))
	return func() {
		GinkgoHelper()
		Expect(admin.Delete(ctx, binding)).To(Succeed())
		Eventually(probe).Should(Succeed())
	}
}
