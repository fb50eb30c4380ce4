package e2e

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/render"
	"github.com/flux-autopilot/flux-operator/test/site"
)

// former is an installation of Flux by a tool.
type former struct {
	// release is what was installed.
	release string
	// install leaves the objects in the cluster in the shape in which the tool leaves them.
	install func(context.Context, []*unstructured.Unstructured)
	// name is how the operator calls the tool; empty where the instance owns the objects already.
	name string
	// again has the tool do its work once more after it was relieved; nil where it does nothing by itself.
	again func(context.Context)
}

// adopting takes installations over that others made. There are no programs of older releases: stand-ins run under their names.
func adopting() {
	BeforeAll(func(ctx context.Context) {
		asInReadme(ctx)
		workloadPod(ctx)
		DeferCleanup(asInReadme)
	})

	bootstrap := "flux bootstrap, Kustomization flux-system/flux-system"
	DescribeTable("takes over what was installed by", takeOver,
		Entry("flux bootstrap of 2.8", former{"v2.8.8", bootstrapped, bootstrap, syncAgain}),
		Entry("flux bootstrap of 2.6", former{"v2.6.4", bootstrapped, bootstrap, syncAgain}),
		Entry("flux bootstrap of 2.2", former{"v2.2.3", bootstrapped, bootstrap, syncAgain}),
		Entry("Helm", former{"v2.8.8", installedByHelm, "Helm release flux-system/flux", nil}),
		Entry("Terraform", former{"v2.6.4", installedAs("Terraform"), "Terraform", nil}),
		Entry("kubectl apply", former{"v2.8.8", installedByKubectl, "kubectl", nil}),
		Entry("an operator with the same API", former{"v2.8.8", installedByOperator, "", nil}),
	)
}

// takeOver relieves a tool of its work.
func takeOver(ctx context.Context, f former) {
	absent(ctx)
	objects := manifests(f.release)
	f.install(ctx, objects)
	DeferCleanup(absent)
	controllersRun(ctx)
	before, rolled, pod := identities(ctx, objects), rollouts(ctx), workloadPod(ctx)

	service := askSteadily(ctx)
	DeferCleanup(service.stop)
	wanted := sample()
	if _, err := here.Instance(ctx); err == nil {
		change(ctx, func(i *v1.FluxInstance) { i.Spec, i.Annotations = wanted.Spec, nil })
	} else {
		must(here.Client.Create(ctx, wanted))
	}
	instance, err := here.AwaitReady(ctx, journeyLimit)
	must(err)
	checkConditions(instance)
	checkRevision(instance, "v2.9.4")
	exactInventory(ctx)
	deploymentsAvailable(ctx, defaultControllers()...)
	checkAdoption(instance, f, len(objects))
	legs := len(releases(instance))
	for name, revision := range rollouts(ctx) {
		Expect(revision-rolled[name]).To(BeNumerically("<=", legs), "%s rolled more often than there were releases on the way: %q", name, releases(instance))
	}
	if f.again != nil {
		running := versions(ctx)
		f.again(ctx)
		Expect(versions(ctx)).To(Equal(running), "the tool changed Flux again")
		exactInventory(ctx)
		must(site.Ready(must1(here.Instance(ctx))))
	}
	for id, uid := range identities(ctx, objects) {
		Expect(uid).To(Equal(before[id]), "%s was made anew", id)
	}
	untouched(ctx, pod)
	service.checkGapless()
}

// controllersRun waits until all controllers are available.
func controllersRun(ctx context.Context) {
	GinkgoHelper()
	for _, name := range defaultControllers() {
		must(here.AwaitDeployment(ctx, installLimit, site.Namespace, name))
	}
}

// checkAdoption checks what the status tells about who managed Flux before.
func checkAdoption(instance *v1.FluxInstance, f former, objects int) {
	GinkgoHelper()
	told := instance.Status.Adoption
	if f.name == "" {
		Expect(told).To(BeNil())
		return
	}
	Expect(told).NotTo(BeNil())
	Expect(told.Taken).To(BeTrue())
	Expect(told.Version).To(Equal(f.release))
	Expect(told.Refused).To(BeEmpty())
	Expect(int(told.Objects)).To(BeNumerically(">=", objects))
	for _, tool := range told.Tools {
		if tool.Name == f.name {
			// The namespace was there before, and a tool may bring its sync besides.
			Expect(int(tool.Objects)).To(BeNumerically(">=", objects-1))
			return
		}
	}
	Fail(fmt.Sprintf("%q is not among the tools %+v", f.name, told.Tools))
}

// manifests are what a tool installs of a release: without any mark of the operator, and with images by their tags.
func manifests(release string) []*unstructured.Unstructured {
	GinkgoHelper()
	instance := sample()
	instance.Spec.Sync = nil
	instance.Spec.Distribution.Version = strings.TrimPrefix(release, "v")
	set, err := render.Render(os.DirFS(here.Distribution), release, instance)
	must(err)
	for _, obj := range set.Objects {
		obj.SetLabels(unmarked(obj.GetLabels()))
		obj.SetAnnotations(unmarked(obj.GetAnnotations()))
		if obj.GetKind() == "Deployment" {
			byTag(obj)
		}
	}
	return set.Objects
}

// unmarked leaves out what the operator marks objects with.
func unmarked(marks map[string]string) map[string]string {
	left := map[string]string{}
	for name, value := range marks {
		if !strings.Contains(name, v1.GroupVersion.Group+"/") && !strings.HasPrefix(name, "kustomize.toolkit.fluxcd.io/") {
			left[name] = value
		}
	}
	if _, flux := left["app.kubernetes.io/part-of"]; flux {
		left["app.kubernetes.io/instance"] = site.Namespace
	}
	return left
}

// byTag cuts the digests off the images of a Deployment.
func byTag(deployment *unstructured.Unstructured) {
	GinkgoHelper()
	path := []string{"spec", "template", "spec", "containers"}
	containers, _, err := unstructured.NestedSlice(deployment.Object, path...)
	must(err)
	for _, container := range containers {
		fields := container.(map[string]any)
		fields["image"], _, _ = strings.Cut(fields["image"].(string), "@")
	}
	must(unstructured.SetNestedSlice(deployment.Object, containers, path...))
}

// identities are the UIDs of objects.
func identities(ctx context.Context, objects []*unstructured.Unstructured) map[string]types.UID {
	GinkgoHelper()
	found := map[string]types.UID{}
	for _, obj := range objects {
		live := &metav1.PartialObjectMetadata{}
		live.SetGroupVersionKind(obj.GroupVersionKind())
		found[obj.GetKind()+"/"+obj.GetName()] = get(ctx, client.ObjectKeyFromObject(obj), live).UID
	}
	return found
}

// rollouts counts for each controller how often its pods were replaced.
func rollouts(ctx context.Context) map[string]int {
	GinkgoHelper()
	found := map[string]int{}
	for _, name := range defaultControllers() {
		deployment := get(ctx, key(name), &appsv1.Deployment{})
		found[name] = must1(strconv.Atoi(deployment.Annotations["deployment.kubernetes.io/revision"]))
	}
	return found
}
