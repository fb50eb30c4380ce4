package apply_test

import (
	"net/http"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/apply"
)

var _ = Describe("Standing", func() {
	It("tells what is there, whose it is, and what is to stay", func(ctx SpecContext) {
		w := newWorld(ctx)
		ours, kept, theirs, going, gone := w.configMap("ours", nil), w.configMap("kept", nil), w.configMap("theirs", nil), w.configMap("going", nil), w.configMap("gone", nil)
		kept.SetAnnotations(map[string]string{v1.PruneAnnotation: v1.DisabledValue})
		going.SetFinalizers([]string{"example.com/keep"})
		w.mustApply(ctx, nil, ours, kept, going)
		Expect(admin.Create(ctx, byName(theirs))).To(Succeed())
		Expect(admin.Delete(ctx, byName(going))).To(Succeed())
		DeferCleanup(func(ctx SpecContext) {
			Expect(admin.Patch(ctx, byName(going), client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`)))).To(Succeed())
		})
		unknown := w.object("apiVersion: nobody.example.com/v1\nkind: Unknown\nmetadata: {name: x}")
		objects := []*unstructured.Unstructured{byName(ours), byName(theirs), byName(gone), byName(kept), byName(going), unknown}
		Expect(w.applier.Standing(ctx, objects)).To(Equal([]apply.Standing{
			{Object: apply.IDOf(ours), Owned: true}, {Object: apply.IDOf(theirs)}, {Object: apply.IDOf(kept), Owned: true, Exempt: true},
		}))

		By("asking once where all are ours")
		w.traffic.reset()
		Expect(w.applier.Standing(ctx, []*unstructured.Unstructured{byName(ours), byName(kept)})).To(HaveLen(2))
		Expect(w.traffic.seen("GET")).To(HaveLen(1))

		By("being refused")
		w.traffic.respond(func(r *http.Request) (*http.Response, error) {
			return refusal(r, http.StatusForbidden, "Forbidden", "no permission"), nil
		})
		Expect(w.applier.Standing(ctx, []*unstructured.Unstructured{byName(ours)})).Error().To(MatchError(ContainSubstring("ConfigMap/" + w.ns + "/ours: no permission")))
	})
})
