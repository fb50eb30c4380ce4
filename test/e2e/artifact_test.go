package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/test/site"
	"github.com/flux-autopilot/flux-operator/test/testbed/registry"
)

// followingAnArtifact takes an instance from its install through everything that happens in its registry.
func followingAnArtifact() {
	const port = 5100
	var (
		h *hub
		// digests are those of the images as they were built last.
		digests map[string]string
	)

	BeforeAll(func(ctx context.Context) {
		h, digests = openHub(ctx, registry.Options{}), maps.Clone(here.Images)
		h.open(ctx, port)
		absent(ctx)
		DeferCleanup(asInReadme)
	})

	It("installs the release in the artifact", func(ctx context.Context) {
		digest := h.publish(ctx, distribution(digests, "v2.9.2"))
		instance := sample()
		h.follow(instance)
		must(here.Client.Create(ctx, instance))
		instance = ready(ctx)
		checkConditions(instance)
		checkArtifact(instance, digest, "")
		Expect(instance.Status.LastAppliedRevision).To(HavePrefix("v2.9.2@"))
		Expect(instance.Status.Release).To(Equal(&v1.ReleaseStatus{Elected: "v2.9.2", Available: "v2.9.2"}))
		checkImages(ctx, instance, tagsOf("v2.9.2"), "ghcr.io/fluxcd", digests)
		deploymentsAvailable(ctx, defaultControllers()...)
		exactInventory(ctx)
	})

	It("rolls out a patch that appears under the same tag", func(ctx context.Context) {
		before := uids(owned(ctx))
		digest := h.publish(ctx, distribution(digests, "v2.9.2", "v2.9.4"))
		rollsOut(ctx, "v2.9.4@")
		instance := ready(ctx)
		checkConditions(instance)
		checkArtifact(instance, digest, "")
		checkImages(ctx, instance, tagsOf("v2.9.4"), "ghcr.io/fluxcd", digests)
		deploymentsAvailable(ctx, defaultControllers()...)
		exactInventory(ctx)
		for id, uid := range uids(owned(ctx)) {
			if was, known := before[id]; known {
				Expect(uid).To(Equal(was), "%s was made anew", id)
			}
		}
	})

	It("rolls out an image that was rebuilt, and restarts nothing else", func(ctx context.Context) {
		before, workload, downloads := controllers(ctx), workloadPod(ctx), h.downloads()
		old := generationOf(ctx, "notification-controller")
		maps.Copy(digests, rebuild(ctx, "notification-controller", "v1.9.3", "once more"))
		digest := h.publish(ctx, distribution(digests, "v2.9.4"))
		onlyRestarts(ctx, "notification-controller", old, before)
		instance := ready(ctx)
		checkArtifact(instance, digest, "")
		checkImages(ctx, instance, tagsOf("v2.9.4"), "ghcr.io/fluxcd", digests)
		Expect(h.downloads()-downloads).To(Equal(1), "the archive is fetched once")
		untouched(ctx, workload)
	})

	It("stays ready while the registry is away, says so, and puts drift back", func(ctx context.Context) {
		before := ready(ctx)
		h.door.Close()
		degraded(ctx, v1.ReasonArtifactFailed, "the artifact "+before.Status.LastArtifactRevision+" stays in use")
		recorded(ctx, v1.ReasonArtifactFailed, "stays in use")
		scaledBack(ctx, "helm-controller", driftLimit)
		must(site.Ready(instance(ctx)))
	})

	It("goes on from what it kept after a restart without the registry", func(ctx context.Context) {
		before, pods := instance(ctx), controllers(ctx)
		restartOperator(ctx)
		scaledBack(ctx, "kustomize-controller", installLimit) // the one that was killed could not give its lease back
		degraded(ctx, v1.ReasonArtifactFailed, "stays in use")
		after := instance(ctx)
		Expect(after.Status.Components).To(Equal(before.Status.Components))
		Expect(after.Status.LastAppliedRevision).To(Equal(before.Status.LastAppliedRevision))
		now := controllers(ctx)
		delete(pods, "kustomize-controller")
		delete(now, "kustomize-controller")
		Expect(now).To(Equal(pods))
	})

	It("recovers when the registry is back", func(ctx context.Context) {
		h.open(ctx, port)
		whole(ctx)
		checkConditions(ready(ctx))
	})
}

// tagsOf are the images' tags of a release, of all of the default controllers or of some.
func tagsOf(release string, components ...string) map[string]string {
	tags := map[string]map[string]string{
		"v2.9.2": {"source-controller": "v1.9.3", "kustomize-controller": "v1.9.3", "helm-controller": "v1.6.2", "notification-controller": "v1.9.2"},
		"v2.9.4": {"source-controller": "v1.9.4", "kustomize-controller": "v1.9.4", "helm-controller": "v1.6.3", "notification-controller": "v1.9.3"},
	}[release]
	if len(components) == 0 {
		return tags
	}
	chosen := map[string]string{}
	for _, component := range components {
		chosen[component] = tags[component]
	}
	return chosen
}

// instance is the instance as it is now.
func instance(ctx context.Context) *v1.FluxInstance {
	GinkgoHelper()
	found, err := here.Instance(ctx)
	must(err)
	return found
}

// checkArtifact checks that the status names the artifact that was installed from, and the key that its signature was checked with, if any.
func checkArtifact(instance *v1.FluxInstance, digest, key string) {
	GinkgoHelper()
	wanted := &v1.ArtifactStatus{Reference: instance.Spec.Distribution.Artifact, Digest: digest}
	if key != "" {
		wanted.Verified = &v1.ArtifactSigner{Key: key}
	}
	Expect(instance.Status.Artifact).To(Equal(wanted))
	Expect(instance.Status.LastArtifactRevision).To(Equal(digest))
}

// rollsOut waits until the operator works on a revision, and tells how long it took.
func rollsOut(ctx context.Context, revision string) {
	GinkgoHelper()
	published := time.Now()
	eventually(ctx, noticeLimit, "revision "+revision+" to be rolled out", func(ctx context.Context) error {
		found, err := here.Instance(ctx)
		if err == nil && !strings.HasPrefix(found.Status.LastAttemptedRevision, revision) {
			err = fmt.Errorf("the last attempted revision is %s", found.Status.LastAttemptedRevision)
		}
		return err
	})
	GinkgoWriter.Printf("%s: begun %d ms after it was published\n", revision, time.Since(published).Milliseconds())
}

// controllers are the identities and the restarts of the controllers' pods, by controller. Those on their way out are not counted.
func controllers(ctx context.Context) map[string]string {
	GinkgoHelper()
	pods := &corev1.PodList{}
	must(here.Client.List(ctx, pods, client.InNamespace(site.Namespace), client.HasLabels{"app"}))
	found := map[string]string{}
	for _, pod := range pods.Items {
		if pod.DeletionTimestamp == nil {
			Expect(found).NotTo(HaveKey(pod.Labels["app"]))
			Expect(pod.Status.ContainerStatuses).NotTo(BeEmpty(), pod.Name)
			found[pod.Labels["app"]] = fmt.Sprintf("%s with %d restarts", pod.UID, pod.Status.ContainerStatuses[0].RestartCount)
		}
	}
	return found
}

// generationOf is that of a controller's Deployment.
func generationOf(ctx context.Context, controller string) int64 {
	GinkgoHelper()
	return get(ctx, key(controller), &appsv1.Deployment{}).Generation
}

// onlyRestarts waits until a controller was rolled out, tells how soon that began, and checks that the others were left alone. The generation is that from
// before there was something to roll out.
func onlyRestarts(ctx context.Context, controller string, generation int64, before map[string]string) {
	GinkgoHelper()
	published := time.Now()
	eventually(ctx, noticeLimit, controller+" to be rolled out", func(ctx context.Context) error {
		deployment := &appsv1.Deployment{}
		err := here.Client.Get(ctx, key(controller), deployment)
		if err == nil && deployment.Generation == generation {
			err = errors.New("its Deployment has not changed")
		}
		return err
	})
	GinkgoWriter.Printf("%s: changed %d ms after it was published\n", controller, time.Since(published).Milliseconds())
	must(here.AwaitDeployment(ctx, soonLimit, site.Namespace, controller))
	ready(ctx)
	after := controllers(ctx)
	Expect(after[controller]).NotTo(Equal(before[controller]))
	others := maps.Clone(before)
	delete(others, controller)
	delete(after, controller)
	Expect(after).To(Equal(others))
}

// degraded waits until the instance says that its artifact cannot be had, and why. It has to be ready all the time.
func degraded(ctx context.Context, reason, words string) {
	GinkgoHelper()
	eventually(ctx, soonLimit, "the condition "+v1.ArtifactFailedCondition, func(ctx context.Context) error {
		found, err := here.Instance(ctx)
		if err != nil {
			return err
		}
		must(site.Ready(found))
		failed := apimeta.FindStatusCondition(found.Status.Conditions, v1.ArtifactFailedCondition)
		if failed == nil {
			return errors.New("there is none")
		}
		return errors.Join(same(failed.Status, metav1.ConditionTrue), same(failed.Reason, reason), contains([]string{failed.Message}, words))
	})
}

// whole waits until the artifact can be had again.
func whole(ctx context.Context) {
	GinkgoHelper()
	eventually(ctx, soonLimit, "the artifact to be had again", func(ctx context.Context) error {
		found, err := here.Instance(ctx)
		if err != nil {
			return err
		}
		must(site.Ready(found))
		if failed := apimeta.FindStatusCondition(found.Status.Conditions, v1.ArtifactFailedCondition); failed != nil {
			return errors.New(failed.Message)
		}
		return nil
	})
}

// scaledBack takes a controller's pod away and waits until it is there again.
func scaledBack(ctx context.Context, controller string, limit time.Duration) {
	GinkgoHelper()
	deployment := get(ctx, key(controller), &appsv1.Deployment{})
	before := deployment.DeepCopy()
	deployment.Spec.Replicas = new(int32)
	must(here.Client.Patch(ctx, deployment, client.MergeFrom(before)))
	eventually(ctx, limit, "the number of replicas to be put back", func(ctx context.Context) error {
		now := &appsv1.Deployment{}
		err := here.Client.Get(ctx, key(controller), now)
		return errors.Join(err, same(now.Spec.Replicas, before.Spec.Replicas))
	})
	must(here.AwaitDeployment(ctx, soonLimit, site.Namespace, controller))
}

// restartOperator ends the operator's process without any warning and waits until the kubelet has started it again in the same pod.
func restartOperator(ctx context.Context) {
	GinkgoHelper()
	pod, err := here.OperatorPod(ctx)
	must(err)
	must(site.Kill(pod))
	eventually(ctx, soonLimit, "the operator to be started again", func(ctx context.Context) error {
		now := &corev1.Pod{}
		if err := here.Client.Get(ctx, client.ObjectKeyFromObject(pod), now); err != nil {
			return err
		}
		if status := now.Status.ContainerStatuses[0]; !status.Ready || status.RestartCount == pod.Status.ContainerStatuses[0].RestartCount {
			return fmt.Errorf("it has %d restarts, ready is %t", status.RestartCount, status.Ready)
		}
		return nil
	})
}
