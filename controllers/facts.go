package controllers

import (
	"context"
	"fmt"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/preflight"
	"github.com/flux-autopilot/flux-operator/pkg/render"
)

// facts returns what is known of the cluster, with its version and the volume claims as they are now when the set may change something: for what
// was applied before nobody is asked.
func (r *FluxInstanceReconciler) facts(ctx context.Context, instance *v1.FluxInstance, set *render.Set) (preflight.Facts, error) {
	facts, err := r.Facts, error(nil)
	applied := set.Revision.String() == instance.Status.LastAppliedRevision
	switch {
	case r.Server == nil:
	case applied:
		facts.KubernetesVersion = r.Server.version()
	default:
		if facts.KubernetesVersion, err = r.Server.judge(ctx); err != nil {
			return facts, err
		}
	}
	claims := ofKind(set.Objects, "PersistentVolumeClaim")
	if len(claims) == 0 || applied {
		return facts, nil
	}
	if facts.Claims, err = r.Applier.Read(ctx, claims); err != nil {
		return facts, fmt.Errorf("looking at the volume claims: %w", err)
	}
	return facts, nil
}
