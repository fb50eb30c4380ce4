package apply_test

import (
	"context"
	"net/http"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/apply"
)

const (
	replicasField  = "/spec/replicas"
	resourcesField = "/spec/template/spec/containers/0/resources"
)

// leaving returns a Deployment of which some fields are left to others.
func (w *world) leaving(fields ...string) *unstructured.Unstructured {
	GinkgoHelper()
	app := w.deployment("app")
	container := containerOf(app)
	container["resources"] = map[string]any{"limits": map[string]any{"memory": "64Mi"}}
	Expect(unstructured.SetNestedSlice(app.Object, []any{container}, "spec", "template", "spec", "containers")).To(Succeed())
	app.SetAnnotations(map[string]string{v1.IgnoreFieldsAnnotation: strings.Join(fields, ", ")})
	return app
}

// patched lets somebody change an object.
func (w *world) patched(ctx context.Context, obj *unstructured.Unstructured, manager, patch string) {
	GinkgoHelper()
	Expect(admin.Patch(ctx, byName(obj), client.RawPatch(types.StrategicMergePatchType, []byte(patch)), client.FieldOwner(manager))).To(Succeed())
}

func memoryOf(live *unstructured.Unstructured) any {
	GinkgoHelper()
	memory, _, err := unstructured.NestedFieldNoCopy(containerOf(live), "resources", "limits", "memory")
	Expect(err).NotTo(HaveOccurred())
	return memory
}

func (w *world) observedOf(ctx context.Context, obj *unstructured.Unstructured) *metav1.PartialObjectMetadata {
	GinkgoHelper()
	metadata := &metav1.PartialObjectMetadata{}
	metadata.SetGroupVersionKind(obj.GroupVersionKind())
	Expect(admin.Get(ctx, client.ObjectKeyFromObject(obj), metadata)).To(Succeed())
	return metadata
}

const (
	moreMemory    = `{"spec":{"template":{"spec":{"containers":[{"name":"manager","resources":{"limits":{"memory":"1Gi"}}}]}}}}`
	threeReplicas = `{"spec":{"replicas":3}}`
	otherImage    = `{"spec":{"template":{"spec":{"containers":[{"name":"manager","image":"example.com/other:v1"}]}}}}`
)

var _ = Describe("Fields that others manage", func() {
	It("sets them once and then leaves them to others, and nothing else", func(ctx SpecContext) {
		w := newWorld(ctx)
		app := w.leaving(replicasField, resourcesField)
		actions, observed := w.mustApply(ctx, nil, app)
		Expect(actions).To(HaveKeyWithValue("Deployment/app", apply.Created))
		Expect(replicas(w.live(ctx, app))).To(BeEquivalentTo(1))
		Expect(memoryOf(w.live(ctx, app))).To(Equal("64Mi"))

		By("applying again, with nothing to do")
		w.traffic.reset()
		actions, observed = w.mustApply(ctx, observed, app)
		Expect(actions).To(HaveKeyWithValue("Deployment/app", apply.Unchanged))
		Expect(w.traffic.seen("")).To(HaveLen(2))
		Expect(memoryOf(w.live(ctx, app))).To(Equal("64Mi"), "what was set at first stays while nobody changes it")

		By("having another manager set them, by update and by apply without force")
		w.patched(ctx, app, "recommender", moreMemory)
		scaled := byName(app)
		Expect(unstructured.SetNestedField(scaled.Object, int64(3), "spec", "replicas")).To(Succeed())
		Expect(admin.Apply(ctx, client.ApplyConfigurationFromUnstructured(scaled), client.FieldOwner("scaler"))).To(Succeed())
		for range 3 {
			actions, observed = w.mustApply(ctx, observed, app)
			Expect(actions).To(HaveKeyWithValue("Deployment/app", apply.Unchanged))
			Expect(observed[apply.IDOf(app)].Matches(w.observedOf(ctx, app))).To(BeTrue(), "what was seen is no drift the next time")
		}
		Expect(memoryOf(w.live(ctx, app))).To(Equal("1Gi"))
		Expect(replicas(w.live(ctx, app))).To(BeEquivalentTo(3))

		By("having somebody change something else of the same object")
		w.patched(ctx, app, "somebody", otherImage)
		Expect(observed[apply.IDOf(app)].Matches(w.observedOf(ctx, app))).To(BeFalse())
		actions, observed = w.mustApply(ctx, observed, app)
		Expect(actions).To(HaveKeyWithValue("Deployment/app", apply.Configured))
		Expect(containerOf(w.live(ctx, app))).To(HaveKeyWithValue("image", "example.com/app:v1"))
		Expect(memoryOf(w.live(ctx, app))).To(Equal("1Gi"))
		Expect(observed[apply.IDOf(app)].Matches(w.observedOf(ctx, app))).To(BeTrue())

		By("having somebody use kubectl on them, which is undone elsewhere")
		kubectl(ctx, "", "", "-n", w.ns, "set", "resources", "deployment", "app", "--limits=memory=2Gi")
		kubectl(ctx, "", "", "-n", w.ns, "set", "env", "deployment", "app", "ADDED=x")
		w.mustApply(ctx, observed, app)
		Expect(memoryOf(w.live(ctx, app))).To(Equal("2Gi"))
		Expect(containerOf(w.live(ctx, app))["env"]).To(HaveLen(1))
	})

	It("gives up fields that were ours, keeping their values, and takes them back", func(ctx SpecContext) {
		w := newWorld(ctx)
		plain, left := w.leaving(), w.leaving(replicasField, resourcesField)
		plain.SetAnnotations(nil)
		w.mustApply(ctx, nil, plain)
		actions, observed := w.mustApply(ctx, nil, left)
		Expect(actions).To(HaveKeyWithValue("Deployment/app", apply.Configured))
		Expect(memoryOf(w.live(ctx, left))).To(Equal("64Mi"))
		Expect(replicas(w.live(ctx, left))).To(BeEquivalentTo(1))
		w.patched(ctx, left, "recommender", moreMemory)
		_, observed = w.mustApply(ctx, observed, left)
		Expect(memoryOf(w.live(ctx, left))).To(Equal("1Gi"))

		w.mustApply(ctx, observed, plain)
		Expect(memoryOf(w.live(ctx, plain))).To(Equal("64Mi"))
		Expect(w.live(ctx, plain).GetAnnotations()).NotTo(HaveKey(v1.IgnoreFieldsAnnotation))
	})

	It("leaves what an object had before it was taken over", func(ctx SpecContext) {
		w := newWorld(ctx)
		theirs, ours := w.leaving(), w.leaving(replicasField, "/metadata/labels/team")
		labels := theirs.GetLabels()
		labels["team"] = "theirs"
		theirs.SetLabels(labels)
		theirs.SetAnnotations(nil)
		Expect(unstructured.SetNestedField(theirs.Object, int64(3), "spec", "replicas")).To(Succeed())
		Expect(unstructured.SetNestedField(theirs.Object, int64(5), "spec", "minReadySeconds")).To(Succeed())
		Expect(admin.Create(ctx, theirs, client.FieldOwner("kubectl-create"))).To(Succeed())
		own := ours.GetLabels()
		own["team"] = "ours"
		ours.SetLabels(own)

		_, observed := w.mustApply(ctx, nil, ours)
		live := w.live(ctx, ours)
		Expect(replicas(live)).To(BeEquivalentTo(3))
		Expect(live.GetLabels()).To(HaveKeyWithValue("team", "theirs"))
		Expect(live.Object["spec"]).To(Or(Not(HaveKey("minReadySeconds")), HaveKeyWithValue("minReadySeconds", BeZero())))
		Expect(observed[apply.IDOf(ours)].Matches(w.observedOf(ctx, ours))).To(BeTrue())
	})

	It("tells items of lists apart as the API does", func(ctx SpecContext) {
		w := newWorld(ctx)
		service := w.object(`
apiVersion: v1
kind: Service
metadata: {name: app, annotations: {` + v1.IgnoreFieldsAnnotation + `: /spec/ports/1/targetPort}}
spec: {ports: [{name: a, port: 80, targetPort: 8080}, {name: b, port: 81, targetPort: 8081}]}
`)
		_, observed := w.mustApply(ctx, nil, service)
		w.patched(ctx, service, "somebody", `{"spec":{"ports":[{"port":80,"targetPort":9080},{"port":81,"targetPort":9081}]}}`)
		w.mustApply(ctx, observed, service)
		ports, _, err := unstructured.NestedSlice(w.live(ctx, service).Object, "spec", "ports")
		Expect(err).NotTo(HaveOccurred())
		Expect(ports).To(ConsistOf(
			And(HaveKeyWithValue("port", BeEquivalentTo(80)), HaveKeyWithValue("targetPort", BeEquivalentTo(8080))),
			And(HaveKeyWithValue("port", BeEquivalentTo(81)), HaveKeyWithValue("targetPort", BeEquivalentTo(9081)))))
	})

	It("refuses what cannot be told apart", func(ctx SpecContext) {
		w := newWorld(ctx)
		app := w.leaving("/spec/template/spec/tolerations/0/operator")
		Expect(unstructured.SetNestedSlice(app.Object, []any{map[string]any{"key": "a", "operator": "Exists"}},
			"spec", "template", "spec", "tolerations")).To(Succeed())
		_, err := w.applier.Apply(ctx, []*unstructured.Unstructured{app}, nil)
		Expect(err).To(MatchError(And(
			ContainSubstring("Deployment/"+w.ns+"/app: annotation "+v1.IgnoreFieldsAnnotation), ContainSubstring("name /spec/template/spec/tolerations"))))
		app.SetAnnotations(map[string]string{v1.IgnoreFieldsAnnotation: "spec.replicas"})
		_, err = w.applier.Apply(ctx, []*unstructured.Unstructured{app}, nil)
		Expect(err).To(MatchError(ContainSubstring(v1.IgnoreFieldsAnnotation)))
	})

	It("ignores data and custom resources, and keys of Secrets", func(ctx SpecContext) {
		w := newWorld(ctx)
		settings, secret := w.configMap("settings", map[string]any{"ours": "a", "theirs": "a"}), w.object(
			"apiVersion: v1\nkind: Secret\nmetadata: {name: token}\nstringData: {ours: a, theirs: a}")
		crd, thing := w.crd(), w.thing("one")
		for _, obj := range []*unstructured.Unstructured{settings, secret} {
			obj.SetAnnotations(map[string]string{v1.IgnoreFieldsAnnotation: "/data/theirs"})
		}
		thing.SetAnnotations(map[string]string{v1.IgnoreFieldsAnnotation: "/spec/suspend"})
		objects := []*unstructured.Unstructured{settings, secret, crd, thing}
		_, observed := w.mustApply(ctx, nil, objects...)
		for _, change := range []struct {
			obj   *unstructured.Unstructured
			patch string
		}{
			{settings, `{"data":{"ours":"b","theirs":"b"}}`},
			{secret, `{"data":{"ours":"Yg==","theirs":"Yg=="}}`},
			{thing, `{"spec":{"suspend":true,"url":"b"}}`},
		} {
			Expect(admin.Patch(ctx, byName(change.obj), client.RawPatch(types.MergePatchType, []byte(change.patch)), client.FieldOwner("somebody"))).To(Succeed())
		}
		w.mustApply(ctx, observed, objects...)
		Expect(w.live(ctx, settings).Object["data"]).To(Equal(map[string]any{"ours": "a", "theirs": "b"}))
		Expect(w.live(ctx, secret).Object["data"]).To(Equal(map[string]any{"ours": "YQ==", "theirs": "Yg=="}))
		Expect(w.live(ctx, thing).Object["spec"]).To(Equal(map[string]any{"url": "a", "suspend": true}))
	})

	It("sets them again when the object is made anew", func(ctx SpecContext) {
		w := newWorld(ctx)
		app := w.leaving(replicasField, resourcesField)
		_, observed := w.mustApply(ctx, nil, app)
		Expect(admin.Delete(ctx, byName(app))).To(Succeed())
		_, observed = w.mustApply(ctx, observed, app)
		Expect(memoryOf(w.live(ctx, app))).To(Equal("64Mi"))
		for _, path := range [][]string{{"spec", "selector", "matchLabels", "app"}, {"spec", "template", "metadata", "labels", "app"}} {
			Expect(unstructured.SetNestedField(app.Object, "other", path...)).To(Succeed())
		}
		actions, _ := w.mustApply(ctx, observed, app)
		Expect(actions).To(HaveKeyWithValue("Deployment/app", apply.Created))
		Expect(memoryOf(w.live(ctx, app))).To(Equal("64Mi"))
	})

	It("loses nothing when others write at the same time", func(ctx SpecContext) {
		w := newWorld(ctx)
		plain, left := w.leaving(), w.leaving(resourcesField)
		plain.SetAnnotations(nil)
		w.mustApply(ctx, nil, plain)
		done := false
		w.traffic.respond(func(r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodPatch && !done {
				done = true
				w.patched(ctx, plain, "recommender", moreMemory)
			}
			return nil, errPass
		})
		w.mustApply(ctx, nil, left)
		Expect(done).To(BeTrue())
		Expect(memoryOf(w.live(ctx, left))).To(Equal("1Gi"))
	})
})
