package bench

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// await returns when an event of the watch shows what is waited for.
func await(ctx context.Context, what string, events watch.Interface, seen func(watch.EventType, runtime.Object) bool) error {
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, ctx.Err())
		case event, open := <-events.ResultChan():
			switch {
			case !open:
				return fmt.Errorf("waiting for %s: the watch ended", what)
			case event.Type == watch.Error:
				return fmt.Errorf("waiting for %s: %w", what, apierrors.FromObject(event.Object))
			case seen(event.Type, event.Object):
				return nil
			}
		}
	}
}

// awaitReady returns when a watched FluxInstance says that it is ready in this generation.
func awaitReady(ctx context.Context, events watch.Interface, generation int64) error {
	last := ""
	err := await(ctx, "the FluxInstance to be ready", events, func(_ watch.EventType, obj runtime.Object) bool {
		in, ok := obj.(*v1.FluxInstance)
		if !ok {
			return false
		}
		for _, condition := range in.Status.Conditions {
			last = fmt.Sprintf("%s=%s %s: %s", condition.Type, condition.Status, condition.Reason, condition.Message)
		}
		return isReady(in, generation)
	})
	if err != nil {
		return fmt.Errorf("%w; it last said %s", err, last)
	}
	return nil
}
