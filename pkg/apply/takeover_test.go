package apply_test

import (
	"context"
	"errors"
	"net/http"
	"sync"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/apply"
)

var _ = Describe("Apply over what others wrote", func() {
	It("takes over what kubectl applied", func(ctx SpecContext) {
		w := newWorld(ctx)
		kubectl(ctx, "", `
apiVersion: v1
kind: ConfigMap
metadata:
  name: settings
  labels: {kustomize.toolkit.fluxcd.io/name: flux-system, kustomize.toolkit.fluxcd.io/namespace: flux-system, theirs: stays-not}
  annotations: {meta.helm.sh/release-name: flux}
data: {ours: old, theirs: old}
`, "-n", w.ns, "apply", "-f", "-")
		settings := w.configMap("settings", map[string]any{"ours": "new"})
		w.warm(settings)

		actions, observed := w.mustApply(ctx, nil, settings)
		Expect(actions).To(HaveKeyWithValue("ConfigMap/settings", apply.Configured))
		Expect(w.traffic.seen("PATCH")).To(HaveLen(3))
		live := w.live(ctx, settings)
		Expect(live.Object["data"]).To(Equal(map[string]any{"ours": "new"}))
		Expect(live.GetLabels()).To(Equal(settings.GetLabels()))
		Expect(live.GetAnnotations()).To(BeEmpty())
		Expect(managers(live)).To(Equal([]string{"flux-operator/Apply"}))

		By("finding nothing to take over any more")
		w.traffic.reset()
		actions, _ = w.mustApply(ctx, observed, settings)
		Expect(actions).To(HaveKeyWithValue("ConfigMap/settings", apply.Unchanged))
		Expect(w.traffic.seen("")).To(HaveLen(1))
	})

	It("undoes what kubectl edit did, added fields included", func(ctx SpecContext) {
		w := newWorld(ctx)
		app := w.deployment("app")
		_, observed := w.mustApply(ctx, nil, app)
		kubectl(ctx, `sed -i -e "s|example.com/app:v1|example.com/app:edited|" -e "s|- name: A|- {name: ADDED, value: b}\n        - name: A|"`,
			"", "-n", w.ns, "edit", "deployment", "app")
		live := w.live(ctx, app)
		Expect(containerOf(live)).To(HaveKeyWithValue("image", "example.com/app:edited"))
		Expect(containerOf(live)["env"]).To(HaveLen(2))
		Expect(observed[apply.IDOf(app)].Matches(live)).To(BeFalse())

		actions, observed := w.mustApply(ctx, observed, app)
		Expect(actions).To(HaveKeyWithValue("Deployment/app", apply.Configured))
		live = w.live(ctx, app)
		Expect(containerOf(live)).To(HaveKeyWithValue("image", "example.com/app:v1"))
		Expect(containerOf(live)["env"]).To(HaveLen(1))
		Expect(observed[apply.IDOf(app)].Matches(live)).To(BeTrue())
	})

	It("leaves a restart asked for with kubectl alone", func(ctx SpecContext) {
		w := newWorld(ctx)
		app := w.deployment("app")
		_, observed := w.mustApply(ctx, nil, app)
		kubectl(ctx, "", "", "-n", w.ns, "rollout", "restart", "deployment", "app")
		kubectl(ctx, "", "", "-n", w.ns, "rollout", "pause", "deployment", "app")
		generation := w.live(ctx, app).GetGeneration()
		_, observed = w.mustApply(ctx, observed, app)
		live := w.live(ctx, app)
		Expect(live.Object["spec"]).NotTo(HaveKey("paused"))
		annotations, _, _ := unstructured.NestedStringMap(live.Object, "spec", "template", "metadata", "annotations")
		Expect(annotations).To(HaveKey("kubectl.kubernetes.io/restartedAt"))
		Expect(live.GetGeneration()).To(Equal(generation + 1))

		w.traffic.reset()
		actions, _ := w.mustApply(ctx, observed, app)
		Expect(actions).To(HaveKeyWithValue("Deployment/app", apply.Unchanged))
		Expect(w.traffic.seen("")).To(HaveLen(1))
	})

	It("takes over although others write at the same time", func(ctx SpecContext) {
		w := newWorld(ctx)
		theirs := w.configMap("settings", map[string]any{"theirs": "x"})
		Expect(admin.Create(ctx, theirs, client.FieldOwner("helm"))).To(Succeed())
		var once sync.Once
		w.traffic.respond(func(r *http.Request) (*http.Response, error) {
			if r.Header.Get("Content-Type") == string(types.JSONPatchType) {
				once.Do(func() {
					defer GinkgoRecover()
					live := w.live(ctx, theirs)
					live.Object["data"] = map[string]any{"theirs": "x", "more": "x"}
					Expect(admin.Update(ctx, live, client.FieldOwner("helm"))).To(Succeed())
				})
			}
			return nil, errPass
		})
		ours := w.configMap("settings", map[string]any{"ours": "x"})
		w.mustApply(ctx, nil, ours)
		Expect(w.live(ctx, ours).Object["data"]).To(Equal(map[string]any{"ours": "x"}))
	})

	DescribeTable("takes over the fields of managers",
		func(ctx SpecContext, manager string, how metav1.ManagedFieldsOperationType, taken bool) {
			w := newWorld(ctx, "terraform")
			theirs := w.configMap("settings", map[string]any{"theirs": "x"})
			theirs.SetLabels(nil)
			if how == metav1.ManagedFieldsOperationApply {
				body, err := theirs.MarshalJSON()
				Expect(err).NotTo(HaveOccurred())
				Expect(admin.Patch(ctx, theirs, client.RawPatch(types.ApplyPatchType, body), client.FieldOwner(manager))).To(Succeed())
			} else {
				Expect(admin.Create(ctx, theirs, client.FieldOwner(manager))).To(Succeed())
			}
			ours := w.configMap("settings", map[string]any{"ours": "x"})
			w.mustApply(ctx, nil, ours)
			data := map[string]any{"ours": "x"}
			if !taken {
				data["theirs"] = "x"
			}
			Expect(w.live(ctx, ours).Object["data"]).To(Equal(data))
		},
		Entry(nil, "kustomize-controller", metav1.ManagedFieldsOperationApply, true),
		Entry(nil, "kustomize-controller", metav1.ManagedFieldsOperationUpdate, false),
		Entry(nil, "helm", metav1.ManagedFieldsOperationUpdate, true),
		Entry(nil, "helm-controller", metav1.ManagedFieldsOperationUpdate, false),
		Entry(nil, "kubectl-client-side-apply", metav1.ManagedFieldsOperationUpdate, true),
		Entry(nil, "kubectl", metav1.ManagedFieldsOperationApply, true),
		Entry(nil, "flux", metav1.ManagedFieldsOperationApply, true),
		Entry(nil, "flux", metav1.ManagedFieldsOperationUpdate, true),
		Entry(nil, "flux-operator", metav1.ManagedFieldsOperationUpdate, true),
		Entry(nil, "before-first-apply", metav1.ManagedFieldsOperationUpdate, true),
		Entry(nil, "terraform", metav1.ManagedFieldsOperationApply, true),
		Entry(nil, "terraform", metav1.ManagedFieldsOperationUpdate, true),
		Entry(nil, "somebody", metav1.ManagedFieldsOperationUpdate, false),
	)

	It("leaves labels, annotations and finalizers of others", func(ctx SpecContext) {
		w := newWorld(ctx)
		settings := w.configMap("settings", map[string]any{"ours": "x"})
		_, observed := w.mustApply(ctx, nil, settings)
		live := w.live(ctx, settings)
		labels := live.GetLabels()
		labels["cost-center"] = "42"
		live.SetLabels(labels)
		live.SetFinalizers([]string{"example.com/keep"})
		Expect(admin.Update(ctx, live, client.FieldOwner("accounting"))).To(Succeed())

		actions, _ := w.mustApply(ctx, observed, settings)
		Expect(actions).To(HaveKeyWithValue("ConfigMap/settings", apply.Unchanged))
		live = w.live(ctx, settings)
		Expect(live.GetLabels()).To(HaveKeyWithValue("cost-center", "42"))
		Expect(live.GetFinalizers()).To(Equal([]string{"example.com/keep"}))
		live.SetFinalizers(nil)
		Expect(admin.Update(ctx, live)).To(Succeed())
	})

	It("does not fight an autoscaler over replicas", func(ctx SpecContext) {
		w := newWorld(ctx)
		app := w.deployment("app")
		_, observed := w.mustApply(ctx, nil, app)
		scale(ctx, w, app, "kube-controller-manager", 3)
		Expect(unstructured.SetNestedField(app.Object, int64(5), "spec", "minReadySeconds")).To(Succeed())
		w.traffic.reset()
		_, observed = w.mustApply(ctx, observed, app)
		Expect(replicas(w.live(ctx, app))).To(BeEquivalentTo(3))
		Expect(w.live(ctx, app).Object["spec"]).To(HaveKeyWithValue("minReadySeconds", BeEquivalentTo(5)))
		Expect(w.traffic.seen("PATCH")).To(HaveLen(2))

		By("scaling again, which is no drift")
		scale(ctx, w, app, "kube-controller-manager", 4)
		Expect(observed[apply.IDOf(app)].Matches(w.live(ctx, app))).To(BeTrue())
	})

	It("undoes kubectl scale", func(ctx SpecContext) {
		w := newWorld(ctx)
		app := w.deployment("app")
		_, observed := w.mustApply(ctx, nil, app)
		kubectl(ctx, "", "", "-n", w.ns, "scale", "deployment", "app", "--replicas=0")
		Expect(observed[apply.IDOf(app)].Matches(w.live(ctx, app))).To(BeFalse())
		w.mustApply(ctx, observed, app)
		Expect(replicas(w.live(ctx, app))).To(BeEquivalentTo(1))
	})

	It("observes what was applied and sees what others change", func(ctx SpecContext) {
		w := newWorld(ctx)
		app, settings, quota := w.deployment("app"), w.configMap("settings", map[string]any{"a": "b"}), w.object(`
apiVersion: v1
kind: ResourceQuota
metadata: {name: quota, annotations: {note: ours}}
spec: {hard: {pods: "10"}}
`)
		_, observed := w.mustApply(ctx, nil, app, settings, quota)
		matches := func(obj *unstructured.Unstructured) bool {
			metadata := &metav1.PartialObjectMetadata{}
			metadata.SetGroupVersionKind(obj.GroupVersionKind())
			Expect(admin.Get(ctx, client.ObjectKeyFromObject(obj), metadata)).To(Succeed())
			return observed[apply.IDOf(obj)].Matches(metadata)
		}
		Expect([]bool{matches(app), matches(settings), matches(quota)}).To(HaveEach(true))

		By("letting controllers write status")
		setStatus(ctx, w.live(ctx, app), map[string]any{"replicas": int64(1)})
		setStatus(ctx, w.live(ctx, quota), map[string]any{"used": map[string]any{"pods": "3"}})
		Expect([]bool{matches(app), matches(quota)}).To(HaveEach(true))

		By("having somebody take an annotation of ours")
		kubectl(ctx, "", "", "-n", w.ns, "annotate", "resourcequota", "quota", "note-")
		Expect(matches(quota)).To(BeFalse())

		By("having somebody change data")
		live := w.live(ctx, settings)
		live.Object["data"] = map[string]any{"a": "c"}
		Expect(admin.Update(ctx, live, client.FieldOwner("somebody"))).To(Succeed())
		Expect(matches(settings)).To(BeFalse())
	})
})

var _ = Describe("Apply over immutable fields", func() {
	selector := []string{"spec", "selector", "matchLabels", "app"}
	template := []string{"spec", "template", "metadata", "labels", "app"}

	It("names the field and the way out", func(ctx SpecContext) {
		w := newWorld(ctx)
		settings := w.configMap("settings", map[string]any{"a": "b"})
		settings.Object["immutable"] = true
		w.mustApply(ctx, nil, settings)
		settings.Object["data"] = map[string]any{"a": "c"}
		_, err := w.applier.Apply(ctx, []*unstructured.Unstructured{settings}, nil)
		immutable, ok := errors.AsType[*apply.ImmutableError](err)
		Expect(ok).To(BeTrue())
		Expect(immutable.Field).To(Equal("data"))
		Expect(immutable.Object).To(Equal(apply.IDOf(settings)))
		Expect(err).To(MatchError(ContainSubstring(v1.ForceAnnotation)))

		By("recreating it where the user says so")
		settings.SetAnnotations(map[string]string{v1.ForceAnnotation: "Enabled"})
		actions, _ := w.mustApply(ctx, nil, settings)
		Expect(actions).To(HaveKeyWithValue("ConfigMap/settings", apply.Created))
		Expect(w.live(ctx, settings).GetAnnotations()).To(HaveKey(v1.ForceAnnotation))
	})

	It("recreates what holds nothing", func(ctx SpecContext) {
		w := newWorld(ctx)
		app := w.deployment("app")
		service := w.object("apiVersion: v1\nkind: Service\nmetadata: {name: app}\nspec: {ports: [{port: 80}], clusterIP: 10.0.0.6}")
		_, observed := w.mustApply(ctx, nil, app, service)
		old := w.live(ctx, app)
		Expect(unstructured.SetNestedField(app.Object, "other", selector...)).To(Succeed())
		Expect(unstructured.SetNestedField(app.Object, "other", template...)).To(Succeed())
		Expect(unstructured.SetNestedField(service.Object, "10.0.0.7", "spec", "clusterIP")).To(Succeed())

		actions, _ := w.mustApply(ctx, observed, app, service)
		Expect(actions).To(Equal(map[string]apply.Action{"Deployment/app": apply.Created, "Service/app": apply.Created}))
		Expect(w.live(ctx, app).GetUID()).NotTo(Equal(old.GetUID()))
	})

	It("leaves to others what they are deleting", func(ctx SpecContext) {
		w := newWorld(ctx)
		app := w.deployment("app")
		app.SetFinalizers([]string{"example.com/keep"})
		w.mustApply(ctx, nil, app)
		Expect(admin.Delete(ctx, byName(app))).To(Succeed())
		Expect(unstructured.SetNestedField(app.Object, "other", selector...)).To(Succeed())
		Expect(unstructured.SetNestedField(app.Object, "other", template...)).To(Succeed())
		_, err := w.applier.Apply(ctx, []*unstructured.Unstructured{app}, nil)
		Expect(err).To(MatchError(ContainSubstring("is being deleted")))
		live := w.live(ctx, app)
		live.SetFinalizers(nil)
		Expect(admin.Update(ctx, live)).To(Succeed())
		actions, _ := w.mustApply(ctx, nil, app)
		Expect(actions).To(HaveKeyWithValue("Deployment/app", apply.Created))
	})

	It("recreates bindings", func(ctx SpecContext) {
		w := newWorld(ctx)
		binding := w.object(`
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: binding}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}
subjects: [{kind: ServiceAccount, name: default, namespace: NS}]
`)
		_, observed := w.mustApply(ctx, nil, binding)
		Expect(unstructured.SetNestedField(binding.Object, "edit", "roleRef", "name")).To(Succeed())
		actions, _ := w.mustApply(ctx, observed, binding)
		Expect(actions).To(HaveKeyWithValue("RoleBinding/binding", apply.Created))
		Expect(w.live(ctx, binding).Object["roleRef"]).To(HaveKeyWithValue("name", "edit"))
	})

	It("sees rules of custom resources", func(ctx SpecContext) {
		w := newWorld(ctx)
		crd, thing := w.crd(), w.thing("one")
		Expect(unstructured.SetNestedField(thing.Object, "a", "spec", "fixed")).To(Succeed())
		w.mustApply(ctx, nil, crd, thing)
		Expect(unstructured.SetNestedField(thing.Object, "b", "spec", "fixed")).To(Succeed())
		_, err := w.applier.Apply(ctx, []*unstructured.Unstructured{thing}, nil)
		immutable, ok := errors.AsType[*apply.ImmutableError](err)
		Expect(ok).To(BeTrue())
		Expect(immutable.Field).To(Equal("spec.fixed"))
	})

	It("does not delete what would be refused for another reason", func(ctx SpecContext) {
		w := newWorld(ctx)
		app := w.deployment("app")
		w.mustApply(ctx, nil, app)
		uid := w.live(ctx, app).GetUID()
		Expect(unstructured.SetNestedField(app.Object, "other", selector...)).To(Succeed())
		_, err := w.applier.Apply(ctx, []*unstructured.Unstructured{app}, nil)
		Expect(err).To(HaveOccurred())
		Expect(w.live(ctx, app).GetUID()).To(Equal(uid))
	})
})

// managers returns who owns fields of an object, and how.
func managers(live *unstructured.Unstructured) []string {
	var names []string
	for _, entry := range live.GetManagedFields() {
		names = append(names, entry.Manager+"/"+string(entry.Operation))
	}
	return names
}

func containerOf(live *unstructured.Unstructured) map[string]any {
	containers, _, err := unstructured.NestedSlice(live.Object, "spec", "template", "spec", "containers")
	Expect(err).NotTo(HaveOccurred())
	return containers[0].(map[string]any)
}

func replicas(live *unstructured.Unstructured) int64 {
	n, _, _ := unstructured.NestedInt64(live.Object, "spec", "replicas")
	return n
}

// scale sets replicas through the scale subresource, as an autoscaler does.
func scale(ctx context.Context, w *world, obj *unstructured.Unstructured, manager string, n int) {
	GinkgoHelper()
	target := w.live(ctx, obj)
	patch := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"replicas":`+string(rune('0'+n))+`}}`))
	Expect(admin.SubResource("scale").Patch(ctx, target, patch, client.FieldOwner(manager))).To(Succeed())
}
