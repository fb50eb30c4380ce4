package e2e

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/inventory"
	"github.com/flux-autopilot/flux-operator/test/site"
)

// key names an object in Flux's namespace.
func key(name string) client.ObjectKey {
	return client.ObjectKey{Namespace: site.Namespace, Name: name}
}

// must fails the spec with the text of an error. Gomega's own matchers print its fields as well, which hides what it says.
func must(err error) {
	GinkgoHelper()
	if err != nil {
		Fail(err.Error())
	}
}

// get reads an object, which has to exist.
func get[T client.Object](ctx context.Context, key client.ObjectKey, obj T) T {
	GinkgoHelper()
	must(here.Client.Get(ctx, key, obj))
	return obj
}

// eventually waits for a condition and fails the spec with what was seen last.
func eventually(ctx context.Context, limit time.Duration, what string, check func(context.Context) error) {
	GinkgoHelper()
	must(here.Await(ctx, limit, what, check))
}

// ready waits until the operator has finished what the instance asks for now.
func ready(ctx context.Context) *v1.FluxInstance {
	GinkgoHelper()
	instance, err := here.AwaitReady(ctx, installLimit)
	must(err)
	return instance
}

// change edits the instance without waiting for what follows.
func change(ctx context.Context, edit func(*v1.FluxInstance)) {
	GinkgoHelper()
	_, err := here.Change(ctx, edit)
	must(err)
}

// sample is the instance of the README.
func sample() *v1.FluxInstance {
	GinkgoHelper()
	instance, err := here.Sample()
	must(err)
	return instance
}

// asInReadme makes the instance of the README ready, whatever was there before.
func asInReadme(ctx context.Context) {
	GinkgoHelper()
	wanted := sample()
	err := here.Client.Create(ctx, wanted.DeepCopy())
	if apierrors.IsAlreadyExists(err) {
		change(ctx, func(i *v1.FluxInstance) { i.Spec, i.Annotations = wanted.Spec, nil })
		err = nil
	}
	must(err)
	ready(ctx)
}

// absent makes sure that there is no instance.
func absent(ctx context.Context) {
	GinkgoHelper()
	must(here.DeleteInstance(ctx, uninstallLimit))
}

// owned are the objects that carry the instance's owner labels, by inventory id. What is on its way out, as a definition is for a moment
// after it was deleted, is not counted.
func owned(ctx context.Context) map[string]metav1.PartialObjectMetadata {
	GinkgoHelper()
	var objects []metav1.PartialObjectMetadata
	eventually(ctx, soonLimit, "all objects to be listed, though kinds come and go", func(ctx context.Context) (err error) {
		objects, err = here.Owned(ctx)
		return err
	})
	byID := map[string]metav1.PartialObjectMetadata{}
	for i := range objects {
		if objects[i].DeletionTimestamp == nil {
			byID[id(&objects[i])] = objects[i]
		}
	}
	return byID
}

// id is how the inventory calls an object.
func id(obj *metav1.PartialObjectMetadata) string {
	bare := &unstructured.Unstructured{}
	bare.SetGroupVersionKind(obj.GroupVersionKind())
	bare.SetNamespace(obj.Namespace)
	bare.SetName(obj.Name)
	return inventory.Of([]*unstructured.Unstructured{bare}).ToStatus().Entries[0].ID
}

// uids are the identities of objects: one that was deleted and made anew has another.
func uids(objects map[string]metav1.PartialObjectMetadata) map[string]types.UID {
	found := map[string]types.UID{}
	for id, obj := range objects {
		found[id] = obj.UID
	}
	return found
}

// exactInventory checks that the inventory names exactly the objects that carry the owner labels: nothing is orphaned and nothing made up.
func exactInventory(ctx context.Context) {
	GinkgoHelper()
	instance, err := here.Instance(ctx)
	must(err)
	Expect(instance.Status.Inventory).NotTo(BeNil())
	var entries []string
	for _, entry := range instance.Status.Inventory.Entries {
		Expect(entry.Version).NotTo(BeEmpty(), entry.ID)
		entries = append(entries, entry.ID)
	}
	Expect(entries).To(ConsistOf(slices.Collect(maps.Keys(owned(ctx)))))
}

// deploymentsAvailable checks that exactly these controllers run.
func deploymentsAvailable(ctx context.Context, names ...string) {
	GinkgoHelper()
	list := &appsv1.DeploymentList{}
	must(here.Client.List(ctx, list, client.InNamespace(site.Namespace), client.MatchingLabels{v1.OwnerNameLabel: v1.DefaultInstanceName}))
	var found []string
	for i := range list.Items {
		Expect(site.Available(&list.Items[i])).To(Succeed(), list.Items[i].Name)
		found = append(found, list.Items[i].Name)
	}
	Expect(found).To(ConsistOf(names))
}

// defaultControllers are those of the README's instance.
func defaultControllers() []string {
	return []string{"source-controller", "kustomize-controller", "helm-controller", "notification-controller"}
}

// workloadPod returns the pod that the fleet repository deploys, once it is ready.
func workloadPod(ctx context.Context) *corev1.Pod {
	GinkgoHelper()
	var pod *corev1.Pod
	eventually(ctx, soonLimit, "the sample app to run", func(ctx context.Context) error {
		if err := available(ctx, workloadKey(site.Workload)); err != nil {
			return err
		}
		pods := &corev1.PodList{}
		if err := here.Client.List(ctx, pods, client.InNamespace(site.WorkloadNamespace)); err != nil {
			return err
		}
		if len(pods.Items) != 1 || pods.Items[0].Status.Phase != corev1.PodRunning {
			return fmt.Errorf("there are %d pods", len(pods.Items))
		}
		pod = &pods.Items[0]
		return nil
	})
	return pod
}

func available(ctx context.Context, key client.ObjectKey) error {
	deployment := &appsv1.Deployment{}
	if err := here.Client.Get(ctx, key, deployment); err != nil {
		return err
	}
	return site.Available(deployment)
}

// untouched checks that a pod is still the same, never restarted and running.
func untouched(ctx context.Context, pod *corev1.Pod) {
	GinkgoHelper()
	now := get(ctx, client.ObjectKeyFromObject(pod), &corev1.Pod{})
	Expect(now.UID).To(Equal(pod.UID))
	Expect(now.DeletionTimestamp).To(BeNil())
	Expect(now.Status.Phase).To(Equal(corev1.PodRunning))
	Expect(now.Status.ContainerStatuses[0].RestartCount).To(Equal(pod.Status.ContainerStatuses[0].RestartCount))
}

// recorded waits for an event about the instance with a reason and some words: events are posted beside the passes that tell of them.
func recorded(ctx context.Context, reason, words string) {
	GinkgoHelper()
	eventually(ctx, soonLimit, "an event "+reason, func(ctx context.Context) error { return contains(messages(ctx, reason), words) })
}

// messages are the event messages about the instance with a reason, as far as they were posted.
func messages(ctx context.Context, reason string) []string {
	GinkgoHelper()
	events := &corev1.EventList{}
	Expect(here.Client.List(ctx, events, client.InNamespace(site.Namespace),
		client.MatchingFields{"involvedObject.kind": v1.FluxInstanceKind, "reason": reason})).To(Succeed())
	var found []string
	for _, event := range events.Items {
		found = append(found, event.Message)
	}
	return found
}
