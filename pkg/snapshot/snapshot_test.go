package snapshot_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/types"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-autopilot/flux-operator/pkg/snapshot"
)

// take returns a snapshot of the cluster.
func take(ctx context.Context) []byte {
	GinkgoHelper()
	var out bytes.Buffer
	_, err := snapshot.Take(ctx, k8s, &out, snapshot.Request{Namespace: namespace})
	Expect(err).NotTo(HaveOccurred())
	return out.Bytes()
}

// text is what a snapshot says.
func text(snapshot []byte) string {
	GinkgoHelper()
	plain, err := gzip.NewReader(bytes.NewReader(snapshot))
	Expect(err).NotTo(HaveOccurred())
	content, err := io.ReadAll(plain)
	Expect(err).NotTo(HaveOccurred())
	return string(content)
}

// restore puts a snapshot back and returns what became of the objects.
func restore(ctx context.Context, saved []byte, opts snapshot.RestoreOptions) (map[string]snapshot.Action, error) {
	done := map[string]snapshot.Action{}
	opts.Report = func(change snapshot.Change) { done[change.Object] = change.Action }
	return done, snapshot.Restore(ctx, k8s, saved, opts)
}

func every(action snapshot.Action) map[string]snapshot.Action {
	done := map[string]snapshot.Action{}
	for _, obj := range fleet() {
		done[obj.GetKind()+"/"+obj.GetNamespace()+"/"+obj.GetName()] = action
	}
	return done
}

var _ = Describe("Taking", Ordered, func() {
	BeforeAll(func(ctx SpecContext) { deploy(ctx) })

	It("saves what is wanted of every object and nothing else", func(ctx SpecContext) {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "fleet-git"}, StringData: map[string]string{"password": "hunter2"}}
		Expect(k8s.Create(ctx, secret)).To(Succeed())
		DeferCleanup(func(ctx SpecContext) { Expect(k8s.Delete(ctx, secret)).To(Succeed()) })
		said := text(take(ctx))
		for _, obj := range fleet() {
			Expect(said).To(ContainSubstring(`"name":"` + obj.GetName() + `"`))
		}
		for _, unwanted := range []string{"hunter2", "managedFields", "resourceVersion", `"uid"`, "creationTimestamp", "requestedAt", `"status"`} {
			Expect(said).NotTo(ContainSubstring(unwanted))
		}
		Expect(said).To(ContainSubstring(`"note":"kept"`))
		Expect(strings.Count(said, "\n")).To(Equal(len(fleet()) + 2))
		Expect(strings.Index(said, "FluxInstance")).To(BeNumerically("<", strings.Index(said, "GitRepository")))
	})

	It("says the same of the same objects", func(ctx SpecContext) {
		_, first, _ := strings.Cut(text(take(ctx)), "\n")
		_, second, _ := strings.Cut(text(take(ctx)), "\n")
		Expect(second).To(Equal(first))
	})

	It("leaves out what is being deleted, and instances elsewhere", func(ctx SpecContext) {
		leaving := object(`{apiVersion: source.toolkit.fluxcd.io/v1, kind: GitRepository, metadata: {name: leaving, namespace: apps, finalizers: [example.com/a]},
  spec: {interval: 1m, url: "https://example.com/a.git"}}`)
		elsewhere := fleet()[0]
		elsewhere.SetNamespace("apps")
		Expect(k8s.Create(ctx, leaving)).To(Succeed())
		Expect(k8s.Create(ctx, elsewhere)).To(Succeed())
		Expect(k8s.Delete(ctx, leaving)).To(Succeed())
		DeferCleanup(func(ctx SpecContext) {
			Expect(k8s.Delete(ctx, elsewhere)).To(Succeed())
			Expect(k8s.Patch(ctx, leaving, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`)))).To(Succeed())
		})
		said := text(take(ctx))
		Expect(said).NotTo(ContainSubstring("leaving"))
		Expect(strings.Count(said, `"kind":"FluxInstance"`)).To(Equal(1))
	})

	It("leaves out what others have brought where it is told what is Flux's, and says so", func(ctx SpecContext) {
		var own []string
		for _, crd := range fluxDefinitions() {
			own = append(own, crd.GetName())
		}
		const name = "gadgets.example.toolkit.fluxcd.io"
		define(ctx, name)
		Expect(k8s.Create(ctx, object(`{apiVersion: example.toolkit.fluxcd.io/v1, kind: Gadget, metadata: {name: theirs, namespace: apps}}`))).To(Succeed())
		var out bytes.Buffer
		summary, err := snapshot.Take(ctx, unreadable{k8s, "Gadget"}, &out, snapshot.Request{Namespace: namespace, Definitions: own})
		Expect(err).NotTo(HaveOccurred())
		Expect(summary.LeftOut).To(Equal([]string{name}))
		Expect(summary.Objects).To(Equal(len(fleet())))
		Expect(text(out.Bytes())).NotTo(ContainSubstring("theirs"))
		reader, err := snapshot.NewReader(&out)
		Expect(err).NotTo(HaveOccurred())
		for err == nil {
			_, err = reader.Next()
		}
		Expect(err).To(MatchError(io.EOF))
		Expect(reader.Summary()).To(Equal(summary))

		By("asking for everything")
		Expect(text(take(ctx))).To(ContainSubstring("theirs"))
	})
})

// unreadable may not list one kind.
type unreadable struct {
	client.Client

	kind string
}

func (u unreadable) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	if list.GetObjectKind().GroupVersionKind().Kind == u.kind+"List" {
		return apierrors.NewForbidden(schema.GroupResource{Resource: u.kind}, "", errors.New("no permission"))
	}
	return u.Client.List(ctx, list, opts...)
}

// undefine removes a kind.
func undefine(ctx SpecContext, crd *unstructured.Unstructured) {
	GinkgoHelper()
	Expect(k8s.Delete(ctx, crd)).To(Succeed())
	Eventually(func() bool {
		return apierrors.IsNotFound(k8s.Get(ctx, client.ObjectKeyFromObject(crd), crdNamed(crd.GetName())))
	}).Should(BeTrue())
}

// define defines a kind Gadget for the length of a test.
func define(ctx context.Context, name string) {
	GinkgoHelper()
	_, group, _ := strings.Cut(name, ".")
	crd := object(`
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
spec:
  names: {kind: Gadget, listKind: GadgetList, plural: gadgets, singular: gadget}
  scope: Namespaced
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]
`)
	crd.SetName(name)
	Expect(unstructured.SetNestedField(crd.Object, group, "spec", "group")).To(Succeed())
	Expect(k8s.Create(ctx, crd)).To(Succeed())
	DeferCleanup(undefine, crd)
	Eventually(func() error {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(schema.GroupVersionKind{Group: group, Version: "v1", Kind: "GadgetList"})
		return k8s.List(ctx, list)
	}).Should(Succeed())
}

var _ = Describe("Restoring", func() {
	BeforeEach(func(ctx SpecContext) { deploy(ctx) })

	It("changes nothing where nothing differs", func(ctx SpecContext) {
		before := live(ctx, fleet()[3])
		Expect(restore(ctx, take(ctx), snapshot.RestoreOptions{})).To(Equal(every(snapshot.Unchanged)))
		Expect(live(ctx, fleet()[3])).To(Equal(before))
	})

	It("brings back identical specs after everything was deleted, and can be looked at first", func(ctx SpecContext) {
		before, saved := specs(ctx), take(ctx)
		destroy(ctx)
		Expect(restore(ctx, saved, snapshot.RestoreOptions{DryRun: true})).To(Equal(every(snapshot.Created)))
		Expect(text(take(ctx))).NotTo(ContainSubstring("FluxInstance"), "a dry run changed the cluster")
		Expect(restore(ctx, saved, snapshot.RestoreOptions{})).To(Equal(every(snapshot.Created)))
		Expect(specs(ctx)).To(Equal(before))
		_, was, _ := strings.Cut(text(saved), "\n")
		_, is, _ := strings.Cut(text(take(ctx)), "\n")
		Expect(is).To(Equal(was))
		Expect(restore(ctx, saved, snapshot.RestoreOptions{})).To(Equal(every(snapshot.Unchanged)))
	})

	It("puts back what was changed, takes away what was added, and leaves other objects alone", func(ctx SpecContext) {
		before, saved := specs(ctx), take(ctx)
		changed := live(ctx, fleet()[3])
		Expect(unstructured.SetNestedField(changed.Object, true, "spec", "suspend")).To(Succeed())
		Expect(unstructured.SetNestedField(changed.Object, "./other", "spec", "path")).To(Succeed())
		changed.SetLabels(map[string]string{"added": "yes"})
		changed.SetFinalizers([]string{"finalizers.fluxcd.io"})
		Expect(k8s.Update(ctx, changed)).To(Succeed())
		other := fleet()[1]
		other.SetName("other")
		Expect(k8s.Create(ctx, other)).To(Succeed())
		DeferCleanup(func(ctx SpecContext) {
			Expect(k8s.Delete(ctx, other)).To(Succeed())
			left := live(ctx, fleet()[3])
			left.SetFinalizers(nil)
			Expect(k8s.Update(ctx, left)).To(Succeed())
		})

		want := every(snapshot.Unchanged)
		want["Kustomization/flux-system/apps"] = snapshot.Configured
		Expect(restore(ctx, saved, snapshot.RestoreOptions{DryRun: true})).To(Equal(want))
		Expect(live(ctx, fleet()[3]).GetResourceVersion()).To(Equal(changed.GetResourceVersion()))
		var changes []snapshot.Change
		Expect(snapshot.Restore(ctx, k8s, saved, snapshot.RestoreOptions{Report: func(c snapshot.Change) { changes = append(changes, c) }})).To(Succeed())
		Expect(specs(ctx)).To(Equal(before))
		for _, change := range changes {
			Expect(change.Action).To(Equal(want[change.Object]), change.Object)
			if change.Action != snapshot.Configured {
				Expect(change.Before).To(BeNil())
				continue
			}
			Expect(change.Before.Object["spec"]).To(HaveKeyWithValue("path", "./other"))
			Expect(change.Before.GetLabels()).To(HaveKey("added"))
			Expect(change.After.Object["spec"]).To(Equal(before["Kustomization"]))
			Expect(change.After.Object["metadata"]).To(And(Not(HaveKey("finalizers")), Not(HaveKey("labels"))))
		}
		Expect(changes).To(HaveLen(len(want)))
		back := live(ctx, fleet()[3])
		Expect(back.GetLabels()).To(BeEmpty())
		Expect(back.GetUID()).To(Equal(changed.GetUID()))
		Expect(back.GetFinalizers()).To(Equal([]string{"finalizers.fluxcd.io"}))
		Expect(live(ctx, other).GetName()).To(Equal("other"))
	})

	It("leaves no fields behind that their owner could not take away", func(ctx SpecContext) {
		saved := take(ctx)
		destroy(ctx)
		Expect(restore(ctx, saved, snapshot.RestoreOptions{})).To(HaveLen(len(fleet())))
		for _, entry := range live(ctx, fleet()[3]).GetManagedFields() {
			// kustomize-controller and the operator take over whatever begins with kubectl.
			Expect(entry.Manager).To(HavePrefix("kubectl"))
		}
	})

	It("writes nothing when one object is refused", func(ctx SpecContext) {
		bad := fleet()[1]
		bad.SetName("bad")
		Expect(unstructured.SetNestedField(bad.Object, "ftp://example.com", "spec", "url")).To(Succeed())
		saved := forge(append(fleet(), bad)...)
		destroy(ctx)
		done, err := restore(ctx, saved, snapshot.RestoreOptions{})
		Expect(err).To(MatchError(And(ContainSubstring("nothing was changed"), ContainSubstring("GitRepository/flux-system/bad"), ContainSubstring("spec.url"))))
		Expect(done).To(BeEmpty())
		Expect(text(take(ctx))).NotTo(ContainSubstring("fleet"))
	})

	It("refuses fields that the schema does not have instead of losing them", func(ctx SpecContext) {
		odd := fleet()[1]
		Expect(unstructured.SetNestedField(odd.Object, "x", "spec", "unheardOf")).To(Succeed())
		_, err := restore(ctx, forge(odd), snapshot.RestoreOptions{})
		Expect(err).To(MatchError(ContainSubstring("unheardOf")))
	})

	It("names missing namespaces, and creates them on request", func(ctx SpecContext) {
		moved := fleet()[1]
		moved.SetNamespace("tenants-" + fmt.Sprint(GinkgoRandomSeed()))
		saved := forge(moved)
		_, err := restore(ctx, saved, snapshot.RestoreOptions{})
		Expect(err).To(MatchError(ContainSubstring("namespaces that objects belong into are missing: " + moved.GetNamespace())))
		Expect(restore(ctx, saved, snapshot.RestoreOptions{CreateNamespaces: true, DryRun: true})).To(HaveLen(1))
		Expect(apierrors.IsNotFound(k8s.Get(ctx, client.ObjectKey{Name: moved.GetNamespace()}, &corev1.Namespace{}))).To(BeTrue())
		Expect(restore(ctx, saved, snapshot.RestoreOptions{CreateNamespaces: true})).To(HaveLen(1))
		Expect(live(ctx, moved).Object["spec"]).To(Equal(live(ctx, fleet()[1]).Object["spec"]))
		Expect(k8s.Delete(ctx, moved)).To(Succeed())
	})

	It("takes the storage version where the saved one is not served any more", func(ctx SpecContext) {
		old := fleet()[1]
		old.SetAPIVersion("source.toolkit.fluxcd.io/v1beta9")
		destroy(ctx)
		Expect(restore(ctx, forge(old), snapshot.RestoreOptions{})).To(HaveLen(1))
		Expect(live(ctx, fleet()[1]).Object["spec"]).To(HaveKeyWithValue("url", "https://example.com/fleet.git"))
		Expect(unstructured.SetNestedField(old.Object, "go-git", "spec", "gitImplementation")).To(Succeed())
		_, err := restore(ctx, forge(old), snapshot.RestoreOptions{})
		Expect(err).To(MatchError(And(ContainSubstring("the version v1beta9 that it was saved in is not served any more"), ContainSubstring("gitImplementation"))))
	})

	It("puts the instance back first and waits until Flux has brought its kinds", func(ctx SpecContext) {
		before, saved := specs(ctx), take(ctx)
		destroy(ctx)
		removeFlux(ctx)
		Expect(restore(ctx, saved, snapshot.RestoreOptions{DryRun: true})).To(Equal(every(snapshot.Created)))
		waiting := make(chan []string, 1)
		result := make(chan error, 1)
		done := map[string]snapshot.Action{}
		go func() {
			defer GinkgoRecover()
			var err error
			done, err = restore(ctx, saved, snapshot.RestoreOptions{Waiting: func(kinds []string) { waiting <- kinds }})
			result <- err
		}()
		var kinds []string
		Eventually(waiting).Should(Receive(&kinds))
		Expect(kinds).To(ContainElement("Kustomization.kustomize.toolkit.fluxcd.io"))
		live(ctx, fleet()[0]) // the operator sees the instance, and does this:
		installFlux(ctx)
		Eventually(result).Should(Receive(Not(HaveOccurred())))
		Expect(done).To(Equal(every(snapshot.Created)))
		Expect(specs(ctx)).To(Equal(before))
	})

	It("says what it waited for when the time is over", func(ctx SpecContext) {
		saved := take(ctx)
		destroy(ctx)
		removeFlux(ctx)
		DeferCleanup(installFlux)
		short, end := context.WithCancelCause(ctx)
		_, err := restore(short, saved, snapshot.RestoreOptions{Waiting: func([]string) {
			time.AfterFunc(time.Second, func() { end(errors.New("the time is over")) })
		}})
		Expect(err).To(MatchError(And(ContainSubstring("waiting until Flux serves"), ContainSubstring("HelmRelease"), ContainSubstring("the time is over"))))
	})

	It("passes over what Flux has not brought once the instance is ready, and puts back everything else", func(ctx SpecContext) {
		saved := forge(append(fleet(), strangers()...)...)
		destroy(ctx)
		removeFlux(ctx)
		want := every(snapshot.Created)
		want["ResourceSet/apps/a"] = snapshot.Skipped // which Flux never brings
		want["Alien/apps/a"] = snapshot.Created       // which it might
		done, err := restore(ctx, saved, snapshot.RestoreOptions{DryRun: true})
		Expect(err).To(BeUnserved("ResourceSet.fluxcd.controlplane.io"))
		Expect(done).To(Equal(want))

		waiting, result := make(chan []string, 2), make(chan error, 1)
		go func() {
			defer GinkgoRecover()
			var err error
			done, err = restore(ctx, saved, snapshot.RestoreOptions{Waiting: func(kinds []string) { waiting <- kinds }})
			result <- err
		}()
		Eventually(waiting).Should(Receive(And(ContainElement("Alien.new.toolkit.fluxcd.io"), Not(ContainElement(ContainSubstring("ResourceSet"))))))
		for _, crd := range fluxDefinitions() {
			Expect(k8s.Create(ctx, crd)).To(Succeed()) // served a moment later, which the operator may not wait for
		}
		say(ctx, map[string]any{"type": "Ready", "status": "True", "reason": "ReconciliationSucceeded"})
		Eventually(result).Should(Receive(&err))
		Expect(err).To(BeUnserved("Alien.new.toolkit.fluxcd.io", "ResourceSet.fluxcd.controlplane.io"))
		Expect(err).To(MatchError(ContainSubstring("2 objects are passed over, since their kinds are not served: Alien.new.toolkit.fluxcd.io, " +
			"ResourceSet.fluxcd.controlplane.io; install what defines them, and restore once more")))
		want["Alien/apps/a"] = snapshot.Skipped
		Expect(done).To(Equal(want))
		Expect(specs(ctx)).To(HaveLen(len(fleet())))
	})

	It("does not wait for an instance that is ready already, nor does a dry run expect anything", func(ctx SpecContext) {
		say(ctx, map[string]any{"type": "Ready", "status": "True", "reason": "ReconciliationSucceeded"})
		Expect(k8s.Delete(ctx, fleet()[4])).To(Succeed())
		want := every(snapshot.Unchanged)
		want["HelmRelease/apps/podinfo"], want["Alien/apps/a"], want["ResourceSet/apps/a"] = snapshot.Created, snapshot.Skipped, snapshot.Skipped
		for _, dry := range []bool{true, false} {
			done, err := restore(ctx, forge(append(fleet(), strangers()...)...), snapshot.RestoreOptions{
				DryRun: dry, Waiting: func([]string) { Fail("it waits") },
			})
			Expect(err).To(BeUnserved("Alien.new.toolkit.fluxcd.io", "ResourceSet.fluxcd.controlplane.io"))
			Expect(done).To(Equal(want))
		}
	})

	It("does not wait for an instance that somebody has to mend first, and says what is wrong with it", func(ctx SpecContext) {
		problem := "version 2.1.x is not supported"
		say(ctx, map[string]any{"type": "Ready", "status": "False", "reason": "BuildFailed", "message": problem},
			map[string]any{"type": "Stalled", "status": "True", "reason": "BuildFailed", "message": problem})
		want := every(snapshot.Unchanged)
		want["Alien/apps/a"] = snapshot.Skipped
		done, err := restore(ctx, forge(append(fleet(), strangers()[0])...), snapshot.RestoreOptions{})
		Expect(err).To(BeUnserved("Alien.new.toolkit.fluxcd.io"))
		Expect(err).To(MatchError(ContainSubstring("see to the FluxInstance (BuildFailed: version 2.1.x is not supported), or install what defines them")))
		Expect(done).To(Equal(want))
	})

	It("passes over what is not served where the snapshot has no instance", func(ctx SpecContext) {
		saved := forge(append(fleet()[1:], strangers()...)...)
		want := every(snapshot.Created)
		delete(want, "FluxInstance/flux-system/flux")
		want["Alien/apps/a"], want["ResourceSet/apps/a"] = snapshot.Skipped, snapshot.Skipped
		destroy(ctx)
		for _, dry := range []bool{true, false} {
			done, err := restore(ctx, saved, snapshot.RestoreOptions{DryRun: dry, Waiting: func([]string) { Fail("it waits") }})
			Expect(err).To(BeUnserved("Alien.new.toolkit.fluxcd.io", "ResourceSet.fluxcd.controlplane.io"))
			Expect(done).To(Equal(want))
		}
		live(ctx, fleet()[4])
	})

	It("does not begin where nothing is served, or the operator is missing", func(ctx SpecContext) {
		done, err := restore(ctx, forge(strangers()...), snapshot.RestoreOptions{})
		Expect(err).To(MatchError(And(ContainSubstring("Alien.new.toolkit.fluxcd.io"), ContainSubstring("install Flux first"))))
		Expect(done).To(BeEmpty())

		operator := live(ctx, crdNamed("fluxinstances.fluxcd.controlplane.io"))
		undefine(ctx, crdNamed(operator.GetName()))
		DeferCleanup(func(ctx SpecContext) {
			operator.SetResourceVersion("")
			operator.SetUID("")
			unstructured.RemoveNestedField(operator.Object, "status")
			Expect(k8s.Create(ctx, operator)).To(Succeed())
			Eventually(func() bool { return isEstablished(ctx, operator.GetName()) }).Should(BeTrue())
		})
		done, err = restore(ctx, forge(fleet()...), snapshot.RestoreOptions{})
		Expect(err).To(MatchError(ContainSubstring("install the operator first")))
		Expect(done).To(BeEmpty())
	})
})

// strangers are of kinds that this operator and Flux do not have.
func strangers() []*unstructured.Unstructured {
	return []*unstructured.Unstructured{
		object(`{apiVersion: new.toolkit.fluxcd.io/v1, kind: Alien, metadata: {name: a, namespace: apps}}`),
		object(`{apiVersion: fluxcd.controlplane.io/v1, kind: ResourceSet, metadata: {name: a, namespace: apps}}`),
	}
}

// BeUnserved matches the error that names these kinds.
func BeUnserved(kinds ...string) types.GomegaMatcher {
	return WithTransform(func(err error) []string {
		unserved, _ := errors.AsType[*snapshot.UnservedError](err)
		if unserved == nil {
			return nil
		}
		return unserved.Kinds
	}, Equal(kinds))
}

// say writes conditions of the instance, as the operator does.
func say(ctx context.Context, conditions ...any) {
	GinkgoHelper()
	instance := live(ctx, fleet()[0])
	for _, condition := range conditions {
		fields := condition.(map[string]any)
		fields["observedGeneration"], fields["lastTransitionTime"] = instance.GetGeneration(), "2026-03-01T12:00:00Z"
		if fields["message"] == nil {
			fields["message"] = ""
		}
	}
	Expect(unstructured.SetNestedSlice(instance.Object, conditions, "status", "conditions")).To(Succeed())
	Expect(k8s.Status().Update(ctx, instance)).To(Succeed())
}

// forge makes a snapshot of objects that are not in the cluster.
func forge(objects ...*unstructured.Unstructured) []byte {
	GinkgoHelper()
	saved, err := snapshot.Forge(objects)
	Expect(err).NotTo(HaveOccurred())
	return saved
}

var _ = Describe("The store", func() {
	var store *snapshot.Store

	BeforeEach(func(ctx SpecContext) {
		deploy(ctx)
		store = snapshot.NewStore(k8s, snapshot.Options{Namespace: namespace, Operator: "flux-operator/test"})
	})

	parts := func(ctx context.Context) []string {
		GinkgoHelper()
		list := &corev1.ConfigMapList{}
		Expect(k8s.List(ctx, list, client.InNamespace(namespace), client.HasLabels{snapshot.NameLabel})).To(Succeed())
		names := map[string]bool{}
		for i := range list.Items {
			names[list.Items[i].Name] = true
		}
		return slices.Sorted(maps.Keys(names))
	}

	It("keeps a snapshot in ConfigMaps that nobody can change", func(ctx SpecContext) {
		told := 0
		stored, err := store.Create(ctx, snapshot.Order{Flux: "v2.9.2", Upgrade: "v2.9.4", Progress: func(n int) { told = n }})
		Expect(err).NotTo(HaveOccurred())
		Expect(told).To(Equal(len(fleet())))
		Expect(stored.Objects).To(Equal(len(fleet())))
		Expect(store.List(ctx)).To(Equal([]snapshot.Stored{*stored}))
		content, err := store.Open(ctx, stored.Name)
		Expect(err).NotTo(HaveOccurred())
		_, was, _ := strings.Cut(text(take(ctx)), "\n")
		header, is, _ := strings.Cut(text(content), "\n")
		Expect(is).To(Equal(was))
		Expect(header).To(And(ContainSubstring(`"flux":"v2.9.2"`), ContainSubstring(`"upgrade":"v2.9.4"`), ContainSubstring("flux-operator/test")))

		index := &corev1.ConfigMap{}
		Expect(k8s.Get(ctx, client.ObjectKey{Namespace: namespace, Name: stored.Name}, index)).To(Succeed())
		index.Data["snapshot.json"] = "{}"
		Expect(apierrors.IsInvalid(k8s.Update(ctx, index))).To(BeTrue())
	})

	It("refuses a snapshot whose bytes are others", func(ctx SpecContext) {
		stored, err := store.Create(ctx, snapshot.Order{})
		Expect(err).NotTo(HaveOccurred())
		chunk := &corev1.ConfigMap{}
		key := client.ObjectKey{Namespace: namespace, Name: stored.Name + "-0"}
		Expect(k8s.Get(ctx, key, chunk)).To(Succeed())
		Expect(k8s.Delete(ctx, chunk)).To(Succeed())
		_, err = store.Open(ctx, stored.Name)
		Expect(err).To(MatchError(ContainSubstring(stored.Name + "-0")))
		chunk.ResourceVersion, chunk.UID = "", ""
		chunk.BinaryData["chunk"][20]++
		Expect(k8s.Create(ctx, chunk)).To(Succeed())
		_, err = store.Open(ctx, stored.Name)
		Expect(err).To(MatchError(ContainSubstring("somebody changed it")))
	})

	It("never takes a half-written snapshot for a whole one, and removes it once it is old", func(ctx SpecContext) {
		stored, err := store.Create(ctx, snapshot.Order{})
		Expect(err).NotTo(HaveOccurred())
		Expect(k8s.Delete(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: stored.Name}})).To(Succeed())
		Expect(store.List(ctx)).To(BeEmpty())
		_, err = store.Open(ctx, stored.Name)
		Expect(err).To(MatchError(ContainSubstring("not complete")))
		_, err = store.Open(ctx, stored.Name+"-0")
		Expect(err).To(MatchError(ContainSubstring("is no snapshot")))

		second, err := store.Create(ctx, snapshot.Order{})
		Expect(err).NotTo(HaveOccurred())
		Expect(parts(ctx)).To(ContainElement(stored.Name+"-0"), "somebody may still be writing it")
		strict := snapshot.NewStore(k8s, snapshot.Options{Namespace: namespace, Stale: time.Nanosecond})
		third, err := strict.Create(ctx, snapshot.Order{})
		Expect(err).NotTo(HaveOccurred())
		Expect(parts(ctx)).To(ConsistOf(second.Name, second.Name+"-0", third.Name, third.Name+"-0"))
	})

	It("leaves nothing of a snapshot that failed", func(ctx SpecContext) {
		broken := snapshot.NewStore(&refusing{Client: k8s, suffix: "-0"}, snapshot.Options{Namespace: namespace})
		_, err := broken.Create(ctx, snapshot.Order{})
		Expect(err).To(MatchError(ContainSubstring("quota")))
		Expect(parts(ctx)).To(BeEmpty())
		ending, cancel := context.WithCancel(ctx)
		_, err = store.Create(ending, snapshot.Order{Progress: func(int) { cancel() }})
		Expect(err).To(HaveOccurred())
		Expect(parts(ctx)).To(BeEmpty())
	})

	It("keeps the newest", func(ctx SpecContext) {
		var names []string
		for i := range 4 {
			stored, err := store.Create(ctx, snapshot.Order{Upgrade: fmt.Sprintf("v2.%d.0", i)})
			Expect(err).NotTo(HaveOccurred())
			names = append(names, stored.Name)
			// Their times tell them apart, in seconds.
			Eventually(func() int { return int(time.Since(stored.Created).Seconds()) }).Should(BeNumerically(">", 0))
		}
		removed, err := store.Prune(ctx, 2)
		Expect(err).NotTo(HaveOccurred())
		Expect(removed).To(Equal([]string{names[1], names[0]}))
		Expect(parts(ctx)).To(ConsistOf(names[2], names[2]+"-0", names[3], names[3]+"-0"))
		left, err := store.List(ctx)
		Expect(err).NotTo(HaveOccurred())
		Expect([]string{left[0].Upgrade, left[1].Upgrade}).To(Equal([]string{"v2.3.0", "v2.2.0"}))
		Expect(store.Prune(ctx, 2)).To(BeEmpty())
	})
})

// refusing refuses to create what has a suffix.
type refusing struct {
	client.Client

	suffix string
}

// Create implements client.Client.
func (r *refusing) Create(ctx context.Context, obj client.Object, opts ...client.CreateOption) error {
	if strings.HasSuffix(obj.GetName(), r.suffix) {
		return apierrors.NewForbidden(corev1.Resource("configmaps"), obj.GetName(), fmt.Errorf("exceeded quota"))
	}
	return r.Client.Create(ctx, obj, opts...)
}
