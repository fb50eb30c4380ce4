package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/test/site"
	"github.com/flux-autopilot/flux-operator/tools"
)

const (
	// strangersFinalizer is one that neither Flux nor the operator knows.
	strangersFinalizer = "example.com/keep"
	// releaseLimit bounds the way from the release of the last object to the end of an uninstall. The API server looks every five seconds
	// whether the objects of a definition are gone.
	releaseLimit = 20 * time.Second
)

func uninstalling() {
	BeforeAll(asInReadme)

	It("removes Flux and keeps what Flux deployed", func(ctx context.Context) {
		pod := workloadPod(ctx)
		generating(ctx)
		namespace := get(ctx, client.ObjectKey{Name: site.Namespace}, &corev1.Namespace{})
		absent(ctx)
		leftNothing(ctx)
		untouched(ctx, pod)
		must(answers(ctx, site.FirstState()))
		Expect(get(ctx, workloadKey(site.WorkloadConfig), &corev1.ConfigMap{}).DeletionTimestamp).To(BeNil())
		kept := get(ctx, client.ObjectKey{Name: site.Namespace}, &corev1.Namespace{})
		Expect(kept.UID).To(Equal(namespace.UID))
		Expect(kept.Status.Phase).To(Equal(corev1.NamespaceActive))
		Expect(kept.Labels).NotTo(HaveKey(v1.OwnerNameLabel))
		Expect(kept.Annotations).NotTo(Or(HaveKey("kustomize.toolkit.fluxcd.io/ssa"), HaveKey(v1.PruneAnnotation)))
		recorded(ctx, v1.ReasonUninstalled, "keeps running")
	})

	It("says who keeps what, takes nothing of theirs, and ends soon after they let go", func(ctx context.Context) {
		asInReadme(ctx)
		pod := workloadPod(ctx)
		source := get(ctx, key(site.Namespace), fluxObject("GitRepository"))
		before := source.DeepCopy()
		source.SetFinalizers(append(source.GetFinalizers(), strangersFinalizer))
		must(here.Client.Patch(ctx, source, client.MergeFrom(before)))
		DeferCleanup(func(ctx context.Context) { must(client.IgnoreNotFound(letGoOf(ctx, source))) })

		instance, err := here.Instance(ctx)
		must(err)
		must(here.Client.Delete(ctx, instance))
		keeps := "GitRepository/" + site.Namespace + "/" + site.Namespace + " (" + strangersFinalizer + ")"
		_, err = here.AwaitFailure(ctx, uninstallLimit, v1.ReasonUninstallFailed, keeps)
		must(err)
		Expect(get(ctx, key(site.Namespace), source).GetFinalizers()).To(Equal([]string{strangersFinalizer}))

		must(letGoOf(ctx, source))
		freed := time.Now()
		absent(ctx)
		GinkgoWriter.Printf("the instance was gone %s after the finalizer\n", time.Since(freed).Round(time.Millisecond))
		Expect(time.Since(freed)).To(BeNumerically("<", releaseLimit))
		leftNothing(ctx)
		untouched(ctx, pod)
	})

	It("leaves definitions and custom resources to the next instance under DeleteControllers", func(ctx context.Context) {
		asInReadme(ctx)
		pod := workloadPod(ctx)
		stays := definitionsAndSync(ctx)
		change(ctx, func(i *v1.FluxInstance) { i.Spec.DeletionPolicy = v1.DeleteControllers })
		absent(ctx)
		Expect(owned(ctx)).To(BeEmpty(), "nothing that stays may be owned by an instance that is gone")
		deploymentsAvailable(ctx)
		Expect(definitionsAndSync(ctx)).To(Equal(stays))
		Expect(finalizersOfSync(ctx)).NotTo(BeEmpty())
		untouched(ctx, pod)

		asInReadme(ctx)
		Expect(definitionsAndSync(ctx)).To(Equal(stays))
		requestSync(ctx)
		untouched(ctx, pod)
		exactInventory(ctx)
	})

	It("leaves everything as it runs under Orphan", func(ctx context.Context) {
		asInReadme(ctx)
		pod, stays, controllers := workloadPod(ctx), definitionsAndSync(ctx), controllerPods(ctx)
		change(ctx, func(i *v1.FluxInstance) { i.Spec.DeletionPolicy = v1.Orphan })
		ready(ctx)
		absent(ctx)
		Expect(owned(ctx)).To(BeEmpty(), "nothing that stays may be owned by an instance that is gone")
		Expect(definitionsAndSync(ctx)).To(Equal(stays))
		requestSync(ctx)
		recorded(ctx, v1.ReasonUninstalled, "removed nothing")

		asInReadme(ctx)
		Expect(definitionsAndSync(ctx)).To(Equal(stays))
		Expect(controllerPods(ctx)).To(Equal(controllers))
		untouched(ctx, pod)
		exactInventory(ctx)
	})

	It("can be done by hand, as documented, when the operator was removed first", func(ctx context.Context) {
		asInReadme(ctx)
		pod := workloadPod(ctx)
		generating(ctx)
		must(here.Delete(ctx, soonLimit, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: site.Namespace, Name: site.OperatorName}}))
		DeferCleanup(func(ctx context.Context) { must(here.InstallOperator(ctx)) })
		said, err := byHand(ctx)
		Expect(err).NotTo(HaveOccurred(), said)
		GinkgoWriter.Println(said)
		_, err = here.Instance(ctx)
		Expect(apierrors.IsNotFound(err)).To(BeTrue())
		leftNothing(ctx)
		untouched(ctx, pod)
	})
}

// generating adds source-watcher and gives it work: its objects have a finalizer of its own.
func generating(ctx context.Context) {
	GinkgoHelper()
	change(ctx, func(i *v1.FluxInstance) { i.Spec.Components = append(i.Spec.Components, v1.SourceWatcher) })
	ready(ctx)
	apply(ctx, fmt.Sprintf(`
apiVersion: source.extensions.fluxcd.io/v1beta1
kind: ArtifactGenerator
metadata: {namespace: %[1]s, name: generated}
spec:
  sources: [{alias: app, kind: GitRepository, name: %[1]s}]
  artifacts: [{name: generated, copy: [{from: "@app/**", to: "@artifact/"}]}]
`, site.Namespace))
	generator := fluxObject("ArtifactGenerator")
	generator.SetNamespace(site.Namespace)
	generator.SetName("generated")
	fluxReady(ctx, generator)
	Expect(get(ctx, key("generated"), generator).GetFinalizers()).To(ConsistOf("source.extensions.fluxcd.io/finalizer"))
}

// byHand runs the commands that docs/uninstall.md has for this.
func byHand(ctx context.Context) (string, error) {
	root, err := tools.Root()
	if err != nil {
		return "", err
	}
	page, err := os.ReadFile(filepath.Join(root, "docs", "uninstall.md"))
	if err != nil {
		return "", err
	}
	_, rest, found := strings.Cut(string(page), "```sh manual\n")
	commands, _, closed := strings.Cut(rest, "```")
	if !found || !closed {
		return "", errors.New("finding the commands in docs/uninstall.md: there is no block of them")
	}
	ctx, cancel := context.WithTimeout(ctx, uninstallLimit)
	defer cancel()
	shell := exec.CommandContext(ctx, "sh", "-c", commands)
	shell.Env = append(os.Environ(), "KUBECONFIG="+here.Cluster.Kubeconfig, "PATH="+filepath.Dir(here.Cluster.KubectlPath())+":"+os.Getenv("PATH"))
	said, err := shell.CombinedOutput()
	return string(said), err
}

// letGoOf takes a stranger's finalizer from an object of Flux, as the stranger would.
func letGoOf(ctx context.Context, obj *unstructured.Unstructured) error {
	if err := here.Client.Get(ctx, client.ObjectKeyFromObject(obj), obj); err != nil {
		if apimeta.IsNoMatchError(err) {
			return nil
		}
		return err
	}
	before := obj.DeepCopy()
	obj.SetFinalizers(slices.DeleteFunc(obj.GetFinalizers(), func(name string) bool { return name == strangersFinalizer }))
	return here.Client.Patch(ctx, obj, client.MergeFrom(before))
}

// definitionsAndSync are the identities of Flux's definitions and of the objects that the sync is made of.
func definitionsAndSync(ctx context.Context) map[string]types.UID {
	GinkgoHelper()
	found := map[string]types.UID{}
	definitions := &apiextensionsv1.CustomResourceDefinitionList{}
	must(here.Client.List(ctx, definitions))
	for i := range definitions.Items {
		if definition := &definitions.Items[i]; strings.HasSuffix(definition.Name, ".toolkit.fluxcd.io") {
			Expect(definition.DeletionTimestamp).To(BeNil(), definition.Name)
			found[definition.Name] = definition.UID
		}
	}
	for _, kind := range []string{"GitRepository", "Kustomization"} {
		obj := get(ctx, key(site.Namespace), fluxObject(kind))
		Expect(obj.GetDeletionTimestamp()).To(BeNil(), kind)
		found[kind] = obj.GetUID()
	}
	return found
}

// finalizersOfSync are those of the Kustomization that deploys the fleet repository.
func finalizersOfSync(ctx context.Context) []string {
	GinkgoHelper()
	return get(ctx, key(site.Namespace), fluxObject("Kustomization")).GetFinalizers()
}

// controllerPods are the identities of the pods of Flux's controllers that are not on their way out.
func controllerPods(ctx context.Context) map[string]types.UID {
	GinkgoHelper()
	pods := &corev1.PodList{}
	must(here.Client.List(ctx, pods, client.InNamespace(site.Namespace), client.HasLabels{"app"}))
	found := map[string]types.UID{}
	for i := range pods.Items {
		if pods.Items[i].DeletionTimestamp == nil {
			found[pods.Items[i].Name] = pods.Items[i].UID
		}
	}
	return found
}

// leftNothing checks that Flux is gone from the cluster and nothing is stuck on its way out.
func leftNothing(ctx context.Context) {
	GinkgoHelper()
	for id, obj := range owned(ctx) {
		Expect(obj.Kind).To(Equal("Namespace"), "%s is left", id)
	}
	eventually(ctx, soonLimit, "everything that was deleted to be gone", func(ctx context.Context) error {
		objects, err := here.Objects(ctx)
		if err != nil {
			return err
		}
		var left []string
		for i := range objects {
			obj := &objects[i]
			if obj.DeletionTimestamp != nil || strings.HasSuffix(obj.Name, ".toolkit.fluxcd.io") {
				left = append(left, fmt.Sprintf("%s deleted at %v with finalizers %q", id(obj), obj.DeletionTimestamp, obj.Finalizers))
			}
		}
		if len(left) > 0 {
			return fmt.Errorf("left are: %s", strings.Join(left, "; "))
		}
		return nil
	})
}
