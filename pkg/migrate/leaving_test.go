package migrate_test

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-autopilot/flux-operator/pkg/migrate"
)

var _ = Describe("A definition that is being deleted", func() {
	It("is waited for, as nothing can be planned for it", func(ctx SpecContext) {
		w := newWorld(ctx)
		crd := w.crd("v1*")
		install(ctx, crd)
		held := w.thing("v1", "held", "a")
		held.SetFinalizers([]string{"example.com/hold"})
		create(ctx, []*unstructured.Unstructured{held})
		Expect(admin.Delete(ctx, crd)).To(Succeed())

		_, err := w.migrator.Live(ctx, read(GinkgoT(), []*unstructured.Unstructured{crd}))
		var leaving *migrate.LeavingError
		Expect(err).To(BeAssignableToTypeOf(leaving))
		Expect(err).To(MatchError(ContainSubstring(crd.GetName())))

		// Whatever the version is: the API server deletes the objects of the definition meanwhile.
		Expect(admin.Patch(ctx, held, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`)))).To(Succeed())
		Eventually(func() ([]migrate.Definition, error) {
			return w.migrator.Live(ctx, read(GinkgoT(), []*unstructured.Unstructured{crd}))
		}).Should(BeEmpty())
	})
})
