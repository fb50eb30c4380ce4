package migrate_test

import (
	"context"
	"maps"
	"os"
	"slices"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/flux-autopilot/flux-operator/pkg/migrate"
)

var _ = Describe("Flux", func() {
	It("comes from 2.2 with every old version stored to the newest release, in one go", func(ctx SpecContext) {
		w := newWorld(ctx)
		first := definitionsOf(GinkgoT(), "v2.2.3")
		objects := w.storeEveryVersion(ctx, first)
		before := map[string]*unstructured.Unstructured{}
		for _, obj := range objects {
			before[obj.GetKind()+"/"+obj.GetName()] = get(ctx, obj, storageIn("v2.2.3", obj))
		}
		live, err := w.migrator.Live(ctx, read(GinkgoT(), first))
		Expect(err).NotTo(HaveOccurred())
		path, err := migrate.Path(live, releasesSince(GinkgoT(), "v2.2.3"))
		Expect(err).NotTo(HaveOccurred())
		Expect(path).To(Equal([]string{"v2.6.4", "v2.8.8", "v2.9.4"}))

		for _, release := range path {
			w.upgrade(ctx, definitionsOf(GinkgoT(), release))
		}

		for _, crd := range definitionsOf(GinkgoT(), "v2.9.4") {
			newest := storageOf(read(GinkgoT(), []*unstructured.Unstructured{crd})[0])
			Expect(storedVersions(ctx, crd)).To(Equal([]string{newest}), crd.GetName())
			Expect(slices.Collect(maps.Keys(inEtcd(ctx, crd)))).To(Or(Equal([]string{newest}), BeEmpty()), crd.GetName())
		}
		for _, obj := range objects {
			was := before[obj.GetKind()+"/"+obj.GetName()]
			newest := storageIn("v2.9.4", obj)
			is := get(ctx, obj, newest)
			for field, value := range was.Object["spec"].(map[string]any) {
				Expect(is.Object["spec"]).To(HaveKeyWithValue(field, value), obj.GetKind())
			}
			Expect(is.GetUID()).To(Equal(was.GetUID()), obj.GetKind())
			if equality.Semantic.DeepEqual(is.Object["spec"], was.Object["spec"]) { // newer versions have more defaults
				Expect(is.GetGeneration()).To(Equal(was.GetGeneration()), obj.GetKind())
			}
			Expect(is.GetManagedFields()).NotTo(BeEmpty(), obj.GetKind())
			Expect(is.GetManagedFields()[0].Manager).To(Equal("kustomize-controller"), obj.GetKind())
			for _, entry := range is.GetManagedFields() {
				Expect(entry.APIVersion).To(Equal(is.GetAPIVersion()), obj.GetKind())
			}
			obj.SetAPIVersion(is.GetAPIVersion())
			Expect(applyAs(ctx, "kustomize-controller", obj)).To(Succeed())
			Expect(get(ctx, obj, newest).GetResourceVersion()).To(Equal(is.GetResourceVersion()), "%s: its owner has nothing to change", obj.GetKind())
		}
	})
})

// storeEveryVersion installs definitions and stores an object of each kind in each version that they have, by its owner, and returns the objects.
func (w *world) storeEveryVersion(ctx context.Context, crds []*unstructured.Unstructured) []*unstructured.Unstructured {
	GinkgoHelper()
	specs := fluxSpecs()
	var stored []*unstructured.Unstructured
	for _, crd := range crds {
		definition := read(GinkgoT(), []*unstructured.Unstructured{crd})[0]
		spec, known := specs[definition.Kind]
		Expect(known).To(BeTrue(), "no example of %s", definition.Kind)
		for _, version := range definition.Versions {
			storeIn(ctx, crd, version.Name)
			obj := &unstructured.Unstructured{Object: map[string]any{
				"apiVersion": definition.Group + "/" + version.Name, "kind": definition.Kind,
				"metadata": map[string]any{"name": "stored-in-" + version.Name, "namespace": w.ns}, "spec": spec,
			}}
			Expect(applyAs(ctx, "kustomize-controller", obj)).To(Succeed())
			Eventually(func() int { return inEtcd(ctx, crd)[version.Name] }).Should(Equal(1), definition.Kind)
			stored = append(stored, obj)
		}
		install(ctx, crd)
		Expect(storedVersions(ctx, crd)).To(ConsistOf(names(definition)), definition.Kind)
	}
	return stored
}

// upgrade is what the operator does with the definitions of a release.
func (w *world) upgrade(ctx context.Context, crds []*unstructured.Unstructured) {
	GinkgoHelper()
	steps := w.plan(ctx, crds...)
	Expect(w.migrator.Run(ctx, steps, nil)).To(Succeed())
	for _, crd := range crds {
		install(ctx, crd)
	}
	w.finish(ctx, crds...)
}

func names(definition migrate.Definition) []string {
	var names []string
	for _, version := range definition.Versions {
		names = append(names, version.Name)
	}
	return names
}

// storageIn is the version in which a release stores an object.
func storageIn(release string, obj *unstructured.Unstructured) string {
	GinkgoHelper()
	for _, definition := range read(GinkgoT(), definitionsOf(GinkgoT(), release)) {
		if definition.Kind == obj.GetKind() {
			return storageOf(definition)
		}
	}
	Fail(release + " has no " + obj.GetKind())
	return ""
}

// fluxSpecs returns a spec for each kind that every version of it accepts.
func fluxSpecs() map[string]map[string]any {
	GinkgoHelper()
	content, err := os.ReadFile("testdata/specs.yaml")
	Expect(err).NotTo(HaveOccurred())
	specs := map[string]map[string]any{}
	Expect(yaml.Unmarshal(content, &specs)).To(Succeed())
	return specs
}
