package controllers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/artifact"
	"github.com/flux-autopilot/flux-operator/pkg/inventory"
	"github.com/flux-autopilot/flux-operator/pkg/render"
)

// heal puts back what somebody changed of what runs, while the spec asks for something that cannot be had. It knows what runs from the last pass
// that succeeded, unless something else was applied since, and from nothing that was before the start of the process.
func (r *FluxInstanceReconciler) heal(ctx context.Context, instance *v1.FluxInstance, run *attempt, catalog *artifact.Catalog) error {
	if r.last == nil || r.last.uid != instance.UID || r.last.spec == nil {
		return nil
	}
	owned, err := inventory.FromStatus(instance.Status.Inventory)
	if err != nil || len(r.drifted(ctx, owned.Objects())) == 0 {
		return nil //nolint:nilerr // an inventory that cannot be read is what the pass failed with
	}
	platform, err := r.Platform.Look(ctx)
	if err != nil {
		return err
	}
	running := instance.DeepCopy()
	running.Spec = *r.last.spec.DeepCopy()
	set, err := platform.Render(catalog.FS, r.last.revision.Version, running)
	if err != nil || set.Revision != r.last.revision {
		return nil //nolint:nilerr // what it was rendered from is gone
	}
	_, err = r.repair(ctx, running, run, set)
	return err
}

// awaitReady waits until what was applied is ready, unless the spec says not to, and puts back what somebody changes meanwhile: an object
// that is gone would be waited for in vain. What is contested is not waited for.
func (r *FluxInstanceReconciler) awaitReady(ctx context.Context, instance *v1.FluxInstance, run *attempt, set *render.Set) error {
	if !instance.Wait() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, instance.Timeout())
	defer cancel()
	for idle := 0; idle < maxRepairs; {
		err := r.waitOnce(ctx, instance, run, set)
		if !errors.Is(err, errDrifted) {
			return err
		}
		done, err := r.repair(ctx, instance, run, set)
		if err != nil {
			return err
		}
		if !done {
			idle++
		}
	}
	return retry(v1.ReasonHealthCheckFailed, fmt.Errorf("%w, %d times while it was waited for", errDrifted, maxRepairs))
}

// waitOnce waits until everything is ready, the time is over, the spec changes or an owned object drifts.
func (r *FluxInstanceReconciler) waitOnce(ctx context.Context, instance *v1.FluxInstance, run *attempt, set *render.Set) error {
	key := client.ObjectKeyFromObject(instance)
	waiting, end := r.interrupts.begin(ctx, key)
	defer end()
	if r.superseded(ctx, instance, run) {
		return retry(v1.ReasonHealthCheckCanceled, errSuperseded)
	}
	err := r.Applier.Wait(waiting, r.uncontested(set.Objects, time.Now()))
	switch cause := context.Cause(waiting); {
	case err == nil:
		return nil
	case errors.Is(cause, errSuperseded):
		return retry(v1.ReasonHealthCheckCanceled, errSuperseded)
	case errors.Is(cause, errDrifted):
		return errDrifted
	}
	return retry(v1.ReasonHealthCheckFailed, err)
}

// superseded tells whether a newer spec, artifact or authority arrived before the wait began, and so found nobody to interrupt; it is known already.
func (r *FluxInstanceReconciler) superseded(ctx context.Context, instance *v1.FluxInstance, run *attempt) bool {
	current := &v1.FluxInstance{}
	if err := r.Client.Get(ctx, client.ObjectKeyFromObject(instance), current); err != nil {
		return false
	}
	latest := r.Artifacts.latest(instance)
	return current.Generation != instance.Generation || latest.err == nil && !latest.same(run.look) || r.Platform.outdated()
}
