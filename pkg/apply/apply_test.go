package apply_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-autopilot/flux-operator/pkg/apply"
)

var _ = Describe("Apply", func() {
	It("installs definitions and their custom resources in one set", func(ctx SpecContext) {
		w := newWorld(ctx)
		actions, _ := w.mustApply(ctx, nil, w.thing("one"), w.deployment("app"), w.crd(), w.configMap("settings", nil))
		Expect(actions).To(Equal(map[string]apply.Action{
			"Thing/one": apply.Created, "Deployment/app": apply.Created, "ConfigMap/settings": apply.Created,
			"CustomResourceDefinition/things." + w.ns + ".fluxcd.io": apply.Created,
		}))
		Expect(w.live(ctx, w.thing("one")).GetLabels()).To(Equal(w.thing("one").GetLabels()))
	})

	It("makes one request an object and tells what changed", func(ctx SpecContext) {
		w := newWorld(ctx)
		objects := []*unstructured.Unstructured{w.deployment("app")}
		for i := range 20 {
			objects = append(objects, w.configMap(fmt.Sprintf("settings-%d", i), map[string]any{"key": "value"}))
		}
		w.warm(objects...)
		before := objects[0].DeepCopy()

		actions, observed := w.mustApply(ctx, nil, objects...)
		Expect(actions).To(HaveLen(21))
		Expect(actions).To(HaveEach(apply.Created))
		Expect(w.traffic.seen("PATCH")).To(HaveLen(21))
		Expect(w.traffic.seen("")).To(HaveLen(22), "one list request tells the API server's revision")
		Expect(objects[0]).To(Equal(before))

		By("applying the same again")
		w.traffic.reset()
		actions, observed = w.mustApply(ctx, observed, objects...)
		Expect(actions).To(HaveEach(apply.Unchanged))
		Expect(w.traffic.seen("")).To(HaveLen(21))

		By("applying the same again after a restart")
		w.traffic.reset()
		actions, _ = w.mustApply(ctx, nil, objects...)
		Expect(actions).To(HaveEach(apply.Unchanged))
		Expect(w.traffic.seen("")).To(HaveLen(22))

		By("changing one")
		objects[1].Object["data"] = map[string]any{"key": "other"}
		actions, observed = w.mustApply(ctx, observed, objects...)
		Expect(actions).To(HaveKeyWithValue("ConfigMap/settings-0", apply.Configured))
		delete(actions, "ConfigMap/settings-0")
		Expect(actions).To(HaveEach(apply.Unchanged))

		By("having one changed and another one deleted by somebody")
		kubectl(ctx, "", "", "-n", w.ns, "delete", "configmap", "settings-5")
		kubectl(ctx, "", "", "-n", w.ns, "patch", "configmap", "settings-6", "-p", `{"data":{"key":"drift"}}`)
		actions, _ = w.mustApply(ctx, observed, objects...)
		Expect(actions).To(HaveKeyWithValue("ConfigMap/settings-5", apply.Created))
		Expect(actions).To(HaveKeyWithValue("ConfigMap/settings-6", apply.Configured))
		Expect(w.live(ctx, objects[7]).Object["data"]).To(Equal(map[string]any{"key": "value"}))
	})

	It("tells changes after a restart from status updates", func(ctx SpecContext) {
		w := newWorld(ctx)
		app := w.deployment("app")
		_, observed := w.mustApply(ctx, nil, app)
		setStatus(ctx, w.live(ctx, app), map[string]any{"observedGeneration": int64(1), "replicas": int64(1)})
		actions, _ := w.mustApply(ctx, observed, app)
		Expect(actions).To(HaveKeyWithValue("Deployment/app", apply.Unchanged))
		actions, _ = w.mustApply(ctx, nil, app)
		Expect(actions).To(HaveKeyWithValue("Deployment/app", apply.Unchanged))
		Expect(unstructured.SetNestedField(app.Object, int64(3), "spec", "minReadySeconds")).To(Succeed())
		actions, _ = w.mustApply(ctx, nil, app)
		Expect(actions).To(HaveKeyWithValue("Deployment/app", apply.Configured))
	})

	It("applies the others when one is refused, and names it", func(ctx SpecContext) {
		w := newWorld(ctx)
		bad := w.deployment("bad")
		Expect(unstructured.SetNestedField(bad.Object, "no such field", "spec", "bogus")).To(Succeed())
		worse := w.configMap("worse", map[string]any{"key": int64(7)})
		changes, err := w.applier.Apply(ctx, []*unstructured.Unstructured{bad, worse, w.configMap("good", nil), w.deployment("good")}, nil)
		actions, _ := outcome(changes)
		Expect(actions).To(Equal(map[string]apply.Action{"ConfigMap/good": apply.Created, "Deployment/good": apply.Created}))
		refused, ok := errors.AsType[*apply.ObjectError](err)
		Expect(ok).To(BeTrue())
		Expect(refused.Object).To(Equal(apply.IDOf(worse)), "errors are in apply order")
		Expect(err).To(MatchError(And(
			ContainSubstring("Deployment/"+w.ns+"/bad: "), ContainSubstring("bogus"), ContainSubstring("ConfigMap/"+w.ns+"/worse: "))))
	})

	It("stops after a failed foundation", func(ctx SpecContext) {
		w := newWorld(ctx)
		bad := w.crd()
		Expect(unstructured.SetNestedField(bad.Object, "Other", "spec", "scope")).To(Succeed())
		changes, err := w.applier.Apply(ctx, []*unstructured.Unstructured{bad, w.deployment("app")}, nil)
		Expect(changes).To(BeEmpty())
		Expect(err).To(MatchError(ContainSubstring("CustomResourceDefinition/things." + w.ns)))
	})

	It("refuses ambiguous sets without a request", func(ctx SpecContext) {
		w := newWorld(ctx)
		_, err := w.applier.Apply(ctx, []*unstructured.Unstructured{w.configMap("a", nil), w.configMap("a", nil)}, nil)
		Expect(err).To(MatchError(ContainSubstring("twice")))
		Expect(w.traffic.seen("")).To(BeEmpty())
	})

	It("retries what may pass", func(ctx SpecContext) {
		w := newWorld(ctx)
		settings := w.configMap("settings", nil)
		w.warm(settings)
		var attempts atomic.Int32
		w.traffic.respond(func(r *http.Request) (*http.Response, error) {
			if r.Method != http.MethodPatch {
				return nil, errPass
			}
			switch attempts.Add(1) {
			case 1:
				return refusal(r, http.StatusInternalServerError, metav1.StatusReasonInternalError, `failed calling webhook "w": timeout`), nil
			case 2:
				return refusal(r, http.StatusConflict, metav1.StatusReasonConflict, "the object has been modified"), nil
			case 3:
				return nil, errors.New("unexpected EOF")
			case 4:
				return refusal(r, http.StatusForbidden, metav1.StatusReasonForbidden, "status unknown for quota: small"), nil
			}
			return nil, errPass
		})
		actions, _ := w.mustApply(ctx, nil, settings)
		Expect(actions).To(HaveKeyWithValue("ConfigMap/settings", apply.Created))
		Expect(attempts.Load()).To(BeEquivalentTo(5))
	})

	It("does not retry what was refused", func(ctx SpecContext) {
		w := newWorld(ctx)
		w.warm(w.deployment("app"))
		unknown := w.object("apiVersion: nobody.example.com/v1\nkind: Unknown\nmetadata: {name: x}")
		bad := w.deployment("bad")
		Expect(unstructured.SetNestedField(bad.Object, "x", "spec", "bogus")).To(Succeed())
		_, err := w.applier.Apply(ctx, []*unstructured.Unstructured{unknown, bad}, nil)
		Expect(err).To(HaveOccurred())
		Expect(w.traffic.seen("PATCH")).To(HaveLen(1))
	})

	It("ends when the context does, and says what was done", func(ctx SpecContext) {
		w := newWorld(ctx)
		var objects []*unstructured.Unstructured
		for i := range 60 {
			objects = append(objects, w.configMap(fmt.Sprintf("settings-%d", i), nil))
		}
		w.warm(objects...)
		interrupted := errors.New("a newer change came")
		ending, end := context.WithCancelCause(ctx)
		defer end(nil)
		var sent atomic.Int32
		w.traffic.respond(func(r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodPatch && sent.Add(1) == 20 {
				end(interrupted)
			}
			return nil, errPass
		})
		changes, err := w.applier.Apply(ending, objects, nil)
		Expect(err).To(MatchError(interrupted))
		Expect(err).To(MatchError(context.Canceled))
		Expect(len(changes)).To(And(BeNumerically(">=", 12), BeNumerically("<", 60)))
		Expect(strings.Count(err.Error(), "ConfigMap")).To(BeZero(), "objects in flight are not failures")
		for _, change := range changes {
			w.live(ctx, change.Object)
		}
	})

	It("never shows what is in a Secret", func(ctx SpecContext) {
		w := newWorld(ctx)
		secret := w.object("apiVersion: v1\nkind: Secret\nmetadata: {name: token}\nstringData: {token: hunter2}")
		w.mustApply(ctx, nil, secret)
		Expect(w.live(ctx, secret).Object["data"]).To(Equal(map[string]any{"token": "aHVudGVyMg=="}))

		By("dropping a key")
		secret.Object["stringData"] = map[string]any{"other": "x"}
		w.mustApply(ctx, nil, secret)
		Expect(w.live(ctx, secret).Object["data"]).To(Equal(map[string]any{"other": "eA=="}))

		By("sending one that is refused")
		secret.Object["data"] = map[string]any{"token": "hunter2 is not base64"}
		_, err := w.applier.Apply(ctx, []*unstructured.Unstructured{secret}, nil)
		Expect(err).To(MatchError(ContainSubstring("Secret/" + w.ns + "/token")))
		Expect(err.Error()).NotTo(ContainSubstring("hunter2"))
	})

	It("leaves the certificate in a definition to whoever injects it", func(ctx SpecContext) {
		w := newWorld(ctx)
		crd := w.crd()
		conversion := map[string]any{"strategy": "Webhook", "webhook": map[string]any{
			"conversionReviewVersions": []any{"v1"},
			"clientConfig":             map[string]any{"url": "https://example.com", "caBundle": "bm9uc2Vuc2U="},
		}}
		Expect(unstructured.SetNestedMap(crd.Object, conversion, "spec", "conversion")).To(Succeed())
		before := crd.DeepCopy()
		w.mustApply(ctx, nil, crd)
		Expect(crd).To(Equal(before))
		_, found, _ := unstructured.NestedString(w.live(ctx, crd).Object, "spec", "conversion", "webhook", "clientConfig", "caBundle")
		Expect(found).To(BeFalse())
	})
})

// setStatus writes a status as a controller does.
func setStatus(ctx context.Context, live *unstructured.Unstructured, status map[string]any) {
	GinkgoHelper()
	live.Object["status"] = status
	Expect(admin.Status().Update(ctx, live, client.FieldOwner("some-controller"))).To(Succeed())
}
