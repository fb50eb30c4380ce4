package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// The conditions of Flux objects that tell how a pass ended.
const (
	readyCondition   = "Ready"
	stalledCondition = "Stalled"
)

// lookEvery is how often an instance is looked at that is waited for.
const lookEvery = time.Second

// cliManager is the field manager of instances that this tool applies.
const cliManager = "flux-operator-cli"

// apply makes the instance the cluster's and waits until the operator is done with it.
func (a adopt) apply(ctx context.Context, target *cluster, instance *v1.FluxInstance, out, told io.Writer) error {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(instance)
	if err != nil {
		return err
	}
	object := &unstructured.Unstructured{Object: content}
	object.SetGroupVersionKind(v1.GroupVersion.WithKind(v1.FluxInstanceKind))
	unstructured.RemoveNestedField(object.Object, "status")
	unstructured.RemoveNestedField(object.Object, "metadata", "creationTimestamp")
	err = target.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(object), client.FieldOwner(cliManager))
	if apimeta.IsNoMatchError(err) {
		return errors.New("the cluster does not know FluxInstances: install the operator first, for example with kubectl apply -k config/default")
	}
	if err != nil {
		return inTime(ctx, fmt.Errorf("applying the FluxInstance: %w", err))
	}
	live, err := await(ctx, target, object, told)
	if err != nil {
		return err
	}
	if live.Status.Adoption == nil {
		fmt.Fprintln(told, "Flux was installed; there was nothing to take over")
		return nil
	}
	return a.print(a.reportTo(out, told), live.Status.Adoption)
}

// await looks at an instance until it is Ready, or will not become so by itself, and tells what it says meanwhile.
func await(ctx context.Context, target *cluster, applied *unstructured.Unstructured, told io.Writer) (*v1.FluxInstance, error) {
	live, said := &v1.FluxInstance{}, ""
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		err := target.client.Get(ctx, client.ObjectKeyFromObject(applied), live)
		if err != nil && ctx.Err() == nil { // the end of the time is told below, with what goes on
			return nil, fmt.Errorf("reading the FluxInstance: %w", err)
		}
		ready := apimeta.FindStatusCondition(live.Status.Conditions, readyCondition)
		if ready != nil && ready.ObservedGeneration == live.Generation {
			if ready.Message != said {
				said = ready.Message
				fmt.Fprintln(told, said)
			}
			if ready.Status == metav1.ConditionTrue {
				return live, nil
			}
			if apimeta.IsStatusConditionTrue(live.Status.Conditions, stalledCondition) {
				return nil, fmt.Errorf("the operator does not go on: %s: %s", ready.Reason, ready.Message)
			}
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for FluxInstance %q: %w; it goes on without this command: kubectl -n %s get fluxinstance %s",
				applied.GetName(), context.Cause(ctx), applied.GetNamespace(), applied.GetName())
		case <-ticker.C:
		}
	}
}
