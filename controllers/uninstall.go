package controllers

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/apply"
	"github.com/flux-autopilot/flux-operator/pkg/inventory"
)

const (
	// goneTimeout bounds each wait for deleted objects to disappear.
	goneTimeout = 5 * time.Minute
	// signalPatience is how long the pods of a deleted controller may take before they are asked once more. A pod whose process was not
	// ready for signals yet misses the first one and would stay for its whole grace period, ten minutes for helm-controller.
	signalPatience = 30 * time.Second
	// lastGrace is what such a pod is given to end in all, from the first time it was asked: no more than a second is left then.
	lastGrace = 10 * time.Second
)

// finalize removes what the instance installed and then lets the instance go. The finalizer stays until everything is done.
// A disabled instance is let go at once and leaves Flux running: the documented way to part with the operator.
func (r *FluxInstanceReconciler) finalize(ctx context.Context, instance *v1.FluxInstance) (ctrl.Result, error) {
	if !controllerutil.ContainsFinalizer(instance, v1.Finalizer) {
		return ctrl.Result{}, nil
	}
	r.last = nil
	status := newStatusWriter(r.Client, instance)
	if !instance.IsDisabled() {
		if err := r.uninstall(ctx, instance, status); err != nil {
			return r.concludeUninstall(ctx, instance, status, err)
		}
	}
	if err := r.owned.follow(ctx, nil); err != nil {
		return ctrl.Result{}, err
	}
	controllerutil.RemoveFinalizer(instance, v1.Finalizer)
	return ctrl.Result{}, r.saveFinalizers(ctx, instance)
}

// uninstall stops the controllers first, so that nobody reacts to the rest: releases Flux's objects from their finalizers, which keeps
// what they deployed, and deletes everything that is owned.
func (r *FluxInstanceReconciler) uninstall(ctx context.Context, instance *v1.FluxInstance, status *statusWriter) error {
	owned, err := inventory.FromStatus(instance.Status.Inventory)
	if err != nil {
		return fmt.Errorf("reading status.inventory: %w", err)
	}
	if owned.Len() == 0 {
		return nil
	}
	// From here on drift is wanted.
	if err := r.owned.follow(ctx, nil); err != nil {
		return err
	}
	objects := owned.Objects()
	progress(instance, v1.ReasonUninstalling, fmt.Sprintf("Uninstalling Flux: %d objects to remove", len(objects)))
	if err := status.save(ctx, instance); err != nil {
		return err
	}
	if err := r.quiesce(ctx, objects); err != nil {
		return err
	}
	if err := r.remove(ctx, objects); err != nil {
		return err
	}
	r.event(instance, corev1.EventTypeNormal, v1.ReasonUninstalled, fmt.Sprintf("Flux uninstalled: %d objects removed; what Flux deployed keeps running", len(objects)))
	return nil
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

// remove deletes objects and waits until they are gone.
func (r *FluxInstanceReconciler) remove(ctx context.Context, objects []*unstructured.Unstructured) error {
	leaving, err := r.delete(ctx, objects)
	if err != nil {
		return err
	}
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

func (r *FluxInstanceReconciler) concludeUninstall(ctx context.Context, instance *v1.FluxInstance, status *statusWriter, err error) (ctrl.Result, error) {
	if ctx.Err() != nil {
		return ctrl.Result{}, ctx.Err()
	}
	f := asFailure(retry(v1.ReasonUninstallFailed, err))
	fail(instance, f)
	r.event(instance, corev1.EventTypeWarning, f.reason, f.Error())
	return ctrl.Result{}, errors.Join(f, status.save(ctx, instance))
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

func namesOf(objects []*unstructured.Unstructured) []string {
	names := make([]string, 0, len(objects))
	for _, obj := range objects {
		names = append(names, obj.GetName())
	}
	return names
}
