package controllers

import (
	"context"
	"fmt"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/preflight"
	"github.com/flux-autopilot/flux-operator/pkg/render"
)

// facts returns what is known of the cluster, with the volume claims as they are when the set may change them.
func (r *FluxInstanceReconciler) facts(ctx context.Context, instance *v1.FluxInstance, set *render.Set) (preflight.Facts, error) {
	facts := r.Facts
	claims := ofKind(set.Objects, "PersistentVolumeClaim")
	if len(claims) == 0 || set.Revision.String() == instance.Status.LastAppliedRevision {
		return facts, nil
	}
	var err error
	if facts.Claims, err = r.Applier.Read(ctx, claims); err != nil {
		return facts, fmt.Errorf("looking at the volume claims: %w", err)
	}
	return facts, nil
}
