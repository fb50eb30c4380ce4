package snapshot_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/test/testbed/definitions"
)

const (
	namespace = v1.DefaultNamespace
	soon      = time.Minute
)

var (
	cluster *envtest.Environment
	k8s     client.Client
)

func TestAgainstAPIServer(t *testing.T) {
	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(soon)
	SetDefaultEventuallyPollingInterval(50 * time.Millisecond)
	RunSpecs(t, "snapshot")
}

var _ = BeforeSuite(func(ctx SpecContext) {
	Expect(os.Getenv("KUBEBUILDER_ASSETS")).NotTo(BeEmpty(), "KUBEBUILDER_ASSETS names the folder with etcd and kube-apiserver: run this suite with make test-unit")
	Expect(os.Getenv("DISTRIBUTION_DIR")).NotTo(BeEmpty(), "DISTRIBUTION_DIR names the generated distribution: run this suite with make test-unit")
	cluster = &envtest.Environment{
		CRDDirectoryPaths: []string{filepath.Join("..", "..", "config", "crd", "bases")}, ErrorIfCRDPathMissing: true,
		CRDInstallOptions: envtest.CRDInstallOptions{MaxTime: soon},
	}
	config, err := cluster.Start()
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() { Expect(cluster.Stop()).To(Succeed()) })
	config.QPS = -1
	config.WarningHandler = rest.NoWarnings{}
	nudging, stop := context.WithCancel(context.Background())
	DeferCleanup(stop)
	Expect(definitions.Nudge(nudging, config, GinkgoWriter.Printf)).To(Succeed())
	k8s, err = client.New(config, client.Options{})
	Expect(err).NotTo(HaveOccurred())
	for _, name := range []string{namespace, "apps"} {
		Expect(k8s.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})).To(Succeed())
	}
	installFlux(ctx)
})

// fluxDefinitions are those of a release of Flux.
func fluxDefinitions() []*unstructured.Unstructured {
	GinkgoHelper()
	files, err := filepath.Glob(filepath.Join(os.Getenv("DISTRIBUTION_DIR"), "flux", "v2.9.4", "*-controller.yaml"))
	Expect(err).NotTo(HaveOccurred())
	Expect(files).NotTo(BeEmpty())
	var found []*unstructured.Unstructured
	for _, file := range files {
		text, err := os.ReadFile(file)
		Expect(err).NotTo(HaveOccurred())
		for document := range strings.SplitSeq(string(text), "\n---\n") {
			if obj := object(document); obj.GetKind() == "CustomResourceDefinition" {
				found = append(found, obj)
			}
		}
	}
	return found
}

// installFlux defines the kinds of Flux and waits until they are served.
func installFlux(ctx context.Context) {
	GinkgoHelper()
	for _, crd := range fluxDefinitions() {
		Expect(k8s.Create(ctx, crd)).To(Succeed())
	}
	for _, crd := range fluxDefinitions() {
		Eventually(func() bool { return isEstablished(ctx, crd.GetName()) }).Should(BeTrue(), crd.GetName())
	}
}

func isEstablished(ctx context.Context, name string) bool {
	crd := crdNamed(name)
	if k8s.Get(ctx, client.ObjectKeyFromObject(crd), crd) != nil {
		return false
	}
	conditions, _, _ := unstructured.NestedSlice(crd.Object, "status", "conditions")
	for _, condition := range conditions {
		if one := condition.(map[string]any); one["type"] == "Established" && one["status"] == "True" {
			return true
		}
	}
	return false
}

// removeFlux removes the kinds of Flux and all their objects.
func removeFlux(ctx context.Context) {
	GinkgoHelper()
	for _, crd := range fluxDefinitions() {
		Expect(k8s.Delete(ctx, crd)).To(Succeed())
	}
	for _, crd := range fluxDefinitions() {
		Eventually(func() bool {
			return apierrors.IsNotFound(k8s.Get(ctx, client.ObjectKeyFromObject(crd), crdNamed(crd.GetName())))
		}).Should(BeTrue(), crd.GetName())
	}
}

func crdNamed(name string) *unstructured.Unstructured {
	crd := &unstructured.Unstructured{}
	crd.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"})
	crd.SetName(name)
	return crd
}

// object reads a manifest.
func object(manifest string) *unstructured.Unstructured {
	GinkgoHelper()
	obj := &unstructured.Unstructured{}
	Expect(yaml.Unmarshal([]byte(manifest), &obj.Object)).To(Succeed())
	return obj
}

// fleet is one of each kind that matters: what an operator, a GitOps tool and a person have made.
func fleet() []*unstructured.Unstructured {
	return []*unstructured.Unstructured{
		object(`
apiVersion: fluxcd.controlplane.io/v1
kind: FluxInstance
metadata: {name: flux, namespace: flux-system, annotations: {fluxcd.controlplane.io/reconcileTimeout: 10m}}
spec:
  distribution: {version: 2.9.x, registry: ghcr.io/fluxcd}
  kustomize: {patches: [{patch: "- op: remove\n  path: /spec/replicas\n", target: {kind: Deployment}}]}
`),
		object(`
apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {name: fleet, namespace: flux-system, labels: {team: platform}}
spec: {interval: 1m, url: "https://example.com/fleet.git", ref: {branch: main}, secretRef: {name: fleet-git}}
`),
		object(`
apiVersion: source.toolkit.fluxcd.io/v1
kind: HelmRepository
metadata: {name: charts, namespace: apps}
spec: {interval: 10m, url: "oci://example.com/charts", type: oci}
`),
		object(`
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: apps, namespace: flux-system, annotations: {note: kept, reconcile.fluxcd.io/requestedAt: "1"}}
spec:
  interval: 10m
  path: ./apps
  prune: true
  sourceRef: {kind: GitRepository, name: fleet}
  postBuild: {substitute: {cluster: a, weight: "1.10"}}
`),
		object(`
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: podinfo, namespace: apps}
spec:
  interval: 5m
  chart: {spec: {chart: podinfo, version: ">=6.0.0", sourceRef: {kind: HelmRepository, name: charts}}}
  values: {replicas: 3, ratio: 1.5, resources: {limits: {memory: 1Gi}}, list: [a, 1, true, null]}
`),
		object(`
apiVersion: notification.toolkit.fluxcd.io/v1beta3
kind: Provider
metadata: {name: chat, namespace: apps}
spec: {type: slack, channel: flux, secretRef: {name: chat}}
`),
	}
}

// live reads an object.
func live(ctx context.Context, obj *unstructured.Unstructured) *unstructured.Unstructured {
	GinkgoHelper()
	found := &unstructured.Unstructured{}
	found.SetGroupVersionKind(obj.GroupVersionKind())
	Expect(k8s.Get(ctx, client.ObjectKeyFromObject(obj), found)).To(Succeed())
	return found
}

// specs reads what is wanted of the objects of the fleet.
func specs(ctx context.Context) map[string]any {
	GinkgoHelper()
	found := map[string]any{}
	for _, obj := range fleet() {
		found[obj.GetKind()] = live(ctx, obj).Object["spec"]
	}
	return found
}

// deploy creates the fleet anew.
func deploy(ctx context.Context) {
	GinkgoHelper()
	destroy(ctx)
	for _, obj := range fleet() {
		Expect(k8s.Create(ctx, obj, client.FieldOwner("kustomize-controller"))).To(Succeed())
	}
}

// destroy removes the fleet and all snapshots.
func destroy(ctx context.Context) {
	GinkgoHelper()
	for _, obj := range fleet() {
		Expect(client.IgnoreNotFound(k8s.Delete(ctx, obj))).To(Succeed())
	}
	parts := &corev1.ConfigMap{}
	Expect(k8s.DeleteAllOf(ctx, parts, client.InNamespace(namespace), client.HasLabels{"fluxcd.controlplane.io/snapshot"})).To(Succeed())
}
