package e2e

import (
	"context"
	"slices"

	"github.com/fluxcd/pkg/apis/kustomize"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

const (
	teamAnnotation = "e2e.example.com/team"
	jitter         = "--interval-jitter-percentage=7"
)

// runningEverything takes one instance with all that a spec can ask for at once through its life, from one release to the next.
func runningEverything() {
	BeforeAll(func(ctx context.Context) {
		offerVolumes(ctx, 2*(len(shards())+1)) // source-controller and source-watcher, in each shard and in the main set
		wanted := everything()
		err := here.Client.Create(ctx, wanted.DeepCopy())
		if apierrors.IsAlreadyExists(err) {
			change(ctx, func(i *v1.FluxInstance) { i.Spec, i.Annotations = wanted.Spec, nil })
			err = nil
		}
		must(err)
		DeferCleanup(asInReadme)
		ready(ctx)
		openTenant(ctx)
	})

	It("runs large, locked down, in two shards and on volumes of its own", func(ctx context.Context) {
		instance := ready(ctx)
		checkConditions(instance)
		checkRevision(instance, "v2.9.2")
		everythingRuns(ctx, instance, map[string]string{
			"source-controller": "v1.9.3", "kustomize-controller": "v1.9.3", "helm-controller": "v1.6.2", "notification-controller": "v1.9.2",
			"source-watcher": "v2.2.2",
		})
		patched(ctx)
		for _, name := range everyController() {
			Expect(get(ctx, key(name), &appsv1.Deployment{}).Annotations).To(HaveKeyWithValue("e2e.example.com/made-for", "2.9.2"), name)
		}
		workloadPod(ctx)
	})

	lockingTenantsIn()
	keepingShardsApart()

	It("names the patch for which a later release has no target, and keeps what runs", func(ctx context.Context) {
		refused(ctx, v1.ReasonBuildFailed, []string{"spec.kustomize.patches[2]", "app.kubernetes.io/version=v2.9.2", "Flux v2.9.4"},
			func(i *v1.FluxInstance) { i.Spec.Distribution.Version = "2.9.4" })
		deploymentsAvailable(ctx, everyController()...)
		patched(ctx)
	})

	It("upgrades, with everything where it was", func(ctx context.Context) {
		letTenantDeploy(ctx)
		apply(ctx, tenantApp("before", mainSet))
		apply(ctx, tenantApp("before-in-shard", shards()[1]))
		source, generated := workOf(ctx, "before", mainSet)
		shardSource, shardGenerated := workOf(ctx, "before-in-shard", shards()[1])
		objects, volumes, pod := uids(owned(ctx)), claims(ctx), workloadPod(ctx)

		change(ctx, func(i *v1.FluxInstance) {
			i.Spec.Distribution.Version = "2.9.4"
			i.Spec.Kustomize.Patches = slices.Delete(i.Spec.Kustomize.Patches, 2, 3)
		})
		instance := ready(ctx)
		checkConditions(instance)
		checkRevision(instance, "v2.9.4")
		everythingRuns(ctx, instance, map[string]string{
			"source-controller": "v1.9.4", "kustomize-controller": "v1.9.4", "helm-controller": "v1.6.3", "notification-controller": "v1.9.3",
			"source-watcher": "v2.2.3",
		})
		Expect(uids(owned(ctx))).To(Equal(objects))
		Expect(claims(ctx)).To(Equal(volumes))
		patched(ctx)
		untouched(ctx, pod)

		By("looking whether the new controllers work for the same objects with what lies on the volumes")
		for _, name := range []string{"before", "before-in-shard"} {
			handled(ctx, ofApp(name)...)
		}
		sourceNow, generatedNow := workOf(ctx, "before", mainSet)
		sourceNow.untouchedSince(source)
		generatedNow.untouchedSince(generated)
		shardSourceNow, shardGeneratedNow := workOf(ctx, "before-in-shard", shards()[1])
		shardSourceNow.untouchedSince(shardSource)
		shardGeneratedNow.untouchedSince(shardGenerated)
	})

	It("refuses volumes that would have to shrink or to be others, and keeps what runs", func(ctx context.Context) {
		before, running := claims(ctx), versions(ctx)
		for field, other := range map[string]v1.Storage{
			"spec.storage.size":  {Class: storageClass, Size: "512Mi"},
			"spec.storage.class": {Class: "e2e-other", Size: volumeSize},
		} {
			refused(ctx, v1.ReasonPreflightFailed, []string{field}, func(i *v1.FluxInstance) { i.Spec.Storage = &other })
			deploymentsAvailable(ctx, everyController()...)
			change(ctx, func(i *v1.FluxInstance) { i.Spec.Storage = storage() })
			checkConditions(ready(ctx))
			Expect(claims(ctx)).To(Equal(before))
			Expect(versions(ctx)).To(Equal(running))
		}
	})
}

// everything is an instance of Flux 2.9.2 with all that a spec can ask for at once. The last of its patches is for that release alone.
func everything() *v1.FluxInstance {
	GinkgoHelper()
	instance := sample()
	spec := &instance.Spec
	spec.Distribution.Version = "2.9.2"
	spec.Components = append(spec.Components, v1.SourceWatcher)
	spec.Cluster.Size, spec.Cluster.Multitenant = "large", true
	spec.Sharding = &v1.Sharding{Shards: shards(), Storage: "persistent"}
	spec.Storage = storage()
	spec.Kustomize = &v1.Kustomize{Patches: []kustomize.Patch{
		{
			Patch: `
apiVersion: apps/v1
kind: Deployment
metadata: {name: any}
spec: {template: {metadata: {annotations: {` + teamAnnotation + `: platform}}}}
`,
			Target: &kustomize.Selector{Kind: "Deployment", Name: "source-controller"},
		},
		{
			Patch:  `[{"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": "` + jitter + `"}]`,
			Target: &kustomize.Selector{Group: "apps", Kind: "Deployment", Name: "(kustomize|helm)-controller"},
		},
		{
			Patch:  `[{"op": "add", "path": "/metadata/annotations/e2e.example.com~1made-for", "value": "2.9.2"}]`,
			Target: &kustomize.Selector{Kind: "Deployment", LabelSelector: "app.kubernetes.io/version=v2.9.2"},
		},
	}}
	return instance
}

// everythingRuns checks that all controllers of all shards run with the given images, on the resources of a large cluster and, where they
// store something, on volumes.
func everythingRuns(ctx context.Context, instance *v1.FluxInstance, tags map[string]string) {
	GinkgoHelper()
	deploymentsAvailable(ctx, everyController()...)
	checkComponents(ctx, instance, tags)
	exactInventory(ctx)
	volumes := map[string]bool{}
	for _, shard := range append(shards(), mainSet) {
		for _, name := range sharded() {
			deployment := get(ctx, key(ofShard(name, shard)), &appsv1.Deployment{})
			main := get(ctx, key(name), &appsv1.Deployment{})
			manager := deployment.Spec.Template.Spec.Containers[0]
			Expect(manager.Image).To(Equal(main.Spec.Template.Spec.Containers[0].Image))
			Expect(manager.Resources).To(Equal(main.Spec.Template.Spec.Containers[0].Resources))
		}
		for _, name := range []string{"source-controller", "source-watcher"} {
			volumes[volumeOf(ctx, ofShard(name, shard))] = true
		}
		large := get(ctx, key(ofShard("kustomize-controller", shard)), &appsv1.Deployment{}).Spec.Template.Spec.Containers[0]
		Expect(large.Resources.Limits.Memory().String()).To(Equal("3Gi"))
		Expect(large.Args).To(ContainElements("--concurrent=20", "--no-cross-namespace-refs=true"))
	}
	Expect(volumes).To(HaveLen(2*(len(shards())+1)), "two controllers share a volume")
}

// patched checks that the patches for every release have their effect, on shards as well, and on nothing else.
func patched(ctx context.Context) {
	GinkgoHelper()
	for _, shard := range append(shards(), mainSet) {
		for _, name := range sharded() {
			template := get(ctx, key(ofShard(name, shard)), &appsv1.Deployment{}).Spec.Template
			_, annotated := template.Annotations[teamAnnotation]
			Expect(annotated).To(Equal(name == "source-controller"), name)
			jittered := slices.Contains(template.Spec.Containers[0].Args, jitter)
			Expect(jittered).To(Equal(name == "kustomize-controller" || name == "helm-controller"), name)
		}
	}
}
