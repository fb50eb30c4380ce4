package apply_test

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"sync"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/apply"
)

const (
	ssaAnnotation    = "kustomize.toolkit.fluxcd.io/ssa"
	pruneAnnotation  = "kustomize.toolkit.fluxcd.io/prune"
	policyAnnotation = "helm.sh/resource-policy"
)

// rendered is a Deployment as the operator wants it.
func (w *world) rendered(name string) *unstructured.Unstructured {
	app := w.deployment(name)
	app.SetAnnotations(map[string]string{ssaAnnotation: "Ignore", pruneAnnotation: "Disabled"})
	return app
}

// foreign is the same as somebody else wants it: another image, one more environment variable and a priority.
func (w *world) foreign(name string) *unstructured.Unstructured {
	app := w.deployment(name)
	app.SetLabels(map[string]string{"app": name})
	spec := []string{"spec", "template", "spec"}
	containers := []any{map[string]any{
		"name": "manager", "image": "example.com/" + name + ":v0",
		"env": []any{map[string]any{"name": "A", "value": "a"}, map[string]any{"name": "THEIRS", "value": "x"}},
	}}
	Expect(unstructured.SetNestedSlice(app.Object, containers, append(spec, "containers")...)).To(Succeed())
	Expect(unstructured.SetNestedField(app.Object, "system-cluster-critical", append(spec, "priorityClassName")...)).To(Succeed())
	return app
}

// applyAs applies an object in the name of somebody else.
func applyAs(ctx context.Context, obj *unstructured.Unstructured, manager string) {
	GinkgoHelper()
	body, err := obj.MarshalJSON()
	Expect(err).NotTo(HaveOccurred())
	Expect(admin.Patch(ctx, obj.DeepCopy(), client.RawPatch(types.ApplyPatchType, body), client.FieldOwner(manager), client.ForceOwnership)).To(Succeed())
}

// createAs creates an object in the name of somebody else.
func createAs(ctx context.Context, obj *unstructured.Unstructured, manager string) {
	GinkgoHelper()
	Expect(admin.Create(ctx, obj.DeepCopy(), client.FieldOwner(manager))).To(Succeed())
}

func mark(obj *unstructured.Unstructured, labels, annotations map[string]string) {
	merged := obj.GetLabels()
	maps.Copy(merged, labels)
	obj.SetLabels(merged)
	obj.SetAnnotations(annotations)
}

var _ = Describe("Adopt", func() {
	DescribeTable("takes over without a restart, and leaves one write to Apply",
		func(ctx SpecContext, install func(context.Context, *unstructured.Unstructured, string), manager string, labels, annotations map[string]string) {
			w := newWorld(ctx)
			theirs := w.foreign("app")
			mark(theirs, labels, annotations)
			install(ctx, theirs, manager)
			before := w.live(ctx, theirs)
			ours := w.rendered("app")

			adopted, err := w.applier.Adopt(ctx, []*unstructured.Unstructured{ours})
			Expect(err).NotTo(HaveOccurred())
			Expect(adopted).To(Equal(1))
			live := w.live(ctx, ours)
			Expect(live.Object["spec"]).To(Equal(before.Object["spec"]))
			Expect(live.GetAnnotations()).To(HaveKeyWithValue(ssaAnnotation, "Ignore"))
			Expect(live.GetAnnotations()).To(HaveKeyWithValue(pruneAnnotation, "Disabled"))
			Expect(live.GetLabels()).To(Equal(map[string]string{"app": "app"}))

			By("applying")
			generation := live.GetGeneration() // that of a Deployment rises with its annotations, too
			w.traffic.reset()
			w.mustApply(ctx, nil, ours)
			Expect(w.traffic.seen("PATCH")).To(HaveLen(1), "%v", w.traffic.seen(""))
			live = w.live(ctx, ours)
			Expect(live.GetUID()).To(Equal(before.GetUID()))
			Expect(live.GetGeneration()).To(Equal(generation + 1))
			Expect(containerOf(live)["env"]).To(HaveLen(1))
			Expect(containerOf(live)).To(HaveKeyWithValue("image", "example.com/app:v1"))
			priority, _, _ := unstructured.NestedString(live.Object, "spec", "template", "spec", "priorityClassName")
			Expect(priority).To(BeEmpty())
			Expect(live.GetLabels()).To(HaveKey(v1.OwnerNameLabel))

			By("doing both again")
			version := live.GetResourceVersion()
			adopted, err = w.applier.Adopt(ctx, []*unstructured.Unstructured{ours})
			Expect(err).NotTo(HaveOccurred())
			Expect(adopted).To(BeZero())
			w.mustApply(ctx, nil, ours)
			Expect(w.live(ctx, ours).GetResourceVersion()).To(Equal(version))
		},
		Entry("from flux bootstrap", applyAs, "kustomize-controller",
			map[string]string{"kustomize.toolkit.fluxcd.io/name": "flux-system", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"}, nil),
		Entry("from flux install", applyAs, "flux", nil, nil),
		Entry("from Helm 3", createAs, "helm", nil, map[string]string{"meta.helm.sh/release-name": "flux", "meta.helm.sh/release-namespace": "flux-system"}),
		Entry("from Helm 4", applyAs, "helm", nil, map[string]string{"meta.helm.sh/release-name": "flux", "meta.helm.sh/release-namespace": "flux-system"}),
		Entry("from a HelmRelease", createAs, "helm-controller",
			map[string]string{"helm.toolkit.fluxcd.io/name": "flux", "helm.toolkit.fluxcd.io/namespace": "flux-system"},
			map[string]string{"meta.helm.sh/release-name": "flux", "meta.helm.sh/release-namespace": "flux-system"}),
		Entry("from kubectl apply", createAs, "kubectl-client-side-apply", nil, map[string]string{"kubectl.kubernetes.io/last-applied-configuration": "{}"}),
		Entry("from kubectl apply --server-side", applyAs, "kubectl", nil, nil),
		Entry("from a manifest of Terraform", applyAs, "Terraform", nil, nil),
		Entry("from a resource of Terraform", createAs, "HashiCorp", nil, nil),
		Entry("from a Helm release of Terraform", createAs, "terraform-provider-helm_v2.13.0_x5", nil, map[string]string{"meta.helm.sh/release-name": "flux"}),
		Entry("from Argo CD", applyAs, "argocd-controller", nil, map[string]string{"argocd.argoproj.io/tracking-id": "flux:apps/Deployment:x/app"}),
	)

	It("keeps objects of a Helm release that is removed afterwards", func(ctx SpecContext) {
		w := newWorld(ctx)
		released := map[string]string{"meta.helm.sh/release-name": "flux"}
		told := map[string]string{"meta.helm.sh/release-name": "flux", policyAnnotation: "keep"}
		var wanted []*unstructured.Unstructured
		for name, annotations := range map[string]map[string]string{"untold": released, "told": told} {
			theirs := w.foreign(name)
			mark(theirs, nil, annotations)
			createAs(ctx, theirs, "helm")
			wanted = append(wanted, w.rendered(name))
		}
		adopted, err := w.applier.Adopt(ctx, wanted)
		Expect(err).NotTo(HaveOccurred())
		Expect(adopted).To(Equal(2))
		for range 2 {
			w.mustApply(ctx, nil, wanted...)
			for _, obj := range wanted {
				Expect(w.live(ctx, obj).GetAnnotations()).To(Equal(map[string]string{
					ssaAnnotation: "Ignore", pruneAnnotation: "Disabled", policyAnnotation: "keep",
				}))
			}
		}
	})

	It("passes over what is not there, or not served", func(ctx SpecContext) {
		w := newWorld(ctx)
		adopted, err := w.applier.Adopt(ctx, []*unstructured.Unstructured{w.rendered("app"), w.thing("a")})
		Expect(err).NotTo(HaveOccurred())
		Expect(adopted).To(BeZero())
		Expect(w.traffic.seen("PATCH")).To(BeEmpty())
	})

	It("sets the marks before it takes anything, and takes nothing that changed meanwhile", func(ctx SpecContext) {
		w := newWorld(ctx)
		theirs := w.foreign("app")
		theirs.SetLabels(map[string]string{"kustomize.toolkit.fluxcd.io/name": "flux-system"})
		applyAs(ctx, theirs, "kustomize-controller")
		var once sync.Once
		w.traffic.respond(func(r *http.Request) (*http.Response, error) {
			if r.Header.Get("Content-Type") == string(types.JSONPatchType) {
				once.Do(func() {
					defer GinkgoRecover()
					live := w.live(ctx, theirs)
					Expect(live.GetAnnotations()).To(HaveKeyWithValue(ssaAnnotation, "Ignore"))
					theirs.SetLabels(map[string]string{"kustomize.toolkit.fluxcd.io/name": "flux-system", "more": "x"})
					applyAs(ctx, theirs, "kustomize-controller")
				})
			}
			return nil, errPass
		})
		ours := w.rendered("app")
		_, err := w.applier.Adopt(ctx, []*unstructured.Unstructured{ours})
		Expect(err).NotTo(HaveOccurred())
		Expect(managers(w.live(ctx, ours))).To(Equal([]string{"flux-operator/Apply"}))
		w.mustApply(ctx, nil, ours)
		Expect(w.live(ctx, ours).GetLabels()).To(Equal(ours.GetLabels()))
	})

	It("names what it could not take over", func(ctx SpecContext) {
		w := newWorld(ctx)
		createAs(ctx, w.foreign("app"), "helm")
		createAs(ctx, w.foreign("other"), "helm")
		w.traffic.respond(func(r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodPatch && r.URL.Path == "/apis/apps/v1/namespaces/"+w.ns+"/deployments/app" {
				return refusal(r, http.StatusForbidden, "Forbidden", "hands off"), nil
			}
			return nil, errPass
		})
		adopted, err := w.applier.Adopt(ctx, []*unstructured.Unstructured{w.rendered("app"), w.rendered("other")})
		Expect(adopted).To(Equal(1))
		failed, ok := errors.AsType[*apply.ObjectError](err)
		Expect(ok).To(BeTrue(), "%v", err)
		Expect(failed.Object.Name).To(Equal("app"))
	})
})

var _ = Describe("Backing out of Adopt before Apply", func() {
	disowned := func(ctx context.Context, w *world, objects []*unstructured.Unstructured) {
		GinkgoHelper()
		Expect(w.applier.Disown(ctx, objects)).To(Succeed())
	}
	pruned := func(ctx context.Context, w *world, objects []*unstructured.Unstructured) {
		GinkgoHelper()
		changes, survivors, err := w.applier.Prune(ctx, objects)
		Expect(err).NotTo(HaveOccurred())
		Expect(survivors).To(BeEmpty())
		Expect(changes).To(HaveLen(len(objects)))
		Expect(changes).To(HaveEach(HaveField("Action", apply.Skipped)))
	}
	takesFields := func(r *http.Request) bool { return r.Header.Get("Content-Type") == string(types.JSONPatchType) }

	DescribeTable("gives the objects back to whoever had them",
		func(ctx SpecContext, backOut func(context.Context, *world, []*unstructured.Unstructured), wanted func(*world, string) *unstructured.Unstructured, refused func(*http.Request) bool) {
			w := newWorld(ctx)
			theirs := w.foreign("app")
			mark(theirs, map[string]string{"app.kubernetes.io/managed-by": "kustomize"}, map[string]string{"example.com/note": "theirs"})
			applyAs(ctx, theirs, "kustomize-controller")
			noted := byName(theirs)
			noted.SetAnnotations(map[string]string{"example.com/other": "mine"})
			applyAs(ctx, noted, "somebody")
			before := w.live(ctx, theirs)

			w.traffic.respond(func(r *http.Request) (*http.Response, error) {
				if refused(r) {
					return refusal(r, http.StatusForbidden, "Forbidden", "hands off"), nil
				}
				return nil, errPass
			})
			_, err := w.applier.Adopt(ctx, []*unstructured.Unstructured{wanted(w, "app")})
			w.traffic.respond(nil)
			Expect(managers(w.live(ctx, theirs))).To(ContainElement("flux-operator/Apply"), "%v", err)

			objects := []*unstructured.Unstructured{byName(theirs)}
			backOut(ctx, w, objects)
			after := w.live(ctx, theirs)
			Expect(after.GetUID()).To(Equal(before.GetUID()))
			Expect(after.GetAnnotations()).To(Equal(before.GetAnnotations()))
			Expect(after.GetLabels()).To(Equal(before.GetLabels()))
			Expect(after.Object["spec"]).To(Equal(before.Object["spec"]))
			Expect(managers(after)).NotTo(ContainElement(HavePrefix("flux-operator/")))
			Expect(managers(after)).To(And(ContainElement("somebody/Apply"), ContainElement(BeElementOf("flux/Apply", "kustomize-controller/Apply"))))

			By("doing it again, either way")
			disowned(ctx, w, objects)
			pruned(ctx, w, objects)
			Expect(w.live(ctx, theirs).GetResourceVersion()).To(Equal(after.GetResourceVersion()))

			By("adopting it again and applying it")
			_, err = w.applier.Adopt(ctx, []*unstructured.Unstructured{w.rendered("app")})
			Expect(err).NotTo(HaveOccurred())
			w.mustApply(ctx, nil, w.rendered("app"))
			Expect(managers(w.live(ctx, theirs))).To(ConsistOf("flux-operator/Apply", "somebody/Apply"))
			Expect(containerOf(w.live(ctx, theirs))["env"]).To(HaveLen(1))
		},
		Entry("by Disown", disowned, (*world).rendered, none),
		Entry("by Disown, where only the marks were set", disowned, (*world).rendered, takesFields),
		Entry("by Disown, where there are no marks to be set", disowned, (*world).deployment, none),
		Entry("by Prune", pruned, (*world).rendered, none),
		Entry("by Prune, where only the marks were set", pruned, (*world).rendered, takesFields),
		Entry("by Prune, where there are no marks to be set", pruned, (*world).deployment, none),
	)

	DescribeTable("leaves alone what is not ours",
		func(ctx SpecContext, labels map[string]string, manager string) {
			w := newWorld(ctx)
			theirs := w.rendered("app")
			theirs.SetLabels(labels)
			applyAs(ctx, theirs, manager)
			before := w.live(ctx, theirs)
			disowned(ctx, w, []*unstructured.Unstructured{byName(theirs)})
			pruned(ctx, w, []*unstructured.Unstructured{byName(theirs)})
			Expect(w.live(ctx, theirs)).To(Equal(before))
		},
		Entry("and never was", nil, "kustomize-controller"),
		Entry("any more", nil, "flux"),
		Entry("but that of another instance", map[string]string{v1.OwnerNameLabel: v1.DefaultInstanceName, v1.OwnerNamespaceLabel: "elsewhere"}, v1.FieldManager),
		Entry("but that of an instance whose name is not complete", map[string]string{v1.OwnerNamespaceLabel: "elsewhere"}, v1.FieldManager),
	)
})

// none is the request that is refused where none is.
func none(*http.Request) bool { return false }
