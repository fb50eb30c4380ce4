package e2e

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/inventory"
	"github.com/flux-autopilot/flux-operator/test/site"
)

// fleetDir is the folder of the fleet repository that is deployed, fluxDir where bootstrap puts Flux itself.
const (
	fleetDir = "clusters/production"
	fluxDir  = fleetDir + "/flux-system"
)

// applyAs applies objects server-side as a field manager, definitions first.
func applyAs(ctx context.Context, manager string, objects []*unstructured.Unstructured) {
	GinkgoHelper()
	rank := func(obj *unstructured.Unstructured) int {
		return slices.Index([]string{"CustomResourceDefinition", "Namespace"}, obj.GetKind())
	}
	for _, obj := range slices.SortedStableFunc(slices.Values(objects), func(a, b *unstructured.Unstructured) int { return rank(b) - rank(a) }) {
		must(here.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(obj.DeepCopy()), client.FieldOwner(manager), client.ForceOwnership))
	}
}

// installedAs is a tool that applies server-side and marks nothing.
func installedAs(manager string) func(context.Context, []*unstructured.Unstructured) {
	return func(ctx context.Context, objects []*unstructured.Unstructured) {
		GinkgoHelper()
		applyAs(ctx, manager, objects)
	}
}

// installedByKubectl applies on the client's side.
func installedByKubectl(ctx context.Context, objects []*unstructured.Unstructured) {
	GinkgoHelper()
	_, err := here.Cluster.Kubectl(ctx, asYAML(objects), "apply", "-f", "-")
	must(err)
}

// installedByHelm creates objects as an installed chart does, and the Secret in which Helm remembers the release.
func installedByHelm(ctx context.Context, objects []*unstructured.Unstructured) {
	GinkgoHelper()
	for _, obj := range objects {
		if obj.GetKind() == "Namespace" {
			continue // helm install --create-namespace, which the release does not own
		}
		made := obj.DeepCopy()
		made.SetLabels(merged(made.GetLabels(), map[string]string{"app.kubernetes.io/managed-by": "Helm", "helm.sh/chart": "flux2-2.17.0"}))
		made.SetAnnotations(merged(made.GetAnnotations(), map[string]string{"meta.helm.sh/release-name": "flux", "meta.helm.sh/release-namespace": site.Namespace}))
		must(here.Client.Create(ctx, made, client.FieldOwner("helm")))
	}
	release := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: site.Namespace, Name: "sh.helm.release.v1.flux.v1",
			Labels: map[string]string{"owner": "helm", "name": "flux", "status": "deployed", "version": "1"},
		},
		Type: "helm.sh/release.v1", Data: map[string][]byte{"release": []byte("H4sIAAAAAAAA/w==")},
	}
	must(here.Client.Create(ctx, release, client.FieldOwner("helm")))
	DeferCleanup(func(ctx context.Context) { must(here.Delete(ctx, soonLimit, release)) })
}

// installedByOperator leaves what another operator with the same API leaves: labelled objects and an instance whose status names them.
func installedByOperator(ctx context.Context, objects []*unstructured.Unstructured) {
	GinkgoHelper()
	for _, obj := range objects {
		obj.SetLabels(merged(obj.GetLabels(), map[string]string{v1.OwnerNameLabel: v1.DefaultInstanceName, v1.OwnerNamespaceLabel: site.Namespace}))
	}
	applyAs(ctx, v1.FieldManager, objects)
	instance := sample()
	instance.Spec.Distribution.Version = "2.8.8"
	instance.Annotations = map[string]string{v1.ReconcileAnnotation: v1.DisabledValue}
	must(here.Client.Create(ctx, instance))
	before := instance.DeepCopy()
	instance.Status.Inventory = inventory.Of(objects).ToStatus()
	instance.Status.LastAppliedRevision = "v2.8.8@sha256:" + strings.Repeat("0", 64)
	must(here.Client.Status().Patch(ctx, instance, client.MergeFrom(before)))
}

// merged are labels or annotations with some more.
func merged(marks, more map[string]string) map[string]string {
	all := maps.Clone(more)
	for name, value := range marks {
		if _, known := all[name]; !known {
			all[name] = value
		}
	}
	return all
}

// bootstrapped commits Flux to the repository that it deploys, installs it, and lets it take itself over from there. The stand-ins for 2.2 do
// nothing, so there the suite applies as kustomize-controller would.
func bootstrapped(ctx context.Context, objects []*unstructured.Unstructured) {
	GinkgoHelper()
	sync := syncManifests()
	files := map[string]string{
		"gotk-components.yaml": asYAML(objects), "gotk-sync.yaml": asYAML(sync),
		"kustomization.yaml": "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n- gotk-components.yaml\n- gotk-sync.yaml\n",
	}
	committed := map[string]string{}
	for name, content := range files {
		committed[path.Join(fluxDir, name)] = content
	}
	_, err := here.Fleet.Commit(ctx, "Add Flux", committed)
	must(err)
	DeferCleanup(func(ctx context.Context) {
		absent(ctx)
		_, err := here.Fleet.Commit(ctx, "Remove Flux", nil, slices.Sorted(maps.Keys(committed))...)
		must(err)
	})
	applyAs(ctx, "flux", objects)
	for _, obj := range objects {
		if obj.GetKind() == "CustomResourceDefinition" {
			established(ctx, obj.GetName())
		}
	}
	applyAs(ctx, "flux", sync)
	marks := map[string]string{"kustomize.toolkit.fluxcd.io/name": site.Namespace, "kustomize.toolkit.fluxcd.io/namespace": site.Namespace}
	if objects[0].GetLabels()["app.kubernetes.io/version"] == "v2.2.3" {
		for _, obj := range slices.Concat(objects, sync) {
			obj.SetLabels(merged(obj.GetLabels(), marks))
		}
		applyAs(ctx, "kustomize-controller", slices.Concat(objects, sync))
		return
	}
	controllersRun(ctx)
	fluxReady(ctx, ofSync("Kustomization"))
	for _, obj := range objects {
		if obj.GetKind() == "Namespace" {
			continue // marked by the instance that was there before
		}
		live := &metav1.PartialObjectMetadata{}
		live.SetGroupVersionKind(obj.GroupVersionKind())
		Expect(get(ctx, client.ObjectKeyFromObject(obj), live).Labels).To(HaveKeyWithValue("kustomize.toolkit.fluxcd.io/name", site.Namespace), obj.GetName())
	}
}

// syncManifests are the source and the Kustomization that bootstrap makes; they look at the repository all the time.
func syncManifests() []*unstructured.Unstructured {
	source, deployed := ofSync("GitRepository"), ofSync("Kustomization")
	source.Object["spec"] = map[string]any{
		"interval": "2s", "ref": map[string]any{"branch": "main"}, "secretRef": map[string]any{"name": site.PullSecret}, "url": here.FleetURL(),
	}
	deployed.Object["spec"] = map[string]any{
		"interval": "2s", "path": "./" + fleetDir, "prune": true, "sourceRef": map[string]any{"kind": "GitRepository", "name": site.Namespace},
	}
	return []*unstructured.Unstructured{source, deployed}
}

// syncAgain has Flux deploy the repository, which still has the manifests of the former release.
func syncAgain(ctx context.Context) {
	GinkgoHelper()
	commit, err := here.Fleet.Commit(ctx, "Change nothing", nil)
	must(err)
	handled(ctx, ofSync("GitRepository"))
	eventually(ctx, soonLimit, "the commit to be deployed", func(ctx context.Context) error {
		applied, _, err := unstructured.NestedString(get(ctx, key(site.Namespace), fluxObject("Kustomization")).Object, "status", "lastAppliedRevision")
		if err == nil && !strings.HasSuffix(applied, commit) {
			err = fmt.Errorf("deployed is %q", applied)
		}
		return err
	})
	fluxReady(ctx, ofSync("Kustomization"))
}

// asYAML is what a tool would have in a file.
func asYAML(objects []*unstructured.Unstructured) string {
	GinkgoHelper()
	var documents []string
	for _, obj := range objects {
		documents = append(documents, string(must1(yaml.Marshal(obj.Object))))
	}
	return strings.Join(documents, "---\n")
}
