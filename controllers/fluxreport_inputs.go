package controllers

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/inventory"
	"github.com/flux-autopilot/flux-operator/pkg/report"
)

const (
	// factsTimeout bounds the requests for what no watch tells.
	factsTimeout = 10 * time.Second
	// entitlementName is the Secret that says who issued the entitlement, and vendorKey the key in it.
	entitlementName = "flux-operator-entitlement"
	vendorKey       = "vendor"
	// causePatience is how long a controller may be not ready before its pods are asked why; starting takes some seconds always.
	causePatience = 10 * time.Second
)

// componentLabel and componentValue are on the Deployments of Flux, whatever installed it.
const componentLabel, componentValue = "app.kubernetes.io/part-of", "flux"

// inputs gathers what a report says beside the objects of Flux.
func (r *FluxReportReconciler) inputs(ctx context.Context, interval time.Duration, requested bool) report.Inputs { //nolint:revive // flag-parameter: as the user asked
	now := time.Now()
	// What was learnt of the cluster's type is told at once: it is what the operator's next process remembers.
	learnt := r.Platform.Known() != r.slow.cluster.Value.Type
	if requested || learnt || now.Sub(r.slow.at) >= interval {
		r.slow = r.readSlow(ctx, now)
	}
	instance := r.instance(ctx)
	return report.Inputs{
		Now:        now,
		Namespace:  r.Namespace,
		Instance:   instance,
		Components: r.findComponents(ctx, now, r.ownedDeployments(instance.Value)),
		Cluster:    r.slow.cluster,
		Operator:   r.Operator,
		Vendor:     r.slow.vendor,
	}
}

// slowFacts are what no watch tells, and when they were read.
type slowFacts struct {
	at      time.Time
	cluster report.Read[v1.ClusterInfo]
	vendor  string
}

// readSlow looks at the version of the API server and the type of the cluster, counts the nodes, and looks for the entitlement.
func (r *FluxReportReconciler) readSlow(ctx context.Context, now time.Time) slowFacts {
	ctx, cancel := context.WithTimeout(ctx, factsTimeout)
	defer cancel()
	found := slowFacts{at: now}
	var unasked, uncounted, untyped error
	found.cluster.Value, unasked = r.Server.Look(ctx)
	found.cluster.Value.Nodes, uncounted = r.countNodes(ctx)
	if r.Platform != nil {
		_, untyped = r.Platform.Type(ctx)
		found.cluster.Value.Type = r.Platform.Known()
	}
	found.cluster.Err = errors.Join(unasked, uncounted, untyped)
	secret := &corev1.Secret{}
	err := r.Reader.Get(ctx, client.ObjectKey{Namespace: r.Namespace, Name: entitlementName}, secret)
	if err == nil {
		found.vendor = string(secret.Data[vendorKey])
	} else if !apierrors.IsNotFound(err) {
		found.vendor = r.slow.vendor
	}
	return found
}

// countNodes reads one node and how many there are besides.
func (r *FluxReportReconciler) countNodes(ctx context.Context) (int, error) {
	nodes := &metav1.PartialObjectMetadataList{}
	nodes.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("NodeList"))
	if err := r.Reader.List(ctx, nodes, client.Limit(1)); err != nil {
		return 0, fmt.Errorf("counting the nodes: %w", err)
	}
	count := len(nodes.Items)
	if nodes.RemainingItemCount != nil {
		count += int(*nodes.RemainingItemCount)
	}
	return count, nil
}

// instance reads the FluxInstance; none is no error.
func (r *FluxReportReconciler) instance(ctx context.Context) report.Read[*v1.FluxInstance] {
	instance := &v1.FluxInstance{}
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: r.Namespace, Name: v1.DefaultInstanceName}, instance)
	if apierrors.IsNotFound(err) {
		return report.Read[*v1.FluxInstance]{}
	}
	return report.Read[*v1.FluxInstance]{Value: instance, Err: err}
}

// ownedDeployments are the names of those that an instance installed. Somebody may take their labels away, so these do not tell alone.
func (r *FluxReportReconciler) ownedDeployments(instance *v1.FluxInstance) map[string]bool {
	names := map[string]bool{}
	if instance == nil {
		return names
	}
	owned, _ := inventory.FromStatus(instance.Status.Inventory) // what of it cannot be read is the instance's to tell
	for _, object := range owned.Objects() {
		if object.GetKind() == "Deployment" && object.GetNamespace() == r.Namespace {
			names[object.GetName()] = true
		}
	}
	return names
}

// findComponents describes the controllers, and of those that are not ready for a while what keeps their pods from running.
func (r *FluxReportReconciler) findComponents(ctx context.Context, now time.Time, owned map[string]bool) report.Read[[]report.Component] {
	deployments := &appsv1.DeploymentList{}
	if err := r.Client.List(ctx, deployments, client.InNamespace(r.Namespace)); err != nil {
		return report.Read[[]report.Component]{Err: fmt.Errorf("listing the controllers: %w", err)}
	}
	var found []report.Component
	waiting := map[string]bool{}
	for i := range deployments.Items {
		deployment := &deployments.Items[i]
		if !owned[deployment.Name] && deployment.Labels[componentLabel] != componentValue {
			continue
		}
		component := report.ComponentOf(deployment, "")
		if !component.Ready {
			waiting[component.Name] = true
			if r.late.isLate(component.Name, now) {
				component.Cause = r.Applier.Cause(ctx, deployment.Namespace, deployment.Spec.Selector)
			}
		}
		found = append(found, component)
	}
	r.late.keep(waiting)
	return report.Read[[]report.Component]{Value: found}
}

// lateness knows since when controllers are not ready.
type lateness struct {
	mu    sync.Mutex
	since map[string]time.Time
}

// isLate tells whether a controller that is not ready has been so for a while.
func (l *lateness) isLate(name string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.since == nil {
		l.since = map[string]time.Time{}
	}
	since, known := l.since[name]
	if !known {
		l.since[name] = now
		return false
	}
	return now.Sub(since) >= causePatience
}

// keep forgets all controllers but these.
func (l *lateness) keep(names map[string]bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name := range l.since {
		if !names[name] {
			delete(l.since, name)
		}
	}
}

// some tells whether a controller is not ready.
func (l *lateness) some() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.since) > 0
}
