package migrate_test

import (
	"context"
	"maps"
	"slices"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/migrate"
)

// namespaced returns the objects of a release that live in the namespace of Flux, as they are in this world.
func (w *world) namespaced(release string) []*unstructured.Unstructured {
	GinkgoHelper()
	var objects []*unstructured.Unstructured
	for _, obj := range objectsOf(GinkgoT(), release) {
		if slices.Contains([]string{"Deployment", "Service", "ServiceAccount", "NetworkPolicy"}, obj.GetKind()) {
			obj.SetNamespace(w.ns)
			labels := map[string]string{"app.kubernetes.io/version": release, "app.kubernetes.io/part-of": "flux"}
			maps.Copy(labels, obj.GetLabels())
			obj.SetLabels(labels)
			objects = append(objects, obj)
		}
	}
	return objects
}

// patched does to the objects of an installation what users do.
func patched(objects []*unstructured.Unstructured) {
	GinkgoHelper()
	for _, obj := range objects {
		if obj.GetName() != "kustomize-controller" {
			continue
		}
		if obj.GetKind() == "ServiceAccount" {
			obj.SetAnnotations(map[string]string{"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/x"})
			continue
		}
		pod := []string{"spec", "template", "spec"}
		set := func(value any, field string) {
			Expect(unstructured.SetNestedField(obj.Object, value, append(slices.Clone(pod), field)...)).To(Succeed())
		}
		containers, _, err := unstructured.NestedSlice(obj.Object, append(slices.Clone(pod), "containers")...)
		Expect(err).NotTo(HaveOccurred())
		manager := containers[0].(map[string]any)
		manager["args"] = append(manager["args"].([]any), "--concurrent=20", "--log-level=debug", "--api-token=s3cret")
		manager["args"] = slices.DeleteFunc(manager["args"].([]any), func(arg any) bool { return arg == "--log-level=info" })
		manager["env"] = append(manager["env"].([]any), map[string]any{"name": "HTTPS_PROXY", "value": "http://user:s3cret@proxy"})
		Expect(unstructured.SetNestedField(manager, "2Gi", "resources", "limits", "memory")).To(Succeed())
		sidecar := map[string]any{"name": "sidecar", "image": "example.com/sidecar:v1"}
		set([]any{manager, sidecar}, "containers")
		set(map[string]any{"disk": "fast"}, "nodeSelector")
		set([]any{map[string]any{"key": "infra", "operator": "Exists"}}, "tolerations")
	}
}

func losses(manager, ns string) []v1.AdoptionLoss {
	const pod = ".spec.template.spec"
	return []v1.AdoptionLoss{
		{Object: "Deployment/" + ns + "/kustomize-controller", Manager: manager, Fields: []string{
			pod + ".containers[manager].args[--api-token=…]",
			pod + ".containers[manager].args[--concurrent=20]",
			pod + ".containers[manager].args[--log-level=debug]",
			pod + ".containers[manager].env[HTTPS_PROXY]",
			pod + ".containers[manager].resources.limits.memory",
			pod + ".containers[sidecar]",
			pod + ".nodeSelector",
			pod + ".tolerations",
		}},
		{Object: "ServiceAccount/" + ns + "/kustomize-controller", Manager: manager, Fields: []string{".metadata.annotations[eks.amazonaws.com/role-arn]"}},
	}
}

func applying(manager string) func(context.Context, *unstructured.Unstructured) {
	return func(ctx context.Context, obj *unstructured.Unstructured) {
		GinkgoHelper()
		body, err := obj.MarshalJSON()
		Expect(err).NotTo(HaveOccurred())
		Expect(admin.Patch(ctx, obj.DeepCopy(), client.RawPatch(types.ApplyPatchType, body), client.FieldOwner(manager))).To(Succeed())
	}
}

func creating(manager string) func(context.Context, *unstructured.Unstructured) {
	return func(ctx context.Context, obj *unstructured.Unstructured) {
		GinkgoHelper()
		Expect(admin.Create(ctx, obj.DeepCopy(), client.FieldOwner(manager))).To(Succeed())
	}
}

func labelled(labels map[string]string, write func(context.Context, *unstructured.Unstructured)) func(context.Context, *unstructured.Unstructured) {
	return func(ctx context.Context, obj *unstructured.Unstructured) {
		all := obj.GetLabels()
		maps.Copy(all, labels)
		obj.SetLabels(all)
		write(ctx, obj)
	}
}

func annotated(annotations map[string]string, write func(context.Context, *unstructured.Unstructured)) func(context.Context, *unstructured.Unstructured) {
	return func(ctx context.Context, obj *unstructured.Unstructured) {
		all := obj.GetAnnotations()
		if all == nil {
			all = map[string]string{}
		}
		maps.Copy(all, annotations)
		obj.SetAnnotations(all)
		write(ctx, obj)
	}
}

var (
	released     = map[string]string{"meta.helm.sh/release-name": "flux2", "meta.helm.sh/release-namespace": "flux-system"}
	helmReleased = map[string]string{"helm.toolkit.fluxcd.io/name": "flux2", "helm.toolkit.fluxcd.io/namespace": "flux-system"}
)

var _ = Describe("Survey of an installation", func() {
	DescribeTable("tells the tool and what users have set, whatever the release",
		func(ctx SpecContext, write func(context.Context, *unstructured.Unstructured), manager, tool, advice string, claims bool) {
			for _, release := range []string{"v2.2.3", "v2.6.4", "v2.8.8", "v2.9.4"} {
				w := newWorld(ctx)
				instance := &v1.FluxInstance{ObjectMeta: metav1.ObjectMeta{Name: "flux", Namespace: w.ns}}
				theirs := w.namespaced(release)
				patched(theirs)
				for _, obj := range theirs {
					write(ctx, obj)
				}
				wanted := w.namespaced("v2.9.4")
				live, err := w.migrator.Existing(ctx, wanted)
				Expect(err).NotTo(HaveOccurred())
				Expect(len(live)).To(BeNumerically(">=", 15))

				survey := migrate.Survey(instance, migrate.Found{Wanted: wanted, Live: live})
				Expect(survey.Version).To(Equal(release))
				Expect(survey.Objects).To(BeEquivalentTo(len(live)))
				Expect(survey.Tools).To(HaveLen(1))
				Expect(survey.Tools[0].Name).To(Equal(tool))
				Expect(survey.Tools[0].Objects).To(BeEquivalentTo(len(live)))
				Expect(survey.Tools[0].Advice).To(ContainSubstring(advice))
				Expect(survey.Losses).To(Equal(losses(manager, w.ns)), release)
				Expect(survey.Refused).To(BeEmpty())

				instance.Spec.Adoption = &v1.Adoption{Collisions: v1.CollideUnowned}
				refused := migrate.Survey(instance, migrate.Found{Wanted: wanted, Live: live}).Refused
				if claims {
					Expect(refused).To(HaveLen(min(len(live), 30)))
					Expect(slices.IsSorted(refused)).To(BeTrue())
				} else {
					Expect(refused).To(BeEmpty())
				}
				instance.Spec.Adoption.Collisions = v1.CollideOwn
				Expect(migrate.Survey(instance, migrate.Found{Wanted: wanted, Live: live}).Refused).To(HaveLen(min(len(live), 30)))
			}
		},
		Entry("of flux bootstrap",
			labelled(map[string]string{"kustomize.toolkit.fluxcd.io/name": "flux-system", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"}, applying("kustomize-controller")),
			"kustomize-controller", "flux bootstrap, Kustomization flux-system/flux-system", "gotk-components.yaml", true),
		Entry("of flux install", applying("flux"), "flux", "flux install", "flux install", false),
		Entry("of Helm 3", annotated(released, creating("helm")), "helm", "Helm release flux-system/flux2",
			"kubectl -n flux-system label secret -l owner=helm,name=flux2", true),
		Entry("of Helm 4", annotated(released, applying("helm")), "helm", "Helm release flux-system/flux2", "Never run helm uninstall", true),
		Entry("of a HelmRelease", annotated(released, labelled(helmReleased, creating("helm-controller"))), "helm-controller",
			"HelmRelease flux-system/flux2", "flux -n flux-system suspend helmrelease flux2", true),
		Entry("of a HelmRelease with Helm 4", annotated(released, labelled(helmReleased, applying("helm-controller"))), "helm-controller",
			"HelmRelease flux-system/flux2", "flux -n flux-system suspend helmrelease flux2", true),
		Entry("of Terraform's manifests", applying("Terraform"), "Terraform", "Terraform", "terraform state rm", false),
		Entry("of Terraform's resources", creating("HashiCorp"), "HashiCorp", "Terraform", "terraform state rm", false),
		Entry("of a Helm release in Terraform", annotated(released, creating("terraform-provider-helm_v2.13.0_x5")),
			"terraform-provider-helm_v2.13.0_x5", "Helm release flux-system/flux2, Terraform", "terraform state rm helm_release", true),
		Entry("of kubectl apply", annotated(map[string]string{"kubectl.kubernetes.io/last-applied-configuration": "{}"}, creating("kubectl-client-side-apply")),
			"kubectl-client-side-apply", "kubectl", "former manifests", false),
		Entry("of kubectl apply --server-side", applying("kubectl"), "kubectl", "kubectl", "former manifests", false),
		Entry("of Argo CD", annotated(map[string]string{"argocd.argoproj.io/tracking-id": "flux:apps/Deployment:x/y"}, applying("argocd-controller")),
			"argocd-controller", "Argo CD flux", "automated sync", true),
	)

	It("reads custom resources in the version that is served, and nothing that is not there", func(ctx SpecContext) {
		w := newWorld(ctx)
		creating("kubectl")(ctx, w.crd("v1*"))
		Eventually(func() error { return admin.Create(ctx, w.thing("v1", "a", "x"), client.FieldOwner("kubectl")) }).Should(Succeed())
		wanted := []*unstructured.Unstructured{w.thing("v2", "a", "x"), w.thing("v2", "b", "x"), w.crd("v1 v2*")}
		var live []*unstructured.Unstructured
		Eventually(func(g Gomega) {
			var err error
			live, err = newMigrator().Existing(ctx, wanted)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(live).To(HaveLen(2))
		}).Should(Succeed())
		Expect(live[0].GetAPIVersion()).To(Equal(w.group() + "/v1"))
		Expect(live[0].GetManagedFields()).NotTo(BeEmpty())
		Expect(live[1].GetKind()).To(Equal("CustomResourceDefinition"))
		Expect(live[1].Object).NotTo(HaveKey("spec"))

		definitions, err := w.migrator.Live(ctx, read(GinkgoT(), wanted))
		Expect(err).NotTo(HaveOccurred())
		survey := migrate.Survey(&v1.FluxInstance{}, migrate.Found{Wanted: wanted, Live: live, Definitions: definitions})
		Expect(survey.StoredVersions).To(Equal([]v1.StoredVersions{{Definition: "things." + w.group(), Versions: []string{"v1"}}}))
		Expect(survey.Tools).To(HaveLen(1))
		Expect(survey.Losses).To(BeEmpty())
	})
})

func newMigrator() *migrate.Migrator {
	GinkgoHelper()
	c, err := client.New(clusterCfg, client.Options{})
	Expect(err).NotTo(HaveOccurred())
	return migrate.New(c, migrate.Options{})
}
