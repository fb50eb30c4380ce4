package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/log"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/apply"
)

const (
	// signalPatience is how long the pods of a deleted controller may take before they are asked once more. A pod whose process was not
	// ready for signals yet misses the first one and would stay for its whole grace period, ten minutes for helm-controller.
	signalPatience = 30 * time.Second
	// lastGrace is what such a pod is given to end in all, from the first time it was asked: no more than a second is left then.
	lastGrace = 10 * time.Second
)

// endOf is what the end of the instance means for Flux. A disabled instance is not acted upon, not even now.
func endOf(instance *v1.FluxInstance) v1.DeletionPolicy {
	if instance.IsDisabled() {
		return v1.Orphan
	}
	return instance.DeletionPolicy()
}

// divide returns which of the objects go and which stay at the end of an instance.
func divide(objects []*unstructured.Unstructured, policy v1.DeletionPolicy) (goes, stays []*unstructured.Unstructured) {
	groups := groupsOf(ofKind(objects, "CustomResourceDefinition"))
	for _, obj := range objects {
		if policy == v1.Orphan || policy == v1.DeleteControllers && outlivesControllers(obj, groups) {
			stays = append(stays, obj)
		} else {
			goes = append(goes, obj)
		}
	}
	return goes, stays
}

// outlivesControllers tells whether an object is of use without controllers: the definitions, the objects of their groups, the roles by which
// users see and edit those, and the namespace that they are in.
func outlivesControllers(obj *unstructured.Unstructured, groups []string) bool {
	switch obj.GetKind() {
	case "CustomResourceDefinition", "Namespace":
		return true
	case "ClusterRole":
		return strings.HasPrefix(obj.GetName(), "flux-view-") || strings.HasPrefix(obj.GetName(), "flux-edit-")
	default:
		return slices.Contains(groups, obj.GroupVersionKind().Group)
	}
}

// groupsOf returns the API groups of definitions, whose names are a plural and the group.
func groupsOf(definitions []*unstructured.Unstructured) []string {
	var groups []string
	for _, definition := range definitions {
		if _, group, ok := strings.Cut(definition.GetName(), "."); ok {
			groups = append(groups, group)
		}
	}
	return groups
}

// quiesce stops the controllers among the objects and releases the objects of the definitions among them from the finalizers of Flux: then
// nobody reacts when those objects go along with their definition, and what they deployed stays.
func (r *FluxInstanceReconciler) quiesce(ctx context.Context, objects []*unstructured.Unstructured) error {
	if err := r.stop(ctx, ofKind(objects, "Deployment")); err != nil {
		return fmt.Errorf("stopping the controllers: %w", err)
	}
	released, err := r.Applier.ReleaseFinalizers(ctx, namesOf(ofKind(objects, "CustomResourceDefinition")), nil)
	if err != nil {
		return fmt.Errorf("releasing Flux objects from their finalizers: %w", err)
	}
	log.FromContext(ctx).Info("released Flux objects from their finalizers", "count", released)
	return nil
}

// stop deletes controllers and waits until their pods are gone, also those of a controller that was deleted before.
func (r *FluxInstanceReconciler) stop(ctx context.Context, deployments []*unstructured.Unstructured) error {
	leaving, err := r.delete(ctx, deployments)
	if err != nil {
		return err
	}
	err = r.awaitGone(ctx, leaving, signalPatience)
	if _, late := errors.AsType[*apply.RemainingError](err); !late || ctx.Err() != nil {
		return err
	}
	ended, err := r.Applier.EndPods(ctx, leaving, lastGrace)
	if err != nil {
		return err
	}
	log.FromContext(ctx).Info("asked pods once more to end", "pods", ended, "grace", lastGrace)
	return r.awaitGone(ctx, leaving, goneTimeout)
}

// delete returns the objects that are going; what is exempt from pruning stays.
func (r *FluxInstanceReconciler) delete(ctx context.Context, objects []*unstructured.Unstructured) ([]*unstructured.Unstructured, error) {
	changes, _, err := r.Applier.Prune(ctx, objects)
	var leaving []*unstructured.Unstructured
	for _, change := range changes {
		if change.Action == apply.Deleted {
			leaving = append(leaving, change.Object)
		}
	}
	return leaving, err
}

func (r *FluxInstanceReconciler) awaitGone(ctx context.Context, objects []*unstructured.Unstructured, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return r.Applier.WaitGone(ctx, objects)
}

func ofKind(objects []*unstructured.Unstructured, kind string) []*unstructured.Unstructured {
	var matching []*unstructured.Unstructured
	for _, obj := range objects {
		if obj.GetKind() == kind {
			matching = append(matching, obj)
		}
	}
	return matching
}

func without(objects []*unstructured.Unstructured, kind string) []*unstructured.Unstructured {
	return slices.DeleteFunc(slices.Clone(objects), func(obj *unstructured.Unstructured) bool { return obj.GetKind() == kind })
}

func namesOf(objects []*unstructured.Unstructured) []string {
	names := make([]string, 0, len(objects))
	for _, obj := range objects {
		names = append(names, obj.GetName())
	}
	return names
}
