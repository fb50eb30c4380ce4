package controllers

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// TestStatesType: a type that the API server filled in is nobody's word, where that can be told.
func TestStatesType(t *testing.T) {
	applied := func(text string) func(*v1.FluxInstance) {
		return func(in *v1.FluxInstance) {
			in.Annotations = map[string]string{corev1.LastAppliedConfigAnnotation: text}
		}
	}
	managed := func(fields ...string) func(*v1.FluxInstance) {
		return func(in *v1.FluxInstance) {
			for _, text := range fields {
				in.ManagedFields = append(in.ManagedFields, metav1.ManagedFieldsEntry{FieldsV1: metav1.NewFieldsV1(text)})
			}
			in.ManagedFields = append(in.ManagedFields, metav1.ManagedFieldsEntry{})
		}
	}
	for reason, tc := range map[string]struct {
		change func(*v1.FluxInstance)
		want   bool
	}{
		"applied with a type":              {applied(`{"spec":{"cluster":{"type":"kubernetes"}}}`), true},
		"applied without":                  {applied(`{"spec":{"cluster":{"networkPolicy":true}}}`), false},
		"applied without a cluster":        {applied(`{"spec":{}}`), false},
		"applied something else":           {applied(`{"spec":[]}`), true},
		"set by a manager":                 {managed(`{"f:metadata":{}}`, `{"f:spec":{"f:cluster":{".":{},"f:type":{}}}}`), true},
		"set by no manager":                {managed(`{"f:spec":{"f:cluster":{"f:networkPolicy":{}}}}`, `{"f:status":{"f:conditions":{}}}`), false},
		"fields that cannot be read":       {managed(`{`), true},
		"fields that are no fields":        {managed(`{"f:spec":{"f:cluster":1}}`), true},
		"nothing is known of its managers": {func(*v1.FluxInstance) {}, false},
	} {
		instance := &v1.FluxInstance{Spec: v1.FluxInstanceSpec{Cluster: &v1.Cluster{Type: kubernetesType, Size: "small"}}}
		tc.change(instance)
		judged := withoutDefaultType(instance)
		if stated := judged.Spec.Cluster.Type == kubernetesType; stated != tc.want {
			t.Errorf("%s: taken for the user's word: %t", reason, stated)
		}
		if instance.Spec.Cluster.Type != kubernetesType || judged.Spec.Cluster.Size != "small" {
			t.Errorf("%s: the instance was changed", reason)
		}
	}
	for _, instance := range []*v1.FluxInstance{{}, {Spec: v1.FluxInstanceSpec{Cluster: &v1.Cluster{Type: "aws"}}}} {
		if withoutDefaultType(instance) != instance {
			t.Errorf("there is no default to take away from %v", instance.Spec.Cluster)
		}
	}
}
