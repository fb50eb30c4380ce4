package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	. "github.com/onsi/ginkgo/v2"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-autopilot/flux-operator/test/site"
)

// fluxObject is an empty object, or an empty list, of one of Flux's kinds.
func fluxObject(kind string) *unstructured.Unstructured {
	obj := &unstructured.Unstructured{}
	obj.SetKind(kind)
	switch strings.TrimSuffix(kind, "List") {
	case "Kustomization":
		obj.SetAPIVersion("kustomize.toolkit.fluxcd.io/v1")
	case "ArtifactGenerator":
		obj.SetAPIVersion("source.extensions.fluxcd.io/v1beta1")
	default:
		obj.SetAPIVersion("source.toolkit.fluxcd.io/v1")
	}
	return obj
}

// ofSync is an object that the instance's sync is made of, without content.
func ofSync(kind string) *unstructured.Unstructured {
	obj := fluxObject(kind)
	obj.SetNamespace(site.Namespace)
	obj.SetName(site.Namespace)
	return obj
}

// nameOf tells an object of Flux from others in a message.
func nameOf(obj *unstructured.Unstructured) string {
	return obj.GetKind() + " " + obj.GetNamespace() + "/" + obj.GetName()
}

// fluxStatus is what Flux's objects have in common.
type fluxStatus struct {
	Conditions             []metav1.Condition `json:"conditions"`
	Artifact               *meta.Artifact     `json:"artifact"`
	LastHandledReconcileAt string             `json:"lastHandledReconcileAt"`
}

// statusOf reads an object and returns what its status says.
func statusOf(ctx context.Context, obj *unstructured.Unstructured) (fluxStatus, error) {
	if err := here.Client.Get(ctx, client.ObjectKeyFromObject(obj), obj); err != nil {
		return fluxStatus{}, err
	}
	content, _, err := unstructured.NestedMap(obj.Object, "status")
	if err != nil {
		return fluxStatus{}, err
	}
	var status fluxStatus
	err = runtime.DefaultUnstructuredConverter.FromUnstructured(content, &status)
	return status, err
}

// readiness is the condition Ready of an object's present generation, once its controller has made up its mind.
func readiness(ctx context.Context, obj *unstructured.Unstructured) (fluxStatus, *metav1.Condition, error) {
	status, err := statusOf(ctx, obj)
	if err != nil {
		return status, nil, err
	}
	condition := apimeta.FindStatusCondition(status.Conditions, meta.ReadyCondition)
	if condition == nil || condition.ObservedGeneration != obj.GetGeneration() || condition.Status == metav1.ConditionUnknown {
		return status, nil, fmt.Errorf("its controller has not finished generation %d: %+v", obj.GetGeneration(), condition)
	}
	return status, condition, nil
}

// fluxReady waits until an object of Flux is ready and returns its status. A controller may have to wait for the lease of one that could not give it back.
func fluxReady(ctx context.Context, obj *unstructured.Unstructured) fluxStatus {
	GinkgoHelper()
	var found fluxStatus
	eventually(ctx, installLimit, nameOf(obj)+" to be ready", func(ctx context.Context) error {
		status, condition, err := readiness(ctx, obj)
		if err != nil {
			return err
		}
		if condition.Status != metav1.ConditionTrue {
			return errors.New(condition.Reason + ": " + condition.Message)
		}
		found = status
		return nil
	})
	return found
}

// handled asks the controllers to look at objects now, as "flux reconcile" does, and waits until they have. The operator must leave the
// annotation alone.
func handled(ctx context.Context, objects ...*unstructured.Unstructured) {
	GinkgoHelper()
	now := time.Now().Format(time.RFC3339Nano)
	patch := fmt.Sprintf(`{"metadata": {"annotations": {%q: %q}}}`, meta.ReconcileRequestAnnotation, now)
	for _, obj := range objects {
		must(here.Client.Patch(ctx, obj, client.RawPatch(types.MergePatchType, []byte(patch))))
	}
	for _, obj := range objects {
		eventually(ctx, installLimit, nameOf(obj)+" to be looked at", func(ctx context.Context) error {
			status, err := statusOf(ctx, obj)
			if err == nil && status.LastHandledReconcileAt != now {
				err = fmt.Errorf("handled is %q, asked for %q, annotations %q", status.LastHandledReconcileAt, now, obj.GetAnnotations())
			}
			return err
		})
	}
}

// requestSync asks for a look at the fleet repository.
func requestSync(ctx context.Context) {
	GinkgoHelper()
	handled(ctx, ofSync("GitRepository"))
}
