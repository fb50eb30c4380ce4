package apply_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/apply"
)

func forbidWatches(r *http.Request) (*http.Response, error) {
	if r.URL.Query().Get("watch") == "" {
		return nil, errPass
	}
	return refusal(r, http.StatusForbidden, metav1.StatusReasonForbidden, "no permission"), nil
}

// byName returns an object as an inventory knows it.
func byName(obj *unstructured.Unstructured) *unstructured.Unstructured {
	bare := &unstructured.Unstructured{}
	bare.SetGroupVersionKind(obj.GroupVersionKind())
	bare.SetNamespace(obj.GetNamespace())
	bare.SetName(obj.GetName())
	return bare
}

func exists(ctx context.Context, obj *unstructured.Unstructured) bool {
	GinkgoHelper()
	err := admin.Get(ctx, client.ObjectKeyFromObject(obj), byName(obj))
	Expect(client.IgnoreNotFound(err)).To(Succeed())
	return !apierrors.IsNotFound(err)
}

var _ = Describe("Prune", func() {
	It("deletes what is ours in reverse order and leaves the rest", func(ctx SpecContext) {
		w := newWorld(ctx)
		app, settings, account := w.deployment("app"), w.configMap("settings", nil), w.object("apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: account}")
		kept, labelled, foreign, gone := w.configMap("kept", nil), w.configMap("labelled", nil), w.configMap("foreign", nil), w.configMap("gone", nil)
		kept.SetAnnotations(map[string]string{v1.PruneAnnotation: "Disabled"})
		labels := labelled.GetLabels()
		labels[v1.PruneAnnotation] = v1.DisabledValue
		labelled.SetLabels(labels)
		w.mustApply(ctx, nil, app, settings, account, kept, labelled, foreign)
		live := w.live(ctx, foreign)
		live.SetLabels(map[string]string{v1.OwnerNameLabel: v1.DefaultInstanceName, v1.OwnerNamespaceLabel: "elsewhere"})
		Expect(admin.Update(ctx, live)).To(Succeed())
		unknown := w.object("apiVersion: nobody.example.com/v1\nkind: Unknown\nmetadata: {name: x}")

		var stale []*unstructured.Unstructured
		for _, obj := range []*unstructured.Unstructured{account, settings, kept, labelled, foreign, gone, app, unknown} {
			stale = append(stale, byName(obj))
		}
		changes, survivors, err := w.applier.Prune(ctx, stale)
		Expect(err).NotTo(HaveOccurred())
		Expect(survivors).To(BeEmpty())
		actions, _ := outcome(changes)
		Expect(actions).To(Equal(map[string]apply.Action{
			"Deployment/app": apply.Deleted, "ConfigMap/settings": apply.Deleted, "ServiceAccount/account": apply.Deleted,
			"ConfigMap/gone": apply.Deleted, "Unknown/x": apply.Deleted,
			"ConfigMap/kept": apply.Skipped, "ConfigMap/labelled": apply.Skipped, "ConfigMap/foreign": apply.Skipped,
		}))
		Expect(changes[0].Object.GetKind()).To(Equal("Deployment"))
		Expect(changes[len(changes)-1].Object.GetKind()).To(Equal("ServiceAccount"))
		for _, obj := range []*unstructured.Unstructured{app, settings, account} {
			Expect(exists(ctx, obj)).To(BeFalse(), obj.GetName())
		}
		for _, obj := range []*unstructured.Unstructured{kept, labelled, foreign} {
			Expect(exists(ctx, obj)).To(BeTrue(), obj.GetName())
		}
		for _, obj := range []*unstructured.Unstructured{kept, labelled} {
			Expect(w.live(ctx, obj).GetLabels()).NotTo(Or(HaveKey(v1.OwnerNameLabel), HaveKey(v1.OwnerNamespaceLabel)), obj.GetName())
		}
		Expect(w.live(ctx, foreign).GetLabels()).To(HaveKey(v1.OwnerNameLabel))
	})

	It("names what it could not delete and deletes the rest", func(ctx SpecContext) {
		w := newWorld(ctx)
		stuck, settings := w.configMap("stuck", nil), w.configMap("settings", nil)
		w.mustApply(ctx, nil, stuck, settings)
		w.traffic.respond(func(r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodDelete && strings.HasSuffix(r.URL.Path, "/stuck") {
				return refusal(r, http.StatusForbidden, metav1.StatusReasonForbidden, "no permission"), nil
			}
			return nil, errPass
		})
		changes, survivors, err := w.applier.Prune(ctx, []*unstructured.Unstructured{byName(stuck), byName(settings)})
		Expect(err).To(MatchError(ContainSubstring("ConfigMap/" + w.ns + "/stuck: no permission")))
		Expect(survivors).To(Equal([]*unstructured.Unstructured{byName(stuck)}))
		actions, _ := outcome(changes)
		Expect(actions).To(Equal(map[string]apply.Action{"ConfigMap/settings": apply.Deleted}))
	})

	It("does not delete what was recreated in between", func(ctx SpecContext) {
		w := newWorld(ctx)
		settings := w.configMap("settings", nil)
		w.mustApply(ctx, nil, settings)
		var once sync.Once
		w.traffic.respond(func(r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodDelete {
				once.Do(func() {
					defer GinkgoRecover()
					Expect(admin.Delete(ctx, byName(settings))).To(Succeed())
					Expect(admin.Create(ctx, byName(settings))).To(Succeed())
				})
			}
			return nil, errPass
		})
		changes, survivors, err := w.applier.Prune(ctx, []*unstructured.Unstructured{byName(settings)})
		Expect(err).NotTo(HaveOccurred())
		Expect(survivors).To(BeEmpty())
		Expect(changes).To(ConsistOf(HaveField("Action", apply.Skipped)))
		Expect(exists(ctx, settings)).To(BeTrue())
	})

	It("reads several objects of a kind with one request, and deletes none that changed hands since", func(ctx SpecContext) {
		w := newWorld(ctx)
		var all []*unstructured.Unstructured
		for i := range 10 {
			all = append(all, w.configMap(fmt.Sprintf("settings-%d", i), nil))
		}
		w.mustApply(ctx, nil, all...)
		stale := make([]*unstructured.Unstructured, 0, len(all))
		for _, obj := range all {
			stale = append(stale, byName(obj))
		}
		var once sync.Once
		w.traffic.respond(func(r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodDelete {
				once.Do(func() {
					defer GinkgoRecover()
					for i, change := range []func(*unstructured.Unstructured){
						func(live *unstructured.Unstructured) { live.SetLabels(nil) },
						func(live *unstructured.Unstructured) {
							live.SetAnnotations(map[string]string{v1.PruneAnnotation: v1.DisabledValue})
						},
						func(live *unstructured.Unstructured) { live.SetAnnotations(map[string]string{"note": "changed"}) },
					} {
						live := w.live(ctx, all[i])
						change(live)
						Expect(admin.Update(ctx, live)).To(Succeed())
					}
				})
			}
			return nil, errPass
		})
		w.traffic.reset()
		one := apply.New(w.client, apply.Options{Concurrency: 1, Owner: types.NamespacedName{Namespace: w.ns, Name: v1.DefaultInstanceName}})
		changes, survivors, err := one.Prune(ctx, stale)
		Expect(err).NotTo(HaveOccurred())
		Expect(survivors).To(BeEmpty())
		actions, _ := outcome(changes)
		for i, obj := range all {
			want := apply.Deleted
			if i < 2 { // nobody's any more, and marked to stay
				want = apply.Skipped
			}
			Expect(actions["ConfigMap/"+obj.GetName()]).To(Equal(want), obj.GetName())
			Expect(exists(ctx, obj)).To(Equal(want == apply.Skipped), obj.GetName())
		}
		Expect(len(w.traffic.seen("GET"))).To(BeNumerically("<=", 1+3), "%v", w.traffic.seen("GET"))
	})

	It("keeps everything it did not get to", func(ctx SpecContext) {
		w := newWorld(ctx)
		settings := w.configMap("settings", nil)
		w.mustApply(ctx, nil, settings)
		ended, end := context.WithCancel(ctx)
		end()
		changes, survivors, err := w.applier.Prune(ended, []*unstructured.Unstructured{settings})
		Expect(changes).To(BeEmpty())
		Expect(survivors).To(HaveLen(1))
		Expect(err).To(MatchError(context.Canceled))
	})

	It("does not guess whose an object is", func(ctx SpecContext) {
		w := newWorld(ctx)
		settings := w.configMap("settings", nil)
		w.mustApply(ctx, nil, settings)
		anybody := apply.New(w.client, apply.Options{})
		_, survivors, err := anybody.Prune(ctx, []*unstructured.Unstructured{byName(settings)})
		Expect(survivors).To(HaveLen(1))
		Expect(err).To(MatchError(ContainSubstring("owner")))
	})
})

var _ = Describe("WaitGone", func() {
	It("waits for objects and the pods of workloads", func(ctx SpecContext) {
		w := newWorld(ctx)
		app, settings := w.deployment("app"), w.configMap("settings", nil)
		settings.Object["metadata"].(map[string]any)["finalizers"] = []any{"example.com/keep"}
		w.mustApply(ctx, nil, app, settings)
		pod := w.pod(ctx, app, corev1.PodStatus{Phase: corev1.PodRunning})
		changes, _, err := w.applier.Prune(ctx, []*unstructured.Unstructured{byName(app), byName(settings)})
		Expect(err).NotTo(HaveOccurred())
		var leaving []*unstructured.Unstructured
		for _, change := range changes {
			leaving = append(leaving, change.Object)
		}

		err = w.applier.WaitGone(until(ctx, enough), leaving)
		Expect(err).To(MatchError(context.DeadlineExceeded))
		remaining, ok := errors.AsType[*apply.RemainingError](err)
		Expect(ok).To(BeTrue())
		Expect(remaining.Objects).To(ConsistOf(
			apply.Remaining{Object: apply.IDOf(settings), Terminating: true, Finalizers: []string{"example.com/keep"}},
			HaveField("Object.Kind", "Pod"),
		))
		Expect(err).To(MatchError(And(ContainSubstring("example.com/keep"), ContainSubstring("Pod/"+w.ns+"/"+pod.Name))))

		result := make(chan error, 1)
		go func() { result <- w.applier.WaitGone(ctx, leaving) }()
		Expect(admin.Delete(ctx, pod, client.GracePeriodSeconds(0))).To(Succeed())
		Consistently(result, 200*time.Millisecond).ShouldNot(Receive())
		w.traffic.breakWatches()
		live := w.live(ctx, settings)
		live.SetFinalizers(nil)
		Expect(admin.Update(ctx, live)).To(Succeed())
		Eventually(result).Should(Receive(BeNil()))
	})

	It("waits for the pods of a Deployment that was gone before, and for nobody else's", func(ctx SpecContext) {
		w := newWorld(ctx)
		app := w.deployment("app")
		running := corev1.PodStatus{Phase: corev1.PodRunning}
		pod := w.pod(ctx, app, running)
		w.pod(ctx, w.deployment("app-two"), running)
		stray := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "app-stray", Namespace: w.ns, Labels: pod.Labels},
			Spec:       pod.Spec,
		}
		Expect(admin.Create(ctx, stray)).To(Succeed())

		err := w.applier.WaitGone(until(ctx, enough), []*unstructured.Unstructured{byName(app)})
		remaining, ok := errors.AsType[*apply.RemainingError](err)
		Expect(ok).To(BeTrue())
		Expect(remaining.Objects).To(ConsistOf(HaveField("Object.Name", pod.Name)))
		Expect(admin.Delete(ctx, pod, client.GracePeriodSeconds(0))).To(Succeed())
		Expect(w.applier.WaitGone(ctx, []*unstructured.Unstructured{byName(app)})).To(Succeed())
	})

	It("returns at once when nothing is left", func(ctx SpecContext) {
		w := newWorld(ctx)
		unknown := w.object("apiVersion: nobody.example.com/v1\nkind: Unknown\nmetadata: {name: x}")
		Expect(w.applier.WaitGone(ctx, []*unstructured.Unstructured{w.configMap("settings", nil), unknown})).To(Succeed())
		Expect(w.applier.WaitGone(ctx, nil)).To(Succeed())
	})
})

var _ = Describe("EndPods", func() {
	It("shortens what pods have left to end, and leaves the pods of others alone", func(ctx SpecContext) {
		w := newWorld(ctx)
		app, other := w.deployment("app"), w.deployment("other")
		running := corev1.PodStatus{Phase: corev1.PodRunning}
		deaf, fresh, theirs := w.pod(ctx, app, running), w.pod(ctx, app, running), w.pod(ctx, other, running)
		Expect(admin.Delete(ctx, deaf, client.GracePeriodSeconds(600))).To(Succeed())

		ended, err := w.applier.EndPods(ctx, []*unstructured.Unstructured{byName(app), w.configMap("settings", nil)}, 10*time.Second)
		Expect(err).NotTo(HaveOccurred())
		Expect(ended).To(ConsistOf(apply.IDOf(podNamed(w.ns, deaf.Name)), apply.IDOf(podNamed(w.ns, fresh.Name))))
		for _, pod := range []*corev1.Pod{deaf, fresh} {
			Expect(admin.Get(ctx, client.ObjectKeyFromObject(pod), pod)).To(Succeed())
			Expect(pod.DeletionTimestamp).NotTo(BeNil())
			Expect(*pod.DeletionGracePeriodSeconds).To(BeEquivalentTo(10))
		}
		Expect(admin.Get(ctx, client.ObjectKeyFromObject(theirs), theirs)).To(Succeed())
		Expect(theirs.DeletionTimestamp).To(BeNil())
	})

	It("names the pods that it may not delete", func(ctx SpecContext) {
		w := newWorld(ctx)
		app := w.deployment("app")
		pod := w.pod(ctx, app, corev1.PodStatus{Phase: corev1.PodRunning})
		w.traffic.respond(func(r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodDelete {
				return refusal(r, http.StatusForbidden, metav1.StatusReasonForbidden, "no permission"), nil
			}
			return nil, errPass
		})
		_, err := w.applier.EndPods(ctx, []*unstructured.Unstructured{byName(app)}, time.Second)
		Expect(err).To(MatchError(ContainSubstring("Pod/" + w.ns + "/" + pod.Name + ": no permission")))
	})
})

func podNamed(namespace, name string) *unstructured.Unstructured {
	pod := &unstructured.Unstructured{}
	pod.SetAPIVersion("v1")
	pod.SetKind("Pod")
	pod.SetNamespace(namespace)
	pod.SetName(name)
	return pod
}

var _ = Describe("ReleaseFinalizers", func() {
	const flux, other = "finalizers.fluxcd.io", "example.com/keep"

	It("removes Flux's finalizer and no other from many objects", func(ctx SpecContext) {
		const many, pageOf500 = 1200, 500
		w := newWorld(ctx)
		crd := w.crd()
		w.mustApply(ctx, nil, crd)
		finalizers := [][]any{{flux}, {other, flux}, {other}, {flux, other}, nil}
		create(ctx, w, many, func(i int) []any { return finalizers[i%len(finalizers)] })

		w.traffic.reset()
		var progress []int
		released, err := w.applier.ReleaseFinalizers(ctx, []string{"unknown.example.com", crd.GetName()}, func(n int) { progress = append(progress, n) })
		Expect(err).NotTo(HaveOccurred())
		Expect(released).To(Equal(many * 3 / 5))
		Expect(progress).To(HaveLen(6), "three pages to release and three to see that nothing is left")
		Expect(progress[2:]).To(HaveEach(released))
		Expect(progress[0]).To(BeNumerically("~", pageOf500*3/5, 2))
		Expect(w.traffic.seen("PATCH")).To(HaveLen(released))

		left := listOf(w.thing("x"))
		Expect(admin.List(ctx, left, client.InNamespace(w.ns))).To(Succeed())
		kept := 0
		for _, item := range left.Items {
			Expect(item.Finalizers).NotTo(ContainElement(flux))
			kept += len(item.Finalizers)
		}
		Expect(kept).To(Equal(many * 3 / 5))
	})

	It("tolerates what others do meanwhile", func(ctx SpecContext) {
		w := newWorld(ctx)
		crd := w.crd()
		w.mustApply(ctx, nil, crd)
		create(ctx, w, 3, func(int) []any { return []any{other, flux} })
		var once sync.Once
		w.traffic.respond(func(r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodPatch {
				once.Do(func() {
					defer GinkgoRecover()
					By("moving the finalizer of one and removing another one")
					for i, finalizers := range [][]string{{flux}, nil} {
						live := w.live(ctx, w.thing(fmt.Sprintf("thing-%d", i)))
						live.SetFinalizers(finalizers)
						Expect(admin.Update(ctx, live)).To(Succeed())
						if finalizers == nil {
							Expect(admin.Delete(ctx, live)).To(Succeed())
						}
					}
				})
			}
			return nil, errPass
		})
		_, err := w.applier.ReleaseFinalizers(ctx, []string{crd.GetName()}, nil)
		Expect(err).NotTo(HaveOccurred())
		Expect(w.live(ctx, w.thing("thing-0")).GetFinalizers()).To(BeEmpty())
		Expect(exists(ctx, w.thing("thing-1"))).To(BeFalse())
		Expect(w.live(ctx, w.thing("thing-2")).GetFinalizers()).To(Equal([]string{other}))
	})

	It("releases the others when one is refused, names it and gives up", func(ctx SpecContext) {
		w := newWorld(ctx)
		crd := w.crd()
		w.mustApply(ctx, nil, crd)
		create(ctx, w, 3, func(int) []any { return []any{flux} })
		w.traffic.respond(func(r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodPatch && strings.HasSuffix(r.URL.Path, "/thing-1") {
				return refusal(r, http.StatusForbidden, metav1.StatusReasonForbidden, "no permission"), nil
			}
			return nil, errPass
		})
		released, err := w.applier.ReleaseFinalizers(ctx, []string{crd.GetName()}, nil)
		Expect(released).To(Equal(2))
		Expect(err).To(MatchError(ContainSubstring("Thing/" + w.ns + "/thing-1: no permission")))
		w.traffic.respond(nil)
		Expect(w.applier.ReleaseFinalizers(ctx, []string{crd.GetName()}, nil)).To(Equal(1))
	})
})

// create makes custom resources with finalizers.
func create(ctx context.Context, w *world, n int, finalizers func(i int) []any) {
	GinkgoHelper()
	served(ctx, w.thing("x"))
	var workers sync.WaitGroup
	for worker := range 8 {
		workers.Go(func() {
			defer GinkgoRecover()
			for i := worker; i < n; i += 8 {
				thing := w.thing(fmt.Sprintf("thing-%d", i))
				if f := finalizers(i); f != nil {
					thing.Object["metadata"].(map[string]any)["finalizers"] = f
				}
				Expect(admin.Create(ctx, thing)).To(Succeed())
			}
		})
	}
	workers.Wait()
}

// served waits until a kind that was just defined can be listed and watched. Pages of a list are there earlier than watches, the whole of it is not.
func served(ctx context.Context, obj *unstructured.Unstructured) {
	GinkgoHelper()
	Eventually(func() error { return admin.List(ctx, listOf(obj)) }).Should(Succeed())
}

func listOf(obj *unstructured.Unstructured) *metav1.PartialObjectMetadataList {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(obj.GroupVersionKind())
	return list
}
