package controllers

import (
	"encoding/json"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// withoutDefaultType returns the instance without a type of cluster that nobody wrote: the API server fills in kubernetes, which then is
// not the user's word. The instance itself stays as it is.
func withoutDefaultType(instance *v1.FluxInstance) *v1.FluxInstance {
	if instance.Spec.Cluster == nil || instance.Spec.Cluster.Type != kubernetesType || statesType(instance) {
		return instance
	}
	silent := instance.DeepCopy()
	silent.Spec.Cluster.Type = ""
	return silent
}

// statesType tells whether somebody wrote the type of the cluster. kubectl apply keeps what was written; of everybody else the API server
// notes who set which fields. Whoever creates an object without applying it is noted for the defaults as well, and so taken at that word.
func statesType(instance *v1.FluxInstance) bool {
	if text, applied := instance.Annotations[corev1.LastAppliedConfigAnnotation]; applied {
		var written v1.FluxInstance
		err := json.Unmarshal([]byte(text), &written)
		return err != nil || written.Spec.Cluster != nil && written.Spec.Cluster.Type != ""
	}
	for _, entry := range instance.ManagedFields {
		var fields map[string]any
		if entry.FieldsV1 == nil {
			continue
		}
		if err := json.Unmarshal(entry.FieldsV1.GetRawBytes(), &fields); err != nil {
			return true
		}
		if _, set, err := unstructured.NestedFieldNoCopy(fields, "f:spec", "f:cluster", "f:type"); set || err != nil {
			return true
		}
	}
	return false
}
