package apply_test

import (
	"context"
	"net/http"
	"sync"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-autopilot/flux-operator/pkg/apply"
)

// claim asks for a volume of a class of the test case's own.
func (w *world) claim(class, size string) *unstructured.Unstructured {
	return w.object(`
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], storageClassName: NS-` + class + `, resources: {requests: {storage: ` + size + `}}}
`)
}

// classes makes two classes of storage: volumes of the elastic one can grow, those of the rigid one cannot.
func (w *world) classes(ctx context.Context) {
	GinkgoHelper()
	for _, class := range []string{"elastic", "rigid"} {
		expandable := class == "elastic"
		obj := &storagev1.StorageClass{
			ObjectMeta: metav1.ObjectMeta{Name: w.ns + "-" + class}, Provisioner: "example.com/none", AllowVolumeExpansion: &expandable,
		}
		Expect(admin.Create(ctx, obj)).To(Succeed())
		DeferCleanup(admin.Delete, obj)
	}
}

// bind gives a claim its volume, as a provisioner and the volume controller do.
func (w *world) bind(ctx context.Context, claim *unstructured.Unstructured) {
	GinkgoHelper()
	live := &corev1.PersistentVolumeClaim{}
	Expect(admin.Get(ctx, client.ObjectKeyFromObject(claim), live)).To(Succeed())
	live.Spec.VolumeName = "volume"
	Expect(admin.Update(ctx, live)).To(Succeed())
	live.Status = corev1.PersistentVolumeClaimStatus{
		Phase: corev1.ClaimBound, AccessModes: live.Spec.AccessModes,
		Capacity: corev1.ResourceList{corev1.ResourceStorage: live.Spec.Resources.Requests[corev1.ResourceStorage]},
	}
	Expect(admin.Status().Update(ctx, live)).To(Succeed())
}

func requested(live *unstructured.Unstructured) string {
	GinkgoHelper()
	size, _, err := unstructured.NestedString(live.Object, "spec", "resources", "requests", "storage")
	Expect(err).NotTo(HaveOccurred())
	return size
}

var _ = Describe("Apply of volume claims", func() {
	var w *world
	BeforeEach(func(ctx SpecContext) {
		w = newWorld(ctx)
		w.classes(ctx)
	})

	It("lets a volume grow where its class allows it", func(ctx SpecContext) {
		w.mustApply(ctx, nil, w.claim("elastic", "1Gi"))
		w.bind(ctx, w.claim("elastic", "1Gi"))
		uid := w.live(ctx, w.claim("elastic", "1Gi")).GetUID()
		w.mustApply(ctx, nil, w.claim("elastic", "2Gi"))
		live := w.live(ctx, w.claim("elastic", "2Gi"))
		Expect(live.GetUID()).To(Equal(uid))
		Expect(requested(live)).To(Equal("2Gi"))
	})

	DescribeTable("refuses in the words of the FluxInstance what would lose data",
		func(ctx SpecContext, class, size, wantedClass, wantedSize, field string) {
			w.mustApply(ctx, nil, w.claim(class, size))
			w.bind(ctx, w.claim(class, size))
			uid := w.live(ctx, w.claim(class, size)).GetUID()
			_, err := w.applier.Apply(ctx, []*unstructured.Unstructured{w.claim(wantedClass, wantedSize)}, nil)
			Expect(err).To(MatchError(And(
				ContainSubstring("PersistentVolumeClaim/"+w.ns+"/data: "+field+": "), ContainSubstring("delete the claim"))))
			live := w.live(ctx, w.claim(class, size))
			Expect(live.GetUID()).To(Equal(uid))
			Expect(live.GetDeletionTimestamp()).To(BeNil())
		},
		Entry("a smaller volume", "elastic", "2Gi", "elastic", "1Gi", "spec.storage.size"),
		Entry("a larger volume of a class that cannot", "rigid", "1Gi", "rigid", "2Gi", "spec.storage.size"),
		Entry("another class", "elastic", "1Gi", "rigid", "1Gi", "spec.storage.class"),
	)

	It("makes a claim without a volume anew", func(ctx SpecContext) {
		_, observed := w.mustApply(ctx, nil, w.claim("rigid", "2Gi"))
		By("playing the controller that lets go of claims which no pod uses")
		unused := w.live(ctx, w.claim("rigid", "2Gi"))
		unused.SetFinalizers(nil)
		Expect(admin.Update(ctx, unused)).To(Succeed())
		actions, _ := w.mustApply(ctx, observed, w.claim("elastic", "1Gi"))
		Expect(actions).To(HaveKeyWithValue("PersistentVolumeClaim/data", apply.Created))
		live := w.live(ctx, w.claim("elastic", "1Gi"))
		Expect(live.Object["spec"]).To(HaveKeyWithValue("storageClassName", w.ns+"-elastic"))
		Expect(requested(live)).To(Equal("1Gi"))
	})

	It("does not delete a claim that gets its volume in the last moment", func(ctx SpecContext) {
		w.mustApply(ctx, nil, w.claim("rigid", "2Gi"))
		uid := w.live(ctx, w.claim("rigid", "2Gi")).GetUID()
		var once sync.Once
		w.traffic.respond(func(r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodDelete {
				once.Do(func() {
					defer GinkgoRecover()
					w.bind(ctx, w.claim("rigid", "2Gi"))
				})
			}
			return nil, errPass
		})
		_, err := w.applier.Apply(ctx, []*unstructured.Unstructured{w.claim("elastic", "2Gi")}, nil)
		Expect(err).To(MatchError(ContainSubstring("spec.storage.class: ")))
		live := w.live(ctx, w.claim("rigid", "2Gi"))
		Expect(live.GetUID()).To(Equal(uid))
		Expect(live.GetDeletionTimestamp()).To(BeNil())
	})

	It("reads what is there", func(ctx SpecContext) {
		w.mustApply(ctx, nil, w.claim("rigid", "2Gi"))
		live, err := w.applier.Read(ctx, []*unstructured.Unstructured{w.configMap("nobody", nil), byName(w.claim("rigid", "2Gi"))})
		Expect(err).NotTo(HaveOccurred())
		Expect(live).To(HaveLen(1))
		Expect(requested(live[0])).To(Equal("2Gi"))
		w.traffic.respond(func(r *http.Request) (*http.Response, error) {
			return refusal(r, http.StatusForbidden, metav1.StatusReasonForbidden, "no permission"), nil
		})
		_, err = w.applier.Read(ctx, live)
		Expect(err).To(MatchError(ContainSubstring("PersistentVolumeClaim/" + w.ns + "/data: no permission")))
	})
})
