package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// becomeAvailable plays the part of controllers and nodes: the Deployment reports that its pods are available.
func (c *cluster) becomeAvailable(ctx context.Context, deployment *appsv1.Deployment) error {
	base := deployment.DeepCopy()
	deployment.Status = appsv1.DeploymentStatus{
		ObservedGeneration: deployment.Generation, Replicas: 1, UpdatedReplicas: 1, ReadyReplicas: 1, AvailableReplicas: 1,
		Conditions: []appsv1.DeploymentCondition{
			{Type: appsv1.DeploymentAvailable, Status: corev1.ConditionTrue, Reason: "MinimumReplicasAvailable"},
			{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionTrue, Reason: "NewReplicaSetAvailable"},
		},
	}
	if err := c.admin.Status().Patch(ctx, deployment, client.MergeFrom(base)); err != nil {
		return fmt.Errorf("reporting that Deployment %q is available: %w", deployment.Name, err)
	}
	return nil
}

// rolling tells whether a Deployment waits for its pods.
func rolling(deployment *appsv1.Deployment) bool {
	return deployment.DeletionTimestamp.IsZero() && deployment.Status.ObservedGeneration != deployment.Generation
}

// playNodes makes every Deployment of Flux available as soon as it appears, until stopped.
func (c *cluster) playNodes(ctx context.Context) (stop func() error, err error) {
	events, err := c.admin.Watch(ctx, &appsv1.DeploymentList{}, client.InNamespace(v1.DefaultNamespace))
	if err != nil {
		return nil, fmt.Errorf("watching Deployments: %w", err)
	}
	done := make(chan error, 1)
	go func() {
		var failed error
		for event := range events.ResultChan() {
			if deployment, ok := event.Object.(*appsv1.Deployment); ok && rolling(deployment) {
				failed = errors.Join(failed, client.IgnoreNotFound(c.becomeAvailable(ctx, deployment)))
			}
		}
		done <- failed
	}()
	return func() error {
		events.Stop()
		return <-done
	}, nil
}

// awaitRolling returns when this many Deployments wait for their pods.
func (c *cluster) awaitRolling(ctx context.Context, wanted int) ([]appsv1.Deployment, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var waiting []appsv1.Deployment
	err := c.group.Await(ctx, "Deployments to change", func(ctx context.Context) error {
		list := &appsv1.DeploymentList{}
		if err := c.admin.List(ctx, list, client.InNamespace(v1.DefaultNamespace)); err != nil {
			return err
		}
		waiting = nil
		for _, deployment := range list.Items {
			if rolling(&deployment) {
				waiting = append(waiting, deployment)
			}
		}
		if len(waiting) != wanted {
			return fmt.Errorf("%d of %d changed", len(waiting), wanted)
		}
		return nil
	})
	return waiting, err
}
