package controllers_test

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

var _ = Describe("Sync", Ordered, func() {
	var stop func()

	BeforeAll(func() { stop = startOperator() })
	AfterAll(func() { stop() })
	AfterEach(letGo)

	DescribeTable("keeps what was deployed when it is removed or renamed",
		func(ctx SpecContext, release string) {
			noWait := false
			sync := &v1.Sync{Name: "first", Kind: "GitRepository", URL: "https://git.example.com/fleet.git", Ref: "refs/heads/main", Path: "."}
			Expect(k8s.Create(ctx, newInstance(func(in *v1.FluxInstance) {
				in.Spec.Distribution.Version = release
				in.Spec.Wait = &noWait // nobody makes the sync ready
				in.Spec.Sync = sync.DeepCopy()
			}))).To(Succeed())
			expectReady(ctx)
			deployer := deployedBy("first")
			hold(ctx, deployer)

			By("removing it")
			change(ctx, func(in *v1.FluxInstance) { in.Spec.Sync = nil })
			expectReady(ctx)
			Expect(k8s.Get(ctx, client.ObjectKeyFromObject(deployer), deployer)).To(Succeed())
			Expect(deployer.GetDeletionTimestamp()).NotTo(BeNil())
			Expect(removesWhatItDeployed(deployer)).To(BeFalse())

			By("adding it under another name, from another kind of source")
			change(ctx, func(in *v1.FluxInstance) {
				in.Spec.Sync = &v1.Sync{Name: "second", Kind: "OCIRepository", URL: "oci://registry.example.com/fleet", Ref: "latest", Path: "."}
			})
			expectReady(ctx)
			Expect(k8s.Get(ctx, client.ObjectKeyFromObject(deployer), deployer)).To(Succeed())
			Expect(removesWhatItDeployed(deployer)).To(BeFalse())
			Expect(exists(ctx, deployedBy("second"), "second")).To(Succeed())
			deployer.SetFinalizers(nil)
			Expect(k8s.Update(ctx, deployer)).To(Succeed())

			By("deploying with the same name from another kind of source")
			change(ctx, func(in *v1.FluxInstance) {
				in.Spec.Sync.Kind, in.Spec.Sync.URL = "GitRepository", "https://git.example.com/other.git"
			})
			expectReady(ctx)
			second := deployedBy("second")
			Expect(exists(ctx, second, "second")).To(Succeed())
			Expect(second.GetDeletionTimestamp()).To(BeNil())
			Expect(second.Object["spec"]).To(HaveKeyWithValue("sourceRef", HaveKeyWithValue("kind", "GitRepository")))
			source := &unstructured.Unstructured{}
			source.SetAPIVersion("source.toolkit.fluxcd.io/v1")
			source.SetKind("GitRepository")
			Expect(exists(ctx, source, "second")).To(Succeed())
			Expect(apierrors.IsNotFound(exists(ctx, source, "first"))).To(BeTrue())
		},
		Entry("with the oldest release", "2.2.x"),
		Entry("with the last release that knows no deletion policy", "2.4.x"),
		Entry("with the first one that does", "2.5.x"),
		Entry("with the newest release", "2.9.x"),
	)

	It("keeps what was deployed when it is removed together with an upgrade", func(ctx SpecContext) {
		noWait := false
		Expect(k8s.Create(ctx, newInstance(func(in *v1.FluxInstance) {
			in.Spec.Distribution.Version = "2.3.x"
			in.Spec.Wait = &noWait
			in.Spec.Sync = &v1.Sync{Name: "first", Kind: "GitRepository", URL: "https://git.example.com/fleet.git", Ref: "refs/heads/main", Path: "."}
		}))).To(Succeed())
		expectReady(ctx)
		deployer := deployedBy("first")
		hold(ctx, deployer)
		change(ctx, func(in *v1.FluxInstance) {
			in.Spec.Distribution.Version = "2.5.x"
			in.Spec.Sync = nil
		})
		expectReady(ctx)
		Expect(k8s.Get(ctx, client.ObjectKeyFromObject(deployer), deployer)).To(Succeed())
		Expect(deployer.GetDeletionTimestamp()).NotTo(BeNil())
		Expect(removesWhatItDeployed(deployer)).To(BeFalse())
	})
})

func deployedBy(name string) *unstructured.Unstructured {
	obj := &unstructured.Unstructured{}
	obj.SetAPIVersion("kustomize.toolkit.fluxcd.io/v1")
	obj.SetKind("Kustomization")
	obj.SetNamespace(namespace)
	obj.SetName(name)
	return obj
}

// hold puts the finalizer on a Kustomization that kustomize-controller puts there.
func hold(ctx SpecContext, obj *unstructured.Unstructured) {
	GinkgoHelper()
	Expect(k8s.Get(ctx, client.ObjectKeyFromObject(obj), obj)).To(Succeed())
	base := obj.DeepCopy()
	obj.SetFinalizers([]string{"finalizers.fluxcd.io"})
	Expect(k8s.Patch(ctx, obj, client.MergeFrom(base))).To(Succeed())
}

// removesWhatItDeployed decides as kustomize-controller does when it finalizes.
func removesWhatItDeployed(obj *unstructured.Unstructured) bool {
	policy, _, _ := unstructured.NestedString(obj.Object, "spec", "deletionPolicy")
	prunes, _, _ := unstructured.NestedBool(obj.Object, "spec", "prune")
	return policy == "" && prunes || policy == "MirrorPrune" && prunes || policy == "Delete" || policy == "WaitForTermination"
}
