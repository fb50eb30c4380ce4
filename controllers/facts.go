package controllers

import (
	"context"
	"fmt"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/preflight"
	"github.com/flux-autopilot/flux-operator/pkg/render"
)

// facts returns what is known of the cluster, with its version and the volume claims as they are now when the set may change something: for what
// was applied before nobody is asked, and it is not judged by them.
func (r *FluxInstanceReconciler) facts(ctx context.Context, instance *v1.FluxInstance, set *render.Set) (preflight.Facts, error) {
	facts := r.Facts
	if set.Revision.String() == instance.Status.LastAppliedRevision {
		return facts, nil
	}
	var err error
	if r.Server != nil {
		if facts.KubernetesVersion, err = r.Server.judge(ctx); err != nil {
			return facts, err
		}
	}
	claims := ofKind(set.Objects, "PersistentVolumeClaim")
	if len(claims) == 0 {
		return facts, nil
	}
	if facts.Claims, err = r.Applier.Read(ctx, claims); err != nil {
		return facts, fmt.Errorf("looking at the volume claims: %w", err)
	}
	return facts, nil
}
