package snapshot

import (
	"context"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// TestIsAtRest: an instance that is still on its way may bring more kinds, whatever it said of another generation.
func TestIsAtRest(t *testing.T) {
	const now = 3
	ready := func(status metav1.ConditionStatus, reason string, generation int64) metav1.Condition {
		return metav1.Condition{Type: "Ready", Status: status, Reason: reason, Message: "why", ObservedGeneration: generation}
	}
	stalled := metav1.Condition{Type: "Stalled", Status: metav1.ConditionTrue, Reason: v1.ReasonBuildFailed, ObservedGeneration: now}
	tests := map[string]struct {
		conditions []metav1.Condition
		disabled   bool
		rests      bool
		unwell     string
	}{
		"new":                    {},
		"ready":                  {conditions: []metav1.Condition{ready(metav1.ConditionTrue, v1.ReasonReconciliationSucceeded, now)}, rests: true},
		"ready before":           {conditions: []metav1.Condition{ready(metav1.ConditionTrue, v1.ReasonReconciliationSucceeded, now-1)}},
		"under way":              {conditions: []metav1.Condition{ready(metav1.ConditionUnknown, v1.ReasonProgressing, now)}},
		"failed, and is retried": {conditions: []metav1.Condition{ready(metav1.ConditionFalse, v1.ReasonArtifactFailed, now)}, unwell: "ArtifactFailed: why"},
		"failed for good":        {conditions: []metav1.Condition{ready(metav1.ConditionFalse, v1.ReasonBuildFailed, now), stalled}, rests: true, unwell: "BuildFailed: why"},
		"applied, not healthy":   {conditions: []metav1.Condition{ready(metav1.ConditionFalse, v1.ReasonHealthCheckFailed, now)}, rests: true, unwell: "HealthCheckFailed: why"},
		"disabled": {
			disabled: true, rests: true,
			unwell: "its reconciliation is disabled by the annotation fluxcd.controlplane.io/reconcile",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			instance := &v1.FluxInstance{ObjectMeta: metav1.ObjectMeta{Generation: now}, Status: v1.FluxInstanceStatus{Conditions: test.conditions}}
			if test.disabled {
				instance.Annotations = map[string]string{v1.ReconcileAnnotation: v1.DisabledValue}
			}
			unwell, rests := isAtRest(instance)
			if rests != test.rests || unwell != test.unwell {
				t.Errorf("rests: %v, unwell: %q", rests, unwell)
			}
		})
	}
}

// definition answers with a definition that has these conditions.
type definition map[string]string

func (definition) List(context.Context, client.ObjectList, ...client.ListOption) error { return nil }

func (d definition) Get(_ context.Context, _ client.ObjectKey, obj client.Object, _ ...client.GetOption) error {
	var conditions []any
	for kind, status := range d {
		conditions = append(conditions, map[string]any{"type": kind, "status": status})
	}
	obj.(*unstructured.Unstructured).Object = map[string]any{
		"spec": map[string]any{
			"group": "new.toolkit.fluxcd.io", "names": map[string]any{"kind": "Alien"},
			"versions": []any{map[string]any{"name": "v1", "served": true, "storage": true}},
		},
		"status": map[string]any{"conditions": conditions},
	}
	return nil
}

// TestReadKind: a definition is served some seconds after it was created, or never where its names are taken.
func TestReadKind(t *testing.T) {
	tests := map[string]struct {
		conditions      definition
		served, pending bool
	}{
		"created a moment ago": {nil, false, true},
		"accepted":             {definition{"NamesAccepted": "True", "Established": "False"}, false, true},
		"refused":              {definition{"NamesAccepted": "False", "Established": "False"}, false, false},
		"established":          {definition{"NamesAccepted": "True", "Established": "True"}, true, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			k, err := readKind(t.Context(), test.conditions, "aliens.new.toolkit.fluxcd.io")
			if err != nil || k.isServed() != test.served || k.pending != test.pending {
				t.Errorf("%+v, %v", k, err)
			}
		})
	}
}
