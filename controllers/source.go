package controllers

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// kindRetry is how long the source waits for its kind to be installed before it looks again.
const kindRetry = time.Second

// instanceSource feeds a controller with FluxInstances. It is told when the cache is filled, where the library's source asks every 100 ms,
// twice: that was two thirds of the time from the start of the process to its first request in a pass.
type instanceSource struct {
	cache   cache.Cache
	handler handler.EventHandler
	updates predicate.Predicate

	synced toolscache.DoneChecker
}

// Start implements source.Source.
func (s *instanceSource) Start(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	var last error
	err := wait.PollUntilContextCancel(ctx, kindRetry, true, func(ctx context.Context) (bool, error) {
		last = s.register(ctx, queue)
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("watching FluxInstances: %w: %w", err, last)
	}
	return nil
}

func (s *instanceSource) register(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	informer, err := s.cache.GetInformer(ctx, &v1.FluxInstance{}, cache.BlockUntilSynced(false))
	if err != nil {
		return err
	}
	registration, err := informer.AddEventHandler(s.events(ctx, queue))
	if err != nil {
		return err
	}
	s.synced = registration.HasSyncedChecker()
	return nil
}

// WaitForSync implements source.SyncingSource.
func (s *instanceSource) WaitForSync(ctx context.Context) error {
	if !toolscache.WaitFor(ctx, "", s.synced) {
		return fmt.Errorf("filling the cache of FluxInstances: %w", context.Cause(ctx))
	}
	return nil
}

// events hands what the cache tells to the handler.
func (s *instanceSource) events(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) toolscache.ResourceEventHandlerDetailedFuncs {
	return toolscache.ResourceEventHandlerDetailedFuncs{
		AddFunc: func(obj any, isInInitialList bool) {
			if now, ok := obj.(client.Object); ok {
				s.handler.Create(ctx, event.CreateEvent{Object: now, IsInInitialList: isInInitialList}, queue)
			}
		},
		UpdateFunc: func(before, after any) {
			was, _ := before.(client.Object)
			is, ok := after.(client.Object)
			if change := (event.UpdateEvent{ObjectOld: was, ObjectNew: is}); ok && s.updates.Update(change) {
				s.handler.Update(ctx, change, queue)
			}
		},
		DeleteFunc: func(obj any) {
			if gone, missed := obj.(toolscache.DeletedFinalStateUnknown); missed {
				obj = gone.Obj
			}
			if last, ok := obj.(client.Object); ok {
				s.handler.Delete(ctx, event.DeleteEvent{Object: last}, queue)
			}
		},
	}
}

var _ source.SyncingSource = (*instanceSource)(nil)
