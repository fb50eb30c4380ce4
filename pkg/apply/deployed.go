package apply

import (
	"context"
	"encoding/json"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// kustomizationKind is the kind of Flux's Kustomizations. When one is deleted, Flux removes what it deployed, as its deletion policy says; without
// a policy, which releases before 2.5 do not know, if it prunes.
var kustomizationKind = schema.GroupKind{Group: "kustomize.toolkit.fluxcd.io", Kind: "Kustomization"}

// removesDeployed tells whether the end of a Kustomization would be the end of what it deployed, and nobody said so in a policy.
func removesDeployed(obj *unstructured.Unstructured) bool {
	if obj.GroupVersionKind().GroupKind() != kustomizationKind {
		return false
	}
	policy, _, _ := unstructured.NestedString(obj.Object, "spec", "deletionPolicy")
	prunes, _, _ := unstructured.NestedBool(obj.Object, "spec", "prune")
	return policy == "" && prunes
}

// keepDeployed makes a live Kustomization, which is about to be deleted, leave what it deployed.
func (a *Applier) keepDeployed(ctx context.Context, obj *unstructured.Unstructured) error {
	if obj.GroupVersionKind().GroupKind() != kustomizationKind {
		return nil
	}
	live := reference(obj)
	if err := a.client.Get(ctx, client.ObjectKeyFromObject(obj), live); err != nil {
		return err
	}
	if !removesDeployed(live) {
		return nil
	}
	body, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": live.GetResourceVersion()},
		"spec":     map[string]any{"prune": false},
	})
	if err != nil {
		return fmt.Errorf("encoding a patch: %w", err)
	}
	return a.client.Patch(ctx, metadataOf(obj), client.RawPatch(types.MergePatchType, body), client.FieldOwner(a.manager))
}

// mayRevive returns an error where applying would have Flux remove what was deployed after all: when a Kustomization of the same name is still on
// its way out.
func (a *Applier) mayRevive(ctx context.Context, obj *unstructured.Unstructured) error {
	if !removesDeployed(obj) {
		return nil
	}
	live := metadataOf(obj)
	err := a.client.Get(ctx, client.ObjectKeyFromObject(obj), live)
	if apierrors.IsNotFound(err) || isUnserved(err) {
		return nil
	}
	if err == nil && live.DeletionTimestamp != nil {
		return errLeaving
	}
	return err
}
