package apply

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// podsOf returns what lists the pods of the workloads among the objects.
func podsOf(objects []*unstructured.Unstructured) []goal {
	workloads := map[string]map[ID]bool{}
	for _, obj := range objects {
		if !isWorkload(obj.GroupVersionKind().GroupKind()) {
			continue
		}
		if workloads[obj.GetNamespace()] == nil {
			workloads[obj.GetNamespace()] = map[ID]bool{}
		}
		workloads[obj.GetNamespace()][IDOf(obj)] = true
	}
	var found []goal
	for namespace, ids := range workloads {
		found = append(found, goal{
			selection: selection{kind: podKind, namespace: namespace},
			means:     func(live *metav1.PartialObjectMetadata) bool { return runsFor(live, ids) },
		})
	}
	return found
}

// runsFor tells whether a pod belongs to one of the workloads. The pods of a Deployment belong to a ReplicaSet which is named after the
// Deployment and the hash that the pod is labelled with; so a pod says whose it is even when both are gone.
func runsFor(pod *metav1.PartialObjectMetadata, workloads map[ID]bool) bool {
	owner := metav1.GetControllerOfNoCopy(pod)
	if owner == nil {
		return false
	}
	kind := schema.FromAPIVersionAndKind(owner.APIVersion, owner.Kind).GroupKind()
	id := ID{Group: kind.Group, Kind: kind.Kind, Namespace: pod.Namespace, Name: owner.Name}
	if workloads[id] {
		return true
	}
	hash := pod.Labels[appsv1.DefaultDeploymentUniqueLabelKey]
	deployment, named := strings.CutSuffix(owner.Name, "-"+hash)
	id.Kind, id.Name = "Deployment", deployment
	return kind.Kind == "ReplicaSet" && named && hash != "" && workloads[id]
}

// EndPods deletes the pods that WaitGone waits for, those that are being deleted already too, and leaves them no more than the grace period to
// end, counted from when they were deleted first. It returns the pods it asked to end. Pods that disappear meanwhile are fine; of the others that cannot be deleted, the error joins an
// *ObjectError each.
func (a *Applier) EndPods(ctx context.Context, workloads []*unstructured.Unstructured, grace time.Duration) ([]ID, error) {
	var ended []ID
	var failures []error
	for _, g := range podsOf(workloads) {
		pods := &metav1.PartialObjectMetadataList{}
		pods.SetGroupVersionKind(listKind(g.kind))
		if err := persist(ctx, patienceWith, func() error { return a.client.List(ctx, pods, g.options()...) }); err != nil {
			failures = append(failures, fmt.Errorf("listing pods in namespace %q: %w", g.namespace, err))
			continue
		}
		for i := range pods.Items {
			pod := &pods.Items[i]
			if !g.means(pod) {
				continue
			}
			// A list does not name the kind of its items.
			pod.SetGroupVersionKind(g.kind)
			err := persist(ctx, patienceWith, func() error {
				return a.client.Delete(ctx, pod, client.GracePeriodSeconds(int64(grace.Seconds())), client.Preconditions{UID: &pod.UID})
			})
			switch {
			case err == nil:
				ended = append(ended, IDOf(pod))
			case !apierrors.IsNotFound(err):
				failures = append(failures, objectError(IDOf(pod), err))
			}
		}
	}
	return ended, errors.Join(failures...)
}
