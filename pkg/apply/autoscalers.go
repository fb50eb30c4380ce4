package apply

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Fields names fields of objects, each as the names and list positions on the way to it.
type Fields map[ID][][]string

var (
	deploymentKind = schema.GroupKind{Group: "apps", Kind: "Deployment"}

	horizontalAutoscaler = schema.GroupVersionKind{Group: "autoscaling", Version: "v2", Kind: "HorizontalPodAutoscaler"}
	verticalAutoscaler   = schema.GroupVersionKind{Group: "autoscaling.k8s.io", Version: "v1", Kind: "VerticalPodAutoscaler"}
)

// horizontalManager is the field manager of what acts upon HorizontalPodAutoscalers.
const horizontalManager = "kube-controller-manager"

// autoscalerOff is how a VerticalPodAutoscaler says that it only recommends.
const autoscalerOff = "Off"

// maxAutoscalerPages bounds how many requests list the autoscalers of one kind in one namespace.
const maxAutoscalerPages = 20

// Leaving returns an Applier that leaves these fields to others as well as those that annotations name: they are set when the object is
// created, and never put back. What Autoscaled returns tells it of all autoscalers: replicas that one has set which is gone are taken back.
func (a *Applier) Leaving(fields Fields) *Applier {
	leaving := *a
	leaving.left = fields
	return &leaving
}

// Autoscaled returns the fields of Deployments that autoscalers of their namespace set: the replicas of one that a HorizontalPodAutoscaler
// targets, and the resources of containers that a VerticalPodAutoscaler sets. It lists both kinds once for each namespace that has
// Deployments, and makes no request without any. A kind that is not served has no objects.
func (a *Applier) Autoscaled(ctx context.Context, objects []*unstructured.Unstructured) (Fields, error) {
	deployments := map[ID]*unstructured.Unstructured{}
	namespaces := map[string]bool{}
	for _, obj := range objects {
		if id := IDOf(obj); id.GroupKind() == deploymentKind {
			deployments[id], namespaces[id.Namespace] = obj, true
		}
	}
	scaled := Fields{}
	var failures []error
	for _, namespace := range slices.Sorted(maps.Keys(namespaces)) {
		failures = append(failures,
			a.autoscalers(ctx, horizontalAutoscaler, namespace, func(scaler map[string]any) {
				if id := targetOf(scaler, namespace, "scaleTargetRef"); deployments[id] != nil {
					scaled[id] = append(scaled[id], []string{"spec", "replicas"})
				}
			}),
			a.autoscalers(ctx, verticalAutoscaler, namespace, func(scaler map[string]any) {
				if id := targetOf(scaler, namespace, "targetRef"); deployments[id] != nil {
					scaled[id] = append(scaled[id], resourcesSetBy(scaler, deployments[id])...)
				}
			}))
	}
	return scaled, errors.Join(failures...)
}

// autoscalers calls found with the spec of every object of a kind in a namespace.
func (a *Applier) autoscalers(ctx context.Context, kind schema.GroupVersionKind, namespace string, found func(spec map[string]any)) error {
	page := &unstructured.UnstructuredList{}
	next := ""
	for range maxAutoscalerPages {
		page.SetGroupVersionKind(listKind(kind))
		err := persist(ctx, patienceWith, func() error {
			return a.client.List(ctx, page, client.InNamespace(namespace), client.Limit(pageSize), client.Continue(next))
		})
		if isUnserved(err) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("listing each %s of namespace %q: %w", kind.Kind, namespace, err)
		}
		for i := range page.Items {
			if spec, ok := page.Items[i].Object["spec"].(map[string]any); ok && page.Items[i].GetDeletionTimestamp() == nil {
				found(spec)
			}
		}
		if next = page.GetContinue(); next == "" {
			return nil
		}
	}
	return fmt.Errorf("listing each %s of namespace %q: there are more than %d", kind.Kind, namespace, maxAutoscalerPages*pageSize)
}

// targetOf names the object that an autoscaler targets.
func targetOf(scaler map[string]any, namespace, ref string) ID {
	text := func(field string) string {
		value, _, _ := unstructured.NestedString(scaler, ref, field)
		return value
	}
	version, err := schema.ParseGroupVersion(text("apiVersion"))
	if err != nil {
		return ID{}
	}
	return ID{Group: version.Group, Kind: text("kind"), Namespace: namespace, Name: text("name")}
}

// resourcesSetBy returns the resources of the containers that a VerticalPodAutoscaler does more for than recommend.
func resourcesSetBy(scaler map[string]any, deployment *unstructured.Unstructured) [][]string {
	if mode, _, _ := unstructured.NestedString(scaler, "updatePolicy", "updateMode"); mode == autoscalerOff {
		return nil
	}
	modes := containerModes(scaler)
	containers, _, _ := unstructured.NestedSlice(deployment.Object, "spec", "template", "spec", "containers")
	var fields [][]string
	for i, item := range containers {
		container, _ := item.(map[string]any)
		name, _ := container["name"].(string)
		mode, named := modes[name]
		if !named {
			mode = modes["*"]
		}
		if mode != autoscalerOff {
			fields = append(fields, []string{"spec", "template", "spec", "containers", strconv.Itoa(i), "resources"})
		}
	}
	return fields
}

// containerModes returns what a VerticalPodAutoscaler says of single containers, and of all others by the name *.
func containerModes(scaler map[string]any) map[string]string {
	policies, _, _ := unstructured.NestedSlice(scaler, "resourcePolicy", "containerPolicies")
	modes := make(map[string]string, len(policies))
	for _, item := range policies {
		policy, _ := item.(map[string]any)
		name, _ := policy["containerName"].(string)
		modes[name], _ = policy["mode"].(string)
	}
	return modes
}
