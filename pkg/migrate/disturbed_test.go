package migrate_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-autopilot/flux-operator/pkg/migrate"
)

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
