package e2e

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/fluxcd/pkg/apis/meta"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// savedNamespace has objects of Flux that no repository deploys.
const savedNamespace = "e2e-saved"

// savedManifests are such objects: suspended ones, ones with values of every type, and one that nobody can fetch.
func savedManifests() []string {
	return []string{`
apiVersion: source.toolkit.fluxcd.io/v1
kind: HelmRepository
metadata: {name: charts, namespace: ` + savedNamespace + `, labels: {team: a}, annotations: {note: made by hand}}
spec: {interval: 10m, url: "oci://registry.example.com/charts", type: oci}
`, `
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: podinfo, namespace: ` + savedNamespace + `}
spec:
  interval: 5m
  suspend: true
  chart: {spec: {chart: podinfo, version: ">=6.0.0", sourceRef: {kind: HelmRepository, name: charts}}}
  values: {replicas: 3, ratio: 1.5, version: "1.10", list: [a, 1, true], limits: {memory: 1Gi}}
`, `
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: later, namespace: ` + savedNamespace + `}
spec: {interval: 10m, suspend: true, path: ./later, prune: true, sourceRef: {kind: GitRepository, name: flux-system, namespace: flux-system}}
`, `
apiVersion: notification.toolkit.fluxcd.io/v1beta3
kind: Provider
metadata: {name: chat, namespace: ` + savedNamespace + `}
spec: {type: slack, channel: flux, address: "https://chat.example.com/hook"}
`, `
apiVersion: notification.toolkit.fluxcd.io/v1beta3
kind: Alert
metadata: {name: everything, namespace: ` + savedNamespace + `}
spec: {providerRef: {name: chat}, eventSeverity: error, eventSources: [{kind: Kustomization, name: "*"}]}
`}
}

// savingAndRestoring destroys what a snapshot was taken of, and has it put back.
func savingAndRestoring() {
	var tool string

	// snapshots runs the command and returns what it prints.
	snapshots := func(ctx context.Context, args ...string) string {
		GinkgoHelper()
		cmd := exec.CommandContext(ctx, tool, append([]string{"snapshot"}, args...)...)
		cmd.Env = append(os.Environ(), "KUBECONFIG="+here.Cluster.Kubeconfig, "HOME="+GinkgoT().TempDir())
		var out, told bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &told
		err := cmd.Run()
		GinkgoWriter.Printf("flux-operator snapshot %s\n%s%s", strings.Join(args, " "), told.String(), out.String())
		Expect(err).NotTo(HaveOccurred(), told.String())
		return out.String()
	}

	BeforeAll(func(ctx context.Context) {
		tool = buildTool(ctx)
		DeferCleanup(func(ctx context.Context) {
			asInReadme(ctx) // with the controllers that have to let its objects go
			must(here.Delete(ctx, uninstallLimit, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: savedNamespace}}))
		})
	})

	It("saves a snapshot before an upgrade to another minor, and none before a patch", func(ctx context.Context) {
		absent(ctx)
		instance := sample()
		instance.Spec.Distribution.Version, instance.Spec.Sync = "2.8.8", nil
		must(here.Client.Create(ctx, instance))
		ready(ctx)
		before := strings.Count(snapshots(ctx, "list"), "\n")
		change(ctx, func(i *v1.FluxInstance) { i.Spec.Distribution.Version = "2.9.2" })
		checkRevision(ready(ctx), "v2.9.2")
		listed := strings.Split(snapshots(ctx, "list"), "\n")
		Expect(strings.Fields(listed[1])).To(ContainElements("v2.8.8", "v2.9.2"))
		change(ctx, func(i *v1.FluxInstance) { i.Spec.Distribution.Version = "2.9.4" })
		checkRevision(ready(ctx), "v2.9.4")
		Expect(strings.Split(snapshots(ctx, "list"), "\n")).To(Equal(listed))
		Expect(len(listed)).To(BeNumerically(">", before))
		recorded(ctx, v1.ReasonProgressing, "before the upgrade from v2.8.8 to v2.9.2")
	})

	It("brings everything back as it was after Flux was destroyed with all its objects", func(ctx context.Context) {
		asInReadme(ctx)
		pod := workloadPod(ctx)
		must(here.Client.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: savedNamespace}}))
		for _, manifest := range savedManifests() {
			obj := &unstructured.Unstructured{}
			must(yaml.Unmarshal([]byte(manifest), &obj.Object))
			must(here.Client.Create(ctx, obj))
		}
		before := wantedOfFlux(ctx)
		Expect(len(before)).To(BeNumerically(">=", len(savedManifests())+3)) // with the instance and its sync
		name := strings.TrimSpace(snapshots(ctx, "create"))
		file := filepath.Join(GinkgoT().TempDir(), "flux.snapshot")
		snapshots(ctx, "create", "--to", file)

		absent(ctx)
		leftNothing(ctx)
		Expect(snapshots(ctx, "restore", "--from", file, "--dry-run")).To(ContainSubstring("created    FluxInstance/flux-system/flux (dry run)\n"))
		done := snapshots(ctx, "restore", name)
		Expect(strings.Count(done, "\n")).To(Equal(len(before)))
		Expect(done).To(ContainSubstring("created    HelmRelease/" + savedNamespace + "/podinfo\n"))
		checkConditions(ready(ctx))
		Expect(wantedOfFlux(ctx)).To(Equal(before))
		for _, kind := range []string{"GitRepository", "Kustomization"} {
			fluxReady(ctx, ofSync(kind))
		}
		untouched(ctx, pod)
		exactInventory(ctx)
	})

	It("shows that nothing differs afterwards, and puts back what somebody changed", func(ctx context.Context) {
		file := filepath.Join(GinkgoT().TempDir(), "flux.snapshot")
		snapshots(ctx, "create", "--to", file)
		before := wantedOfFlux(ctx)
		Expect(snapshots(ctx, "restore", "--from", file)).NotTo(Or(ContainSubstring("created"), ContainSubstring("configured")))
		release := &unstructured.Unstructured{}
		must(yaml.Unmarshal([]byte(savedManifests()[1]), &release.Object))
		must(here.Client.Patch(ctx, release, client.RawPatch(types.MergePatchType, []byte(`{"spec": {"values": {"replicas": 5, "more": true}, "timeout": "1m"}}`))))
		Expect(snapshots(ctx, "restore", "--from", file)).To(ContainSubstring("configured HelmRelease/" + savedNamespace + "/podinfo\n"))
		Expect(wantedOfFlux(ctx)).To(Equal(before))
	})
}

// wantedOfFlux are labels, annotations and spec of the instance and of all objects of Flux, by kind and name.
func wantedOfFlux(ctx context.Context) map[string]any {
	GinkgoHelper()
	found := map[string]any{}
	for _, kind := range []schema.GroupVersionKind{
		{Group: v1.Group, Version: "v1", Kind: v1.FluxInstanceKind},
		{Group: "source.toolkit.fluxcd.io", Version: "v1", Kind: "GitRepository"},
		{Group: "source.toolkit.fluxcd.io", Version: "v1", Kind: "HelmRepository"},
		{Group: "kustomize.toolkit.fluxcd.io", Version: "v1", Kind: "Kustomization"},
		{Group: "helm.toolkit.fluxcd.io", Version: "v2", Kind: "HelmRelease"},
		{Group: "notification.toolkit.fluxcd.io", Version: "v1beta3", Kind: "Provider"},
		{Group: "notification.toolkit.fluxcd.io", Version: "v1beta3", Kind: "Alert"},
	} {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
		must(here.Client.List(ctx, list))
		for i := range list.Items {
			obj := &list.Items[i]
			annotations := obj.GetAnnotations()
			delete(annotations, meta.ReconcileRequestAnnotation)
			found[nameOf(obj)] = map[string]any{"spec": obj.Object["spec"], "labels": obj.GetLabels(), "annotations": annotations}
		}
	}
	return found
}
