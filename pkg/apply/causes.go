package apply

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// explainTimeout bounds looking for the causes of a failure, which happens after the deadline of the wait.
	explainTimeout = 5 * time.Second
	// podLimit is how many pods of a workload are looked at.
	podLimit = 50
)

// explain replaces the reasons of workloads by what keeps their pods from running, and adds the volume claims that are not bound. Without
// permission to read pods or claims the reasons stay as they are.
func (a *Applier) explain(ctx context.Context, late []*unstructured.Unstructured, known []NotReady, all []*unstructured.Unstructured) []NotReady {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), explainTimeout)
	defer cancel()
	explained := slices.Clone(known)
	inParallel(ctx, a.concurrency, len(late), func(i int) {
		if c := a.podCause(ctx, late[i]); c != nil && known[i].Reason != "FailedCreate" {
			explained[i].Reason, explained[i].Message = c.reason, clip(c.message)
		}
	})
	if !slices.ContainsFunc(late, func(obj *unstructured.Unstructured) bool { return isWorkload(obj.GroupVersionKind().GroupKind()) }) {
		return explained
	}
	for _, obj := range all {
		if obj.GroupVersionKind().GroupKind() == claimKind && ctx.Err() == nil {
			explained = append(explained, a.unbound(ctx, obj)...)
		}
	}
	return explained
}

// Cause returns what keeps the pods with these labels from running, in one line; empty where nothing does or nobody can tell.
func (a *Applier) Cause(ctx context.Context, namespace string, selected *metav1.LabelSelector) string {
	ctx, cancel := context.WithTimeout(ctx, explainTimeout)
	defer cancel()
	selector, err := metav1.LabelSelectorAsSelector(selected)
	if err != nil || selector.Empty() {
		return ""
	}
	if c := a.worstCause(ctx, namespace, selector); c != nil {
		return clip(c.reason + ": " + c.message)
	}
	return ""
}

// claimKind is the kind of PersistentVolumeClaims.
var claimKind = schema.GroupKind{Kind: "PersistentVolumeClaim"}

// unbound returns a claim if it is not bound.
func (a *Applier) unbound(ctx context.Context, claim *unstructured.Unstructured) []NotReady {
	live := reference(claim)
	if err := a.client.Get(ctx, client.ObjectKeyFromObject(claim), live); err != nil {
		return nil
	}
	phase, _, _ := unstructured.NestedString(live.Object, "status", "phase")
	if phase == "" || phase == string(corev1.ClaimBound) {
		return nil
	}
	class, _, _ := unstructured.NestedString(live.Object, "spec", "storageClassName")
	message := fmt.Sprintf("the claim is not bound to a volume (storage class %q)", class)
	if class == "" {
		message = "the claim is not bound to a volume, it has no storage class and the cluster no default one"
	}
	return []NotReady{{Object: IDOf(claim), Reason: "Claim" + phase, Message: message}}
}

// cause is what keeps a pod from being ready. Lower ranks say more about the root of the trouble.
type cause struct {
	rank    int
	reason  string
	message string
}

// podCause returns the most telling cause among the pods of a workload, or nil.
func (a *Applier) podCause(ctx context.Context, workload *unstructured.Unstructured) *cause {
	selector := podSelector(workload)
	if selector == nil || !isWorkload(workload.GroupVersionKind().GroupKind()) {
		return nil
	}
	return a.worstCause(ctx, workload.GetNamespace(), selector)
}

// worstCause returns the most telling cause among the pods that are selected, or nil.
func (a *Applier) worstCause(ctx context.Context, namespace string, selector labels.Selector) *cause {
	pods := unstructuredList(podKind)
	err := a.client.List(ctx, pods, client.InNamespace(namespace),
		client.MatchingLabelsSelector{Selector: selector}, client.Limit(podLimit))
	if err != nil {
		return nil
	}
	var causes []cause
	for _, item := range pods.Items {
		var pod corev1.Pod
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(item.Object, &pod); err == nil && pod.DeletionTimestamp == nil {
			causes = append(causes, causesOf(&pod)...)
		}
	}
	if len(causes) == 0 {
		return nil
	}
	worst := slices.MinFunc(causes, func(a, b cause) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.reason, b.reason), cmp.Compare(a.message, b.message))
	})
	return &worst
}

// podKind is the kind of Pods.
var podKind = corev1.SchemeGroupVersion.WithKind("Pod")

// unstructuredList returns an empty list of a kind.
func unstructuredList(kind schema.GroupVersionKind) *unstructured.UnstructuredList {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(listKind(kind))
	return list
}

// podSelector returns the selector of a workload's pods, or nil.
func podSelector(workload *unstructured.Unstructured) labels.Selector {
	spec, found, err := unstructured.NestedMap(workload.Object, "spec", "selector")
	if !found || err != nil {
		return nil
	}
	var selector metav1.LabelSelector
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(spec, &selector); err != nil {
		return nil
	}
	parsed, err := metav1.LabelSelectorAsSelector(&selector)
	if err != nil || parsed.Empty() {
		return nil
	}
	return parsed
}

// causesOf returns what keeps a pod from being ready; nothing for a ready pod.
func causesOf(pod *corev1.Pod) []cause {
	var causes []cause
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
			return nil
		}
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			causes = append(causes, cause{rank: 1, reason: c.Reason, message: c.Message})
		}
	}
	if pod.Status.Phase == corev1.PodFailed && pod.Status.Reason != "" {
		causes = append(causes, cause{rank: 2, reason: pod.Status.Reason, message: pod.Status.Message})
	}
	for _, statuses := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for i := range statuses {
			if c := containerCause(&statuses[i]); c != nil {
				causes = append(causes, *c)
			}
		}
	}
	return causes
}

// containerCause returns what keeps a container from being ready, or nil.
func containerCause(c *corev1.ContainerStatus) *cause {
	if waiting := c.State.Waiting; waiting != nil {
		switch waiting.Reason {
		case "ImagePullBackOff", "ErrImagePull":
			// The kubelet swings between the two.
			return &cause{rank: 0, reason: "ImagePullBackOff", message: fmt.Sprintf("container %q cannot pull image %q%s",
				c.Name, c.Image, pullTrouble(waiting.Message))}
		case "InvalidImageName", "ErrImageNeverPull", "ImageInspectError", "RegistryUnavailable":
			return &cause{rank: 0, reason: waiting.Reason, message: fmt.Sprintf("container %q cannot use image %q", c.Name, c.Image)}
		case "CreateContainerConfigError", "CreateContainerError", "RunContainerError":
			return &cause{rank: 0, reason: waiting.Reason, message: fmt.Sprintf("container %q: %s", c.Name, waiting.Message)}
		}
	}
	for _, ended := range []*corev1.ContainerStateTerminated{c.State.Terminated, c.LastTerminationState.Terminated} {
		if ended != nil && !c.Ready && (ended.ExitCode != 0 || c.RestartCount > 0) {
			// Whether the container is just running, has just ended or is being held back changes from one second to the next.
			return &cause{rank: 2, reason: "CrashLoopBackOff", message: fmt.Sprintf("container %q last exited with code %d (%s)",
				c.Name, ended.ExitCode, cmp.Or(ended.Reason, "no reason given"))}
		}
	}
	if waiting := c.State.Waiting; waiting != nil {
		return &cause{rank: 4, reason: cmp.Or(waiting.Reason, "Waiting"), message: fmt.Sprintf("container %q has not started", c.Name)}
	}
	if c.State.Running != nil && !c.Ready {
		return &cause{rank: 3, reason: "ContainerNotReady", message: fmt.Sprintf("container %q runs but its readiness probe does not succeed", c.Name)}
	}
	return nil
}

// pullTroubles are the ways in which pulling an image fails, by what container runtimes say of them. The full text names addresses and
// requests that change with each attempt. Numbers stand with their words: alone they are found in digests as well.
var pullTroubles = []struct{ says, means string }{
	{"unauthorized", "the registry refuses the credentials"},
	{"denied", "the registry denies access"},
	{"403 forbidden", "the registry denies access"},
	{"toomanyrequests", "the registry limits the rate of requests"},
	{"429 too many", "the registry limits the rate of requests"},
	{"x509", "the registry's certificate is not trusted"},
	{"no such host", "the registry's host name is unknown"},
	{"connection refused", "the registry refuses connections"},
	{"i/o timeout", "the registry does not answer"},
	{"deadline exceeded", "the registry does not answer"},
	{"not found", "there is no such image"},
	{"manifest unknown", "there is no such image"},
	{"no match for platform", "the image does not exist for this platform"},
}

// pullTrouble returns what is known of a failed pull, to be added to a sentence.
func pullTrouble(message string) string {
	message = strings.ToLower(message)
	for _, trouble := range pullTroubles {
		if strings.Contains(message, trouble.says) {
			return ": " + trouble.means
		}
	}
	return ""
}
