package controllers

import (
	"context"
	"errors"
	"fmt"

	authorizationv1 "k8s.io/api/authorization/v1"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/preflight"
	"github.com/flux-autopilot/flux-operator/pkg/render"
)

// facts returns what is known of the cluster, with its version, the rights that are missing while nothing is installed, and the volume claims as
// they are now, when the set may change something: for what was applied before nobody is asked, and it is not judged by them.
func (r *FluxInstanceReconciler) facts(ctx context.Context, instance *v1.FluxInstance, set *render.Set) (preflight.Facts, error) {
	facts := r.Facts
	if set.Revision.String() == instance.Status.LastAppliedRevision {
		return facts, nil
	}
	var err error
	if facts.Forbidden, err = r.forbidden(ctx, instance, set); err != nil {
		return facts, err
	}
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

// forbidden names a cluster role of the set that the operator may not change, empty where it may. The operator has its rights in the cluster by
// name, and the names end with the namespace, so that one of them tells of all; those that it comes with are for v1.DefaultNamespace, where nobody is
// asked. It is asked while nothing is owned: what is written into the inventory has to be deleted before the instance can go, and that would be
// forbidden as well.
func (r *FluxInstanceReconciler) forbidden(ctx context.Context, instance *v1.FluxInstance, set *render.Set) (string, error) {
	roles := ofKind(set.Objects, "ClusterRole")
	owns := instance.Status.Inventory != nil && len(instance.Status.Inventory.Entries) > 0
	if len(roles) == 0 || owns || instance.Namespace == v1.DefaultNamespace {
		return "", nil
	}
	name := roles[0].GetName()
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Group: roles[0].GroupVersionKind().Group, Resource: "clusterroles", Name: name, Verb: "patch",
		},
	}}
	if err := r.Client.Create(ctx, review); err != nil {
		return "", fmt.Errorf("asking whether the operator may change ClusterRole %q: %w", name, err)
	}
	if review.Status.Allowed {
		return "", nil
	}
	return name, nil
}

// judged is what becomes of a set that preflight refuses: the pass waits for somebody to change the instance, or is tried again where
// the reason may go away without that.
func judged(err error) error {
	if violation, ok := errors.AsType[*preflight.Violation](err); ok && violation.Passing {
		return retry(v1.ReasonPreflightFailed, err)
	}
	return stall(v1.ReasonPreflightFailed, err)
}
