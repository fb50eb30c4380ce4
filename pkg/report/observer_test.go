package report

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	kustomizeV1 = "kustomize.toolkit.fluxcd.io/v1"
	sourceV1    = "source.toolkit.fluxcd.io/v1"
)

var _ = Describe("an observer", func() {
	It("follows kinds that appear, change and disappear", func(ctx context.Context) {
		observer := observe(clusterCfg, ObserverOptions{})
		Eventually(counts(observer)).Should(BeEmpty())
		Eventually(func() bool { return observer.Snapshot().Definitions.Observed }).Should(BeTrue())

		By("defining a kind")
		kustomizations := crd("kustomize.toolkit.fluxcd.io", "Kustomization", "v1beta2* v1")
		define(ctx, kustomizations)
		for i := range 20 {
			Expect(admin.Create(ctx, object(kustomizeV1, "Kustomization", fmt.Sprintf("k%d", i)))).To(Succeed())
		}
		Eventually(counts(observer)).Should(Equal(map[string]int{"kustomize.toolkit.fluxcd.io/v1beta2 Kustomization": 20}))

		By("storing it in another version")
		define(ctx, crd("kustomize.toolkit.fluxcd.io", "Kustomization", "v1beta2~ v1*"))
		Eventually(counts(observer)).Should(Equal(map[string]int{kustomizeV1 + " Kustomization": 20}))
		Expect(observer.Snapshot().Kinds[0].Outdated).To(Equal([]string{"v1beta2"}))

		By("defining another kind")
		define(ctx, crd("source.toolkit.fluxcd.io", "GitRepository", "v1*"))
		Expect(admin.Create(ctx, object(sourceV1, "GitRepository", "flux-system"))).To(Succeed())
		Expect(admin.Delete(ctx, object(kustomizeV1, "Kustomization", "k7"))).To(Succeed())
		Eventually(counts(observer)).Should(Equal(map[string]int{kustomizeV1 + " Kustomization": 19, sourceV1 + " GitRepository": 1}))

		By("removing the first kind")
		undefine(ctx, kustomizations)
		Eventually(counts(observer)).Should(Equal(map[string]int{sourceV1 + " GitRepository": 1}))

		By("defining it again")
		define(ctx, crd("kustomize.toolkit.fluxcd.io", "Kustomization", "v1*"))
		Expect(admin.Create(ctx, object(kustomizeV1, "Kustomization", "again"))).To(Succeed())
		Eventually(counts(observer)).Should(Equal(map[string]int{kustomizeV1 + " Kustomization": 1, sourceV1 + " GitRepository": 1}))
	})

	It("watches its own kinds, which carry no label, and no definitions of others", func(ctx context.Context) {
		own := crd("fluxcd.controlplane.io", "FluxInstance", "v1*")
		own.SetLabels(nil)
		define(ctx, own)
		other := crd("example.com", "Thing", "v1*")
		other.SetLabels(map[string]string{partOfLabel: "something"})
		define(ctx, other)
		observer := observe(clusterCfg, ObserverOptions{})
		instance := object("fluxcd.controlplane.io/v1", "FluxInstance", "flux")
		instance.SetAnnotations(map[string]string{"fluxcd.controlplane.io/reconcile": "Disabled"})
		Expect(admin.Create(ctx, instance)).To(Succeed())
		Eventually(counts(observer)).Should(Equal(map[string]int{"fluxcd.controlplane.io/v1 FluxInstance": 1}))
		Expect(observer.Snapshot().Kinds[0].find("default", "flux").suspended).To(BeTrue())
	})

	It("reads all objects again when the label of shards changes", func(ctx context.Context) {
		define(ctx, crd("kustomize.toolkit.fluxcd.io", "Kustomization", "v1*"))
		labelled := object(kustomizeV1, "Kustomization", "a")
		labelled.SetLabels(map[string]string{DefaultShardKey: "one", "team": "two"})
		Expect(admin.Create(ctx, labelled)).To(Succeed())
		observer := observe(clusterCfg, ObserverOptions{})
		shard := func() string {
			for i := range observer.Snapshot().Kinds {
				if found := observer.Snapshot().Kinds[i].find("default", "a"); found != nil {
					return found.shard.Value()
				}
			}
			return ""
		}
		Eventually(shard).Should(Equal("one"))
		observer.SetShardKey("team")
		Eventually(shard).Should(Equal("two"))
		Expect(observer.Snapshot().ShardKey).To(Equal("team"))
	})
})

var _ = Describe("an observer behind a bad wire", func() {
	const n = 60

	// churn creates, changes and deletes objects, and returns how many should be left.
	churn := func(ctx context.Context, from int) {
		each(n, func(i int) error {
			created := object(kustomizeV1, "Kustomization", fmt.Sprintf("k%d", from+i))
			if err := admin.Create(ctx, created); err != nil {
				return err
			}
			if i%3 == 0 {
				return admin.Delete(ctx, created)
			}
			return admin.Patch(ctx, created, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"suspend":true}}`)))
		})
	}
	exactly := func(observer *Observer, objects int) {
		GinkgoHelper()
		Eventually(func(g Gomega) { // both at once: on the way there may be as many objects for a moment
			g.Expect(counts(observer)()).To(Equal(map[string]int{kustomizeV1 + " Kustomization": objects}))
			g.Expect(observer.Snapshot().Kinds[0].stats().Suspended).To(Equal(objects))
		}).Should(Succeed())
	}
	BeforeEach(func(ctx context.Context) { define(ctx, crd("kustomize.toolkit.fluxcd.io", "Kustomization", "v1*")) })

	It("goes on after connections that were cut", func(ctx context.Context) {
		wire, cfg := wired()
		observer := observe(cfg, ObserverOptions{})
		for round := range 4 {
			churn(ctx, round*n)
			wire.cut()
		}
		exactly(observer, 4*n*2/3)
	})

	It("notices a watch that says nothing, without reading all objects again", func(ctx context.Context) {
		wire, cfg := wired()
		observer := observe(cfg, ObserverOptions{Silence: 1500 * time.Millisecond})
		churn(ctx, 0)
		exactly(observer, n*2/3)
		reads := wire.reads.Load()
		wire.mute.Store(true)
		churn(ctx, n)
		Expect(counts(observer)()).To(Equal(map[string]int{kustomizeV1 + " Kustomization": n * 2 / 3}))
		wire.mute.Store(false)
		exactly(observer, 2*n*2/3)
		Expect(wire.reads.Load()).To(Equal(reads))
	})

	It("notices a watch that does not open", func(ctx context.Context) {
		wire, cfg := wired()
		observer := observe(cfg, ObserverOptions{Silence: 1500 * time.Millisecond})
		churn(ctx, 0)
		exactly(observer, n*2/3)
		wire.answering(func(_ http.ResponseWriter, r *http.Request) bool {
			query := r.URL.Query()
			hangs := query.Get("watch") != "" && query.Get("sendInitialEvents") == ""
			if hangs {
				<-r.Context().Done()
			}
			return hangs
		})
		wire.cut()
		churn(ctx, n)
		Eventually(func() string { return observer.Snapshot().Kinds[0].Problem }).Should(ContainSubstring("the API server said nothing for 1.5s"))
		wire.refuse.Store(nil)
		exactly(observer, 2*n*2/3)
	})

	It("reads all objects again when the API server forgot where it was", func(ctx context.Context) {
		wire, cfg := wired()
		observer := observe(cfg, ObserverOptions{})
		churn(ctx, 0)
		exactly(observer, n*2/3)
		var told atomic.Int64
		release := make(chan struct{})
		wire.answering(func(rw http.ResponseWriter, r *http.Request) bool {
			if r.URL.Query().Get("resourceVersion") == "" || r.URL.Query().Get("sendInitialEvents") != "" {
				return false
			}
			select {
			case <-release:
			case <-r.Context().Done():
				return true
			}
			told.Add(1)
			fmt.Fprintln(rw, `{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","status":"Failure","message":"too old resource version","reason":"Expired","code":410}}`)
			return true
		})
		reads := wire.reads.Load()
		wire.cut()
		churn(ctx, n)
		close(release)
		Eventually(told.Load).Should(BeNumerically(">", 0))
		exactly(observer, 2*n*2/3)
		Expect(wire.reads.Load()).To(BeNumerically(">", reads))
	})

	It("reads pages where lists cannot be watched", func(ctx context.Context) {
		wire, cfg := wired()
		var pages atomic.Int64
		wire.answering(func(rw http.ResponseWriter, r *http.Request) bool {
			query := r.URL.Query()
			if query.Get("sendInitialEvents") != "" {
				refusal(rw, http.StatusUnprocessableEntity, metav1.StatusReasonInvalid, "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled")
				return true
			}
			if query.Get("limit") != "" && query.Get("continue") != "" {
				pages.Add(1)
			}
			return false
		})
		each(pageSize+20, func(i int) error {
			created := object(kustomizeV1, "Kustomization", fmt.Sprintf("k%d", i))
			created.Object["spec"] = map[string]any{"suspend": true}
			return admin.Create(ctx, created)
		})
		observer := observe(cfg, ObserverOptions{})
		exactly(observer, pageSize+20)
		Expect(pages.Load()).To(BeEquivalentTo(1))
		Expect(admin.DeleteAllOf(ctx, object(kustomizeV1, "Kustomization", ""), client.InNamespace("default"))).To(Succeed())
		exactly(observer, 0)
	})

	It("reads everything at once where the API server forgets what it began to list", func(ctx context.Context) {
		wire, cfg := wired()
		wire.answering(func(rw http.ResponseWriter, r *http.Request) bool {
			switch query := r.URL.Query(); {
			case query.Get("sendInitialEvents") != "":
				refusal(rw, http.StatusUnprocessableEntity, metav1.StatusReasonInvalid, "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled")
			case query.Get("continue") != "":
				refusal(rw, http.StatusGone, metav1.StatusReasonExpired, "The provided continue parameter is too old to display a consistent list result.")
			default:
				return false
			}
			return true
		})
		each(pageSize+20, func(i int) error {
			created := object(kustomizeV1, "Kustomization", fmt.Sprintf("k%d", i))
			created.Object["spec"] = map[string]any{"suspend": true}
			return admin.Create(ctx, created)
		})
		observer := observe(cfg, ObserverOptions{})
		exactly(observer, pageSize+20)
	})

	It("tells a refusal in the words of the API server", func(ctx context.Context) {
		wire, cfg := wired()
		const path = "/apis/" + kustomizeV1 + "/kustomizations"
		refused := func(code int, reason metav1.StatusReason, message string) {
			wire.answering(func(rw http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == path {
					refusal(rw, code, reason, message)
				}
				return r.URL.Path == path
			})
		}
		const forbidden = `kustomizations.kustomize.toolkit.fluxcd.io is forbidden: User "operator" cannot list resource "kustomizations" in API group "kustomize.toolkit.fluxcd.io" at the cluster scope`
		refused(http.StatusForbidden, metav1.StatusReasonForbidden, forbidden)
		observer := observe(cfg, ObserverOptions{})
		problem := func() string {
			for i := range observer.Snapshot().Kinds {
				return observer.Snapshot().Kinds[i].problem(time.Now())
			}
			return ""
		}
		Eventually(problem).Should(Equal(`listing "` + path + `": ` + forbidden))
		const conversion = `conversion webhook for kustomize.toolkit.fluxcd.io/v1beta2, Kind=Kustomization failed: Post "https://convert.flux-system.svc:443/": no endpoints available for service "convert"`
		refused(http.StatusInternalServerError, metav1.StatusReasonInternalError, conversion)
		Eventually(problem).Should(Equal(`listing "` + path + `": ` + conversion))
	})

	It("tells all the time that it may list and not watch, and goes on listing", func(ctx context.Context) {
		wire, cfg := wired()
		const path = "/apis/" + kustomizeV1 + "/kustomizations"
		var lists atomic.Int64
		wire.answering(func(rw http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != path || r.URL.Query().Get("watch") == "" {
				if r.URL.Path == path {
					lists.Add(1)
				}
				return false
			}
			refusal(rw, http.StatusForbidden, metav1.StatusReasonForbidden, "kustomizations is forbidden: cannot watch")
			return true
		})
		churn(ctx, 0)
		observer := observe(cfg, ObserverOptions{})
		health := func() Health {
			for i := range observer.Snapshot().Kinds {
				return observer.Snapshot().Kinds[i].Health
			}
			return Health{}
		}
		Eventually(func(g Gomega) {
			g.Expect(health().Observed).To(BeTrue())
			g.Expect(health().Failing).NotTo(BeZero())
		}).Should(Succeed())
		since := health().Failing
		churn(ctx, n)
		before := lists.Load()
		Eventually(func(g Gomega) {
			g.Expect(health().Failing).To(Equal(since), "a list does not make a watch")
			g.Expect(health().Problem).To(ContainSubstring("cannot watch"))
			g.Expect(lists.Load()).To(BeNumerically(">=", before+2))
		}).Should(Succeed())
		Expect(observer.Snapshot().Kinds[0].Len()).To(Equal(2 * n * 2 / 3))
		wire.refuse.Store(nil)
		exactly(observer, 2*n*2/3)
	})

	It("bears with an API server that starts, and tells that it cannot see", func(ctx context.Context) {
		wire, cfg := wired()
		observer := observe(cfg, ObserverOptions{})
		churn(ctx, 0)
		exactly(observer, n*2/3)
		wire.answering(func(rw http.ResponseWriter, r *http.Request) bool {
			rw.Header().Set("Retry-After", "1")
			refusal(rw, http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests, "storage is (re)initializing")
			return true
		})
		wire.cut()
		churn(ctx, n)
		wire.down.Store(true)
		wire.cut()
		Eventually(func() bool { return observer.Snapshot().Kinds[0].Failing.IsZero() }).Should(BeFalse())
		Expect(observer.Snapshot().Kinds[0].Len()).To(Equal(n*2/3), "what is known stays")
		wire.refuse.Store(nil)
		wire.down.Store(false)
		exactly(observer, 2*n*2/3)
	})

	It("keeps a snapshot as it was", func(ctx context.Context) {
		observer := observe(clusterCfg, ObserverOptions{})
		churn(ctx, 0)
		exactly(observer, n*2/3)
		var before *Snapshot
		Eventually(func(g Gomega) { // what came and went may be told of still
			before = observer.Snapshot()
			g.Expect(observer.Snapshot()).To(BeIdenticalTo(before), "nothing changed")
		}).Should(Succeed())
		churn(ctx, n)
		exactly(observer, 2*n*2/3)
		Expect(before.Kinds[0].Len()).To(Equal(n * 2 / 3))
	})

	It("goes on after a restart of the API server", func(ctx context.Context) {
		observer := observe(clusterCfg, ObserverOptions{})
		churn(ctx, 0)
		exactly(observer, n*2/3)
		server := cluster.ControlPlane.GetAPIServer()
		if err := server.Stop(); err != nil { // it waits for its watches to end, longer than this test does, and is killed
			Expect(err).To(MatchError(ContainSubstring("timeout waiting for process")))
		}
		Eventually(func() bool { return observer.Snapshot().Kinds[0].Failing.IsZero() }).Should(BeFalse())
		Expect(observer.Snapshot().Kinds[0].Len()).To(Equal(n*2/3), "what is known stays")
		Eventually(server.Start).Should(Succeed(), "its port may belong to the one that was killed, or to somebody's connection, for a moment")
		Eventually(func() error {
			return admin.List(ctx, &metav1.PartialObjectMetadataList{TypeMeta: metav1.TypeMeta{APIVersion: kustomizeV1, Kind: "KustomizationList"}}, client.Limit(1))
		}).Should(Succeed())
		churn(ctx, n)
		exactly(observer, 2*n*2/3)
	})

	It("shows all objects in each scrape while they change and connections break", func(ctx context.Context) {
		const objects, changes = 200, 2_000
		each(objects, func(i int) error {
			return admin.Create(ctx, object(kustomizeV1, "Kustomization", fmt.Sprintf("k%d", i)))
		})
		wire, cfg := wired()
		observer := observe(cfg, ObserverOptions{})
		Eventually(counts(observer)).Should(Equal(map[string]int{kustomizeV1 + " Kustomization": objects}))
		registry := prometheus.NewRegistry()
		Expect(registry.Register(NewCollector(observer, CollectorOptions{}))).To(Succeed())
		series := func() (total, suspended int) {
			GinkgoHelper()
			families, err := registry.Gather()
			Expect(err).NotTo(HaveOccurred())
			for _, family := range families {
				for _, metric := range family.GetMetric() {
					if family.GetName() != "flux_resource_info" {
						continue
					}
					total++
					for _, label := range metric.GetLabel() {
						if label.GetName() == "suspended" && label.GetValue() == "True" {
							suspended++
						}
					}
				}
			}
			return total, suspended
		}
		changed := make(chan struct{})
		go func() {
			defer GinkgoRecover()
			defer close(changed)
			each(changes, func(i int) error {
				if i%500 == 0 {
					wire.cut()
				}
				patch := fmt.Sprintf(`{"spec":{"suspend":%t}}`, i/objects%2 == 1 || i >= changes-objects)
				return admin.Patch(ctx, object(kustomizeV1, "Kustomization", fmt.Sprintf("k%d", i%objects)), client.RawPatch(types.MergePatchType, []byte(patch)))
			})
		}()
		scrapes := 0
		for done := false; !done; scrapes++ {
			select {
			case <-changed:
				done = true
			default:
			}
			total, _ := series()
			Expect(total).To(Equal(objects))
		}
		Expect(scrapes).To(BeNumerically(">", 10))
		Eventually(func() int { _, suspended := series(); return suspended }).Should(Equal(objects))
	})
})
