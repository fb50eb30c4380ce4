package site

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/tools"
)

// clearLimit bounds the removal of what an earlier run left in a kept cluster.
const clearLimit = 3 * time.Minute

// Sample returns the instance of config/samples, which is that of the README, with nothing changed but the address of its repository.
func (s *Site) Sample() (*v1.FluxInstance, error) {
	root, err := tools.Root()
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(filepath.Join(root, "config", "samples", "fluxcd_v1_fluxinstance.yaml"))
	if err != nil {
		return nil, fmt.Errorf("reading the sample instance: %w", err)
	}
	instance := &v1.FluxInstance{}
	if err := yaml.UnmarshalStrict(data, instance); err != nil {
		return nil, fmt.Errorf("reading the sample instance: %w", err)
	}
	if instance.Spec.Sync == nil || instance.Spec.Sync.PullSecret != PullSecret {
		return nil, fmt.Errorf("reading the sample instance: it does not sync with the secret %q", PullSecret)
	}
	instance.Spec.Sync.URL = s.FleetURL()
	return instance, nil
}

// Instance returns the instance as it is now.
func (s *Site) Instance(ctx context.Context) (*v1.FluxInstance, error) {
	instance := &v1.FluxInstance{}
	err := s.Client.Get(ctx, client.ObjectKey{Namespace: Namespace, Name: v1.DefaultInstanceName}, instance)
	return instance, err
}

// Change edits the instance and returns it as it is afterwards.
func (s *Site) Change(ctx context.Context, edit func(*v1.FluxInstance)) (*v1.FluxInstance, error) {
	instance, err := s.Instance(ctx)
	if err != nil {
		return nil, err
	}
	before := instance.DeepCopy()
	edit(instance)
	if err := s.Client.Patch(ctx, instance, client.MergeFrom(before), fieldOwner); err != nil {
		return nil, fmt.Errorf("changing the FluxInstance: %w", err)
	}
	return instance, nil
}

// AwaitReady waits until the operator has finished the instance's present generation successfully, and returns it.
func (s *Site) AwaitReady(ctx context.Context, limit time.Duration) (*v1.FluxInstance, error) {
	var instance *v1.FluxInstance
	err := s.Await(ctx, limit, "the FluxInstance to be ready", func(ctx context.Context) error {
		var err error
		if instance, err = s.Instance(ctx); err != nil {
			return err
		}
		return Ready(instance)
	})
	return instance, err
}

// Ready returns nil when the operator has finished the instance's present generation successfully, else what it says instead.
func Ready(instance *v1.FluxInstance) error {
	ready := apimeta.FindStatusCondition(instance.Status.Conditions, meta.ReadyCondition)
	switch {
	case ready == nil:
		return errors.New("the FluxInstance has no condition Ready")
	case ready.ObservedGeneration != instance.Generation:
		return fmt.Errorf("the operator has seen generation %d of %d", ready.ObservedGeneration, instance.Generation)
	case ready.Status != metav1.ConditionTrue:
		return fmt.Errorf("Ready is %s, %s: %s", ready.Status, ready.Reason, ready.Message)
	}
	return nil
}

// AwaitFailure waits until the operator says of the instance's present generation that it cannot be had, for the given reason, and with all the words:
// where it goes on trying it may say something else at first.
func (s *Site) AwaitFailure(ctx context.Context, limit time.Duration, reason string, words ...string) (*v1.FluxInstance, error) {
	var instance *v1.FluxInstance
	err := s.Await(ctx, limit, "the FluxInstance to fail with "+reason, func(ctx context.Context) error {
		var err error
		if instance, err = s.Instance(ctx); err != nil {
			return err
		}
		ready := apimeta.FindStatusCondition(instance.Status.Conditions, meta.ReadyCondition)
		if ready == nil || ready.Status != metav1.ConditionFalse || ready.Reason != reason || ready.ObservedGeneration != instance.Generation {
			return fmt.Errorf("the condition Ready is %+v at generation %d", ready, instance.Generation)
		}
		for _, word := range words {
			if !strings.Contains(ready.Message, word) {
				return fmt.Errorf("the condition Ready says nothing of %q: %s", word, ready.Message)
			}
		}
		return nil
	})
	return instance, err
}

// Delete deletes an object and waits until it is gone. It is no error when it was gone already.
func (s *Site) Delete(ctx context.Context, limit time.Duration, obj client.Object) error {
	err := s.Client.Delete(ctx, obj)
	if apierrors.IsNotFound(err) || apimeta.IsNoMatchError(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("deleting %T %q: %w", obj, obj.GetName(), err)
	}
	return s.Await(ctx, limit, fmt.Sprintf("%T %q to be gone", obj, obj.GetName()), func(ctx context.Context) error {
		err := s.Client.Get(ctx, client.ObjectKeyFromObject(obj), obj)
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(err, fmt.Errorf("it is still there, with finalizers %q", obj.GetFinalizers()))
	})
}

// DeleteInstance deletes the FluxInstance and waits until the operator has let it go.
func (s *Site) DeleteInstance(ctx context.Context, limit time.Duration) error {
	return s.Delete(ctx, limit, &v1.FluxInstance{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: v1.DefaultInstanceName}})
}

// DeleteWorkloads deletes what the fleet repository deployed.
func (s *Site) DeleteWorkloads(ctx context.Context, limit time.Duration) error {
	return s.Delete(ctx, limit, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: WorkloadNamespace}})
}

// clear removes what an earlier run left in a kept cluster; a fresh one has none of it.
func (s *Site) clear(ctx context.Context) error {
	if !s.keep {
		return nil
	}
	return errors.Join(s.DeleteInstance(ctx, clearLimit), s.DeleteWorkloads(ctx, clearLimit))
}

// AwaitDeployment waits until all replicas of a Deployment's present generation are available.
func (s *Site) AwaitDeployment(ctx context.Context, limit time.Duration, namespace, name string) error {
	return s.Await(ctx, limit, fmt.Sprintf("Deployment %s/%s to be available", namespace, name), func(ctx context.Context) error {
		deployment := &appsv1.Deployment{}
		if err := s.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, deployment); err != nil {
			return err
		}
		return Available(deployment)
	})
}

// Available returns nil when all replicas of the present generation are available and no others exist, else how many are not.
func Available(d *appsv1.Deployment) error {
	wanted := int32(1)
	if d.Spec.Replicas != nil {
		wanted = *d.Spec.Replicas
	}
	if s := d.Status; s.ObservedGeneration != d.Generation || s.UpdatedReplicas != wanted || s.AvailableReplicas != wanted || s.Replicas != wanted {
		return fmt.Errorf("of %d replicas %d are up to date, %d available, %d there (generation %d of %d)",
			wanted, s.UpdatedReplicas, s.AvailableReplicas, s.Replicas, s.ObservedGeneration, d.Generation)
	}
	return nil
}
