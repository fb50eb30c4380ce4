package apply_test

import (
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/apply"
)

var _ = Describe("ReleaseFinalizersIn", func() {
	const flux = "finalizers.fluxcd.io"

	It("leaves other namespaces alone", func(ctx SpecContext) {
		w, elsewhere := newWorld(ctx), newWorld(ctx)
		crd := w.crd()
		w.mustApply(ctx, nil, crd)
		create(ctx, w, 2, func(int) []any { return []any{flux} })
		other := w.thing("thing-0")
		other.SetNamespace(elsewhere.ns)
		other.SetFinalizers([]string{flux})
		Expect(admin.Create(ctx, other)).To(Succeed())
		Expect(w.applier.ReleaseFinalizersIn(ctx, w.ns, []string{crd.GetName()}, nil)).To(Equal(2))
		Expect(w.live(ctx, other).GetFinalizers()).To(Equal([]string{flux}))
		Expect(w.applier.ReleaseFinalizers(ctx, []string{crd.GetName()}, nil)).To(Equal(1))
	})

	It("goes beyond a namespace only with definitions that are the owner's, also while they go", func(ctx SpecContext) {
		w := newWorld(ctx)
		crd := w.crd()
		crds := []string{crd.GetName()}
		w.mustApply(ctx, nil, crd)
		create(ctx, w, 2, func(int) []any { return []any{flux} })
		relabel := func(labels map[string]string) {
			GinkgoHelper()
			live := w.live(ctx, crd)
			base := live.DeepCopy()
			live.SetLabels(labels)
			Expect(admin.Patch(ctx, live, client.MergeFrom(base))).To(Succeed())
		}
		for _, labels := range []map[string]string{nil, {v1.OwnerNameLabel: v1.DefaultInstanceName, v1.OwnerNamespaceLabel: "elsewhere"}} {
			relabel(labels)
			Expect(w.applier.ReleaseFinalizers(ctx, crds, nil)).To(BeZero())
			Expect(w.live(ctx, w.thing("thing-0")).GetFinalizers()).To(Equal([]string{flux}))
			_, total, err := w.applier.Held(ctx, crds)
			Expect(err).NotTo(HaveOccurred())
			Expect(total).To(BeZero(), "nobody deletes it")
		}
		thing := w.live(ctx, w.thing("thing-0"))
		Expect(w.applier.ReleaseFinalizersIn(ctx, w.ns, crds, nil)).To(Equal(2))
		thing.SetResourceVersion("")
		thing.SetUID("")
		thing.SetName("thing-2")
		Expect(admin.Create(ctx, thing)).To(Succeed())

		By("being the owner's again, and on its way out")
		relabel(crd.GetLabels())
		Expect(admin.Delete(ctx, byName(crd))).To(Succeed())
		Expect(w.applier.ReleaseFinalizers(ctx, crds, nil)).To(Equal(1))
		Eventually(func() bool { return exists(ctx, crd) }).Should(BeFalse())
	})

	It("takes the word of whoever names the definitions where no owner is configured", func(ctx SpecContext) {
		w := newWorld(ctx)
		crd := w.crd()
		w.mustApply(ctx, nil, crd)
		create(ctx, w, 1, func(int) []any { return []any{flux} })
		Expect(apply.New(w.client, apply.Options{}).ReleaseFinalizers(ctx, []string{crd.GetName()}, nil)).To(Equal(1))
	})
})

var _ = Describe("Objects with finalizers of several owners", func() {
	const flux, watcher, other, last = "finalizers.fluxcd.io", "source.extensions.fluxcd.io/finalizer", "example.com/keep", "example.com/last"

	DescribeTable("lose those of Flux alone, and are held by the rest alone",
		func(ctx SpecContext, finalizers, left []string) {
			w := newWorld(ctx)
			crd := w.crd()
			w.mustApply(ctx, nil, crd)
			create(ctx, w, 1, func(int) []any {
				var all []any
				for _, finalizer := range finalizers {
					all = append(all, finalizer)
				}
				return all
			})
			held := func() []string {
				GinkgoHelper()
				first, total, err := w.applier.Held(ctx, []string{crd.GetName()})
				Expect(err).NotTo(HaveOccurred())
				Expect(first).To(HaveLen(total))
				if total == 0 {
					return nil
				}
				Expect(total).To(Equal(1))
				return first[0].Finalizers
			}
			Expect(held()).To(Equal(left), "nobody waits for the owner of what Flux itself has set")
			Expect(w.applier.ReleaseFinalizers(ctx, []string{crd.GetName()}, nil)).To(Equal(1))
			Expect(w.live(ctx, w.thing("thing-0")).GetFinalizers()).To(Equal(left))
			Expect(held()).To(Equal(left))
			Expect(w.applier.ReleaseFinalizers(ctx, []string{crd.GetName()}, nil)).To(BeZero())
		},
		Entry("that of source-watcher", []string{watcher}, nil),
		Entry("both of Flux", []string{flux, watcher}, nil),
		Entry("both of Flux the other way round", []string{watcher, flux}, nil),
		Entry("a stranger's in between", []string{flux, other, watcher}, []string{other}),
		Entry("strangers' around them", []string{other, watcher, flux, last}, []string{other, last}),
	)

	It("keep what comes in between, and lose Flux's all the same", func(ctx SpecContext) {
		w := newWorld(ctx)
		crd := w.crd()
		w.mustApply(ctx, nil, crd)
		create(ctx, w, 1, func(int) []any { return []any{watcher, other, flux} })
		var once sync.Once
		w.traffic.respond(func(r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodPatch {
				once.Do(func() {
					defer GinkgoRecover()
					live := w.live(ctx, w.thing("thing-0"))
					live.SetFinalizers([]string{watcher, flux, other})
					Expect(admin.Update(ctx, live)).To(Succeed())
				})
			}
			return nil, errPass
		})
		Expect(w.applier.ReleaseFinalizers(ctx, []string{crd.GetName()}, nil)).To(Equal(1))
		Expect(w.live(ctx, w.thing("thing-0")).GetFinalizers()).To(Equal([]string{other}))
	})
})

var _ = Describe("ReleaseFinalizers of very many objects", func() {
	const flux, other = "finalizers.fluxcd.io", "example.com/keep"

	It("removes exactly its own, also from what comes meanwhile, and holds one page at a time", func(ctx SpecContext) {
		const many, foreign = 10_000, 100 // every hundredth has a stranger's finalizer, too
		w := newWorld(ctx)
		crd := w.crd()
		w.mustApply(ctx, nil, crd)
		create(ctx, w, many, func(i int) []any {
			if i%foreign == 0 {
				return []any{flux, other}
			}
			return []any{flux}
		})
		var once sync.Once
		w.traffic.respond(func(r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodPatch {
				once.Do(func() {
					defer GinkgoRecover()
					late := w.thing("a-late-one") // it sorts before the others, where the pages have been already
					late.SetFinalizers([]string{flux})
					Expect(admin.Create(ctx, late)).To(Succeed())
				})
			}
			return nil, errPass
		})
		var peak uint64
		before := heapInUse()
		released, err := w.applier.ReleaseFinalizers(ctx, []string{crd.GetName()}, func(int) { peak = max(peak, heapInUse()) })
		Expect(err).NotTo(HaveOccurred())
		Expect(released).To(Equal(many + 1))
		Expect(peak-min(peak, before)).To(BeNumerically("<", 16<<20), "metadata of all objects at once would be more")

		kept, total, err := w.applier.Held(ctx, []string{crd.GetName()})
		Expect(err).NotTo(HaveOccurred())
		Expect(total).To(Equal(many / foreign))
		Expect(kept).To(HaveLen(10))
		Expect(kept).To(HaveEach(HaveField("Finalizers", []string{other})))
	})
})

// heapInUse is what is really needed of the heap.
func heapInUse() uint64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

var _ = Describe("Held", func() {
	It("names who keeps definitions from going, page by page", func(ctx SpecContext) {
		w := newWorld(ctx)
		crd := w.crd()
		w.mustApply(ctx, nil, crd)
		create(ctx, w, 600, func(i int) []any {
			if i%2 == 0 {
				return nil
			}
			return []any{"example.com/keep"}
		})
		w.traffic.reset()
		first, total, err := w.applier.Held(ctx, []string{"unknown.example.com", crd.GetName()})
		Expect(err).NotTo(HaveOccurred())
		Expect(total).To(Equal(300))
		Expect(first).To(HaveLen(10))
		Expect(first[0]).To(Equal(apply.Remaining{
			Object:     apply.ID{Group: w.ns + ".fluxcd.io", Kind: "Thing", Namespace: w.ns, Name: "thing-1"},
			Finalizers: []string{"example.com/keep"},
		}))
		lists := slices.DeleteFunc(w.traffic.seen("GET"), func(request string) bool { return !strings.HasSuffix(request, "/things") })
		Expect(lists).To(HaveLen(2))
	})
})

var _ = Describe("Disown", func() {
	It("takes the operator's marks from what is ours and nothing else from anything", func(ctx SpecContext) {
		w := newWorld(ctx)
		ours, theirs, gone := w.configMap("ours", map[string]any{"a": "b"}), w.configMap("theirs", nil), w.configMap("gone", nil)
		labels := ours.GetLabels()
		labels["team"], labels["app.kubernetes.io/managed-by"] = "platform", v1.FieldManager
		ours.SetLabels(labels)
		ours.SetAnnotations(map[string]string{ssaAnnotation: "Ignore", pruneAnnotation: "Disabled", v1.PruneAnnotation: v1.DisabledValue})
		w.mustApply(ctx, nil, ours, theirs)
		theirMark := byName(ours)
		theirMark.SetAnnotations(map[string]string{pruneAnnotation: "Disabled", "example.com/note": "mine"})
		applyAs(ctx, theirMark, "somebody")
		foreign := w.live(ctx, theirs)
		foreign.SetLabels(map[string]string{v1.OwnerNameLabel: v1.DefaultInstanceName, v1.OwnerNamespaceLabel: "elsewhere"})
		Expect(admin.Update(ctx, foreign)).To(Succeed())
		unknown := w.object("apiVersion: nobody.example.com/v1\nkind: Unknown\nmetadata: {name: x}")

		var objects []*unstructured.Unstructured
		for _, obj := range []*unstructured.Unstructured{ours, theirs, gone, unknown} {
			objects = append(objects, byName(obj))
		}
		Expect(w.applier.Disown(ctx, objects)).To(Succeed())
		kept := w.live(ctx, ours)
		Expect(kept.GetLabels()).To(Equal(map[string]string{"team": "platform"}))
		Expect(kept.GetAnnotations()).To(Equal(map[string]string{pruneAnnotation: "Disabled", "example.com/note": "mine"}))
		Expect(kept.Object["data"]).To(Equal(map[string]any{"a": "b"}))
		Expect(managers(kept)).To(ConsistOf("flux/Apply", "somebody/Apply"))
		Expect(w.live(ctx, theirs).GetResourceVersion()).To(Equal(foreign.GetResourceVersion()))

		By("owning it again")
		w.mustApply(ctx, nil, ours)
		Expect(w.live(ctx, ours).GetUID()).To(Equal(kept.GetUID()))
		Expect(w.live(ctx, ours).GetLabels()).To(Equal(labels))
		Expect(managers(w.live(ctx, ours))).To(ConsistOf("flux-operator/Apply", "somebody/Apply"))
	})

	It("leaves fields to whoever installs Flux next, who can drop them", func(ctx SpecContext) {
		w := newWorld(ctx)
		settings := w.configMap("settings", map[string]any{"kept": "x", "dropped": "x"})
		w.mustApply(ctx, nil, settings)
		Expect(w.applier.Disown(ctx, []*unstructured.Unstructured{byName(settings)})).To(Succeed())
		next := byName(settings)
		next.Object["data"] = map[string]any{"kept": "x"}
		applyAs(ctx, next, "flux")
		Expect(w.live(ctx, settings).Object["data"]).To(Equal(map[string]any{"kept": "x"}))
		Expect(managers(w.live(ctx, settings))).To(ConsistOf("flux/Apply"))
	})

	It("names what it could not let go of", func(ctx SpecContext) {
		w := newWorld(ctx)
		settings := w.configMap("settings", nil)
		w.mustApply(ctx, nil, settings)
		w.traffic.respond(func(r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodPatch {
				return refusal(r, http.StatusForbidden, "Forbidden", "no permission"), nil
			}
			return nil, errPass
		})
		Expect(w.applier.Disown(ctx, []*unstructured.Unstructured{byName(settings)})).To(MatchError(
			ContainSubstring(fmt.Sprintf("ConfigMap/%s/settings: no permission", w.ns))))
		Expect(admin.Get(ctx, client.ObjectKeyFromObject(settings), settings)).To(Succeed())
	})
})
