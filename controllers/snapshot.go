package controllers

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/log"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/inventory"
	"github.com/flux-autopilot/flux-operator/pkg/snapshot"
	"github.com/flux-autopilot/flux-operator/pkg/version"
)

// snapshotAge is how long a snapshot counts as one of what was there before an upgrade that is tried again and again.
const snapshotAge = 24 * time.Hour

// snapshot saves the instance and the objects of all definitions that are owned before the way to another minor begins, once for each such way:
// neither its next release nor another attempt after a failure saves what was changed on it. The way may begin with a Flux that is adopted.
func (r *FluxInstanceReconciler) snapshot(ctx context.Context, instance *v1.FluxInstance, status *statusWriter, run *attempt, owned inventory.Inventory) error {
	from, to := cmp.Or(run.from, adoptedVersion(instance)), run.heading
	if instance.KeptSnapshots() == 0 || from == "" || version.SameMinor(from, to) {
		return nil
	}
	kept, err := r.Snapshots.List(ctx)
	if err != nil {
		return retry(v1.ReasonSnapshotFailed, err)
	}
	for i := range kept {
		if kept[i].Upgrade == to && !kept[i].Created.Before(instance.CreationTimestamp.Time) && time.Since(kept[i].Created) < snapshotAge {
			return nil
		}
	}
	saved, err := r.Snapshots.Create(ctx, snapshot.Order{
		Flux: from, Upgrade: to, Progress: snapshotProgress(ctx, instance, status, run),
		// The upgrade changes no others, and the operator may not read every kind that somebody puts into a group of Flux.
		Definitions: namesOf(ofKind(owned.Objects(), "CustomResourceDefinition")),
	})
	if err != nil {
		return retry(v1.ReasonSnapshotFailed, err)
	}
	removed, err := r.Snapshots.Prune(ctx, instance.KeptSnapshots())
	if err != nil {
		// The upgrade does not need it: the next snapshot tries again.
		log.FromContext(ctx).Error(err, "removing old snapshots")
	}
	r.event(instance, corev1.EventTypeNormal, v1.ReasonProgressing, snapshotMessage(saved, removed))
	return nil
}

// snapshotProgress says how far a snapshot has come.
func snapshotProgress(ctx context.Context, instance *v1.FluxInstance, status *statusWriter, run *attempt) func(int) {
	told := time.Now()
	return func(objects int) {
		run.watched.Renew()
		if time.Since(told) < progressEvery {
			return
		}
		told = time.Now()
		proceed(instance, fmt.Sprintf("Saving a snapshot before the upgrade: %d objects so far", objects))
		_ = status.save(ctx, instance) // progress that is not told holds nothing up
	}
}

func snapshotMessage(saved *snapshot.Stored, removed []string) string {
	message := fmt.Sprintf("Saved %d objects in snapshot %s before the upgrade from %s to %s", saved.Objects, saved.Name, saved.Flux, saved.Upgrade)
	if len(saved.LeftOut) > 0 {
		message += "; left out objects of definitions that the instance does not own: " + someOf(saved.LeftOut)
	}
	if len(removed) > 0 {
		message += "; removed the older " + strings.Join(removed, ", ")
	}
	return message
}
