package migrate_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
		create(ctx, w.manyThings("v1beta1", 3))
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
		Eventually(func() error { return applyAs(ctx, "kustomize-controller", again) }).Should(MatchError(ContainSubstring("invalid group/version")), "the reason for all of this")

		w.finish(ctx, wanted)

		Expect(applyAs(ctx, "kustomize-controller", again)).To(Succeed())
	})
})

var _ = Describe("Being disturbed", func() {
	It("goes on after an interruption and writes only what is left", func(ctx SpecContext) {
		w := newWorld(ctx)
		live, wanted := w.crd("v1* v1beta1"), w.crd("v1*")
		storeIn(ctx, live, "v1beta1")
		create(ctx, w.manyThings("v1beta1", 1200))
		install(ctx, live)
		steps := w.plan(ctx, wanted)
		killed := errors.New("killed")
		interrupted, interrupt := context.WithCancelCause(ctx)
		err := w.migrator.Run(interrupted, steps, func(p migrate.Progress) {
			Expect(p).To(Equal(migrate.Progress{Definition: live.GetName(), Done: 500, Total: 1200}))
			interrupt(killed)
		})
		Expect(err).To(MatchError(killed))
		Expect(storedVersions(ctx, live)).To(Equal([]string{"v1beta1", "v1"}))
		Expect(inEtcd(ctx, live)).To(Equal(map[string]int{"v1": 500, "v1beta1": 700}))
		before := w.revisions(ctx)

		Expect(w.migrator.Run(ctx, w.plan(ctx, wanted), nil)).To(Succeed())

		unchanged := 0
		for name, revision := range w.revisions(ctx) {
			if before[name] == revision {
				unchanged++
			}
		}
		Expect(unchanged).To(Equal(500), "what was done should not be written again")
		Expect(storedVersions(ctx, live)).To(Equal([]string{"v1"}))
		install(ctx, wanted)
	})

	It("bears with those who change and delete objects, and with an API server that is busy", func(ctx SpecContext) {
		w := newWorld(ctx)
		live, wanted := w.crd("v1* v1beta1"), w.crd("v1*")
		storeIn(ctx, live, "v1beta1")
		fought, deleted := w.thing("v1beta1", "fought", "a"), w.thing("v1beta1", "deleted", "a")
		for _, thing := range append(w.manyThings("v1beta1", 5), fought, deleted) {
			Expect(applyAs(ctx, "kustomize-controller", thing)).To(Succeed())
		}
		install(ctx, live)
		steps := w.plan(ctx, wanted)
		var once sync.Map
		w.traffic.respond(func(r *http.Request) (*http.Response, error) {
			defer GinkgoRecover()
			name := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
			if _, again := once.LoadOrStore(name, true); again || r.Method != http.MethodPatch {
				return nil, errPass
			}
			switch name {
			case "fought":
				Expect(applyAs(ctx, "kustomize-controller", w.thing("v1beta1", "fought", "changed"))).To(Succeed())
			case "deleted":
				Expect(admin.Delete(ctx, deleted)).To(Succeed())
			case "thing-00001":
				return refusal(r, metav1.Status{Code: http.StatusServiceUnavailable, Reason: metav1.StatusReasonServiceUnavailable, Message: "later"}), nil
			case "thing-00002":
				busy := refusal(r, metav1.Status{Code: http.StatusTooManyRequests, Reason: metav1.StatusReasonTooManyRequests, Message: "slower"})
				busy.Header.Set("Retry-After", "1")
				return busy, nil
			}
			return nil, errPass
		})

		Expect(w.migrator.Run(ctx, steps, nil)).To(Succeed())

		Expect(inEtcd(ctx, live)).To(Equal(map[string]int{"v1": 6}))
		Expect(get(ctx, fought, "v1").Object["spec"]).To(Equal(map[string]any{"a": "changed"}))
		Expect(get(ctx, fought, "v1").GetManagedFields()[0].APIVersion).To(Equal(w.group() + "/v1"))
		install(ctx, wanted)
	})

	DescribeTable("goes on with a list that took too long", func(ctx SpecContext, withToken bool, lists int) {
		w := newWorld(ctx)
		live, wanted := w.crd("v1* v1beta1"), w.crd("v1*")
		storeIn(ctx, live, "v1beta1")
		create(ctx, w.manyThings("v1beta1", 600))
		install(ctx, live)
		steps := w.plan(ctx, wanted)
		listed := 0
		w.traffic.respond(func(r *http.Request) (*http.Response, error) {
			if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, "/things") {
				return nil, errPass
			}
			if listed++; listed != 2 {
				return nil, errPass
			}
			status := metav1.Status{Code: http.StatusGone, Reason: metav1.StatusReasonExpired, Message: "too old"}
			if withToken {
				status.Continue = inconsistent(r.URL.Query().Get("continue"))
			}
			return refusal(r, status), nil
		})
		var last migrate.Progress

		Expect(w.migrator.Run(ctx, steps, func(p migrate.Progress) { last = p })).To(Succeed())

		Expect(listed).To(Equal(lists))
		Expect(last.Done).To(Equal(600))
		Expect(inEtcd(ctx, live)).To(Equal(map[string]int{"v1": 600}))
	},
		Entry("where it stopped", true, 3),
		Entry("from the start if the API server does not say where", false, 4),
	)

	It("gives up a list that never ends", func(ctx SpecContext) {
		w := newWorld(ctx)
		live := w.crd("v1* v1beta1")
		storeIn(ctx, live, "v1beta1")
		install(ctx, live)
		steps := w.plan(ctx, w.crd("v1*"))
		w.traffic.respond(func(r *http.Request) (*http.Response, error) {
			if !strings.HasSuffix(r.URL.Path, "/things") {
				return nil, errPass
			}
			return refusal(r, metav1.Status{Code: http.StatusGone, Reason: metav1.StatusReasonExpired, Message: "too old"}), nil
		})
		Expect(w.migrator.Run(ctx, steps, nil)).To(MatchError(And(ContainSubstring("listing objects"), ContainSubstring(live.GetName()), ContainSubstring("too old"))))
		Expect(storedVersions(ctx, live)).To(Equal([]string{"v1beta1", "v1"}))
	})

	It("does not prune a definition that somebody changed meanwhile, and does if only its status moved", func(ctx SpecContext) {
		w := newWorld(ctx)
		live, wanted := w.crd("v1* v1beta1"), w.crd("v1*")
		storeIn(ctx, live, "v1beta1")
		create(ctx, w.manyThings("v1beta1", 2))
		install(ctx, live)
		err := w.migrator.Run(ctx, w.plan(ctx, wanted), func(migrate.Progress) { storeIn(ctx, live, "v1beta1") })
		Expect(err).To(MatchError(And(ContainSubstring("changed meanwhile"), ContainSubstring(live.GetName()))))
		Expect(storedVersions(ctx, live)).To(ContainElement("v1beta1"))

		install(ctx, live)
		Expect(w.migrator.Run(ctx, w.plan(ctx, wanted), func(migrate.Progress) {
			labelled := get(ctx, live, "v1")
			labelled.SetLabels(map[string]string{"somebody": "was-here"})
			Expect(admin.Update(ctx, labelled)).To(Succeed())
		})).To(Succeed())
		Expect(storedVersions(ctx, live)).To(Equal([]string{"v1"}))
	})

	It("has nothing to do for a definition that is deleted meanwhile", func(ctx SpecContext) {
		w := newWorld(ctx)
		live := w.crd("v1* v1beta1")
		storeIn(ctx, live, "v1beta1")
		install(ctx, live)
		steps := w.plan(ctx, w.crd("v1*"))
		Expect(admin.Delete(ctx, live)).To(Succeed())
		Eventually(func() bool { return apierrors.IsNotFound(admin.Get(ctx, client.ObjectKeyFromObject(live), live)) }).Should(BeTrue())
		Expect(w.migrator.Run(ctx, steps, nil)).To(Succeed())
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
	Eventually(probe).WithTimeout(time.Minute).Should(MatchError(ContainSubstring("hands off")))
	return func() {
		GinkgoHelper()
		Expect(admin.Delete(ctx, binding)).To(Succeed())
		Eventually(probe).WithTimeout(time.Minute).Should(Succeed())
	}
}
