package controllers

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// statusWriter saves the status of one instance, in one request and only when something in it changed.
type statusWriter struct {
	client client.Client
	saved  *v1.FluxInstance
}

func newStatusWriter(c client.Client, instance *v1.FluxInstance) *statusWriter {
	return &statusWriter{client: c, saved: instance.DeepCopy()}
}

// save writes what differs from the last saved status.
func (w *statusWriter) save(ctx context.Context, instance *v1.FluxInstance) error {
	if equality.Semantic.DeepEqual(w.saved.Status, instance.Status) {
		return nil
	}
	base := instance.DeepCopy()
	base.Status = w.saved.Status
	written := instance.DeepCopy()
	if err := w.client.Status().Patch(ctx, written, client.MergeFrom(base), client.FieldOwner(v1.FieldManager)); err != nil {
		return fmt.Errorf("saving the status of FluxInstance %q: %w", client.ObjectKeyFromObject(instance), err)
	}
	instance.ResourceVersion = written.ResourceVersion
	w.saved = instance.DeepCopy()
	return nil
}
