package controllers

import (
	"context"
	"errors"
	"sync"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// errSuperseded is the cause of a wait that ended because the object changed while it was waited for.
var errSuperseded = errors.New("a newer change of the object arrived")

// interrupts ends a running wait when its object changes, so that nobody waits minutes for a state that is no longer wanted.
type interrupts struct {
	mu      sync.Mutex
	running map[client.ObjectKey]context.CancelCauseFunc
}

// begin returns a context that is canceled with errSuperseded at the next change of the object. The caller calls end when the wait is over.
func (i *interrupts) begin(ctx context.Context, key client.ObjectKey) (waiting context.Context, end func()) {
	waiting, cancel := context.WithCancelCause(ctx)
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.running == nil {
		i.running = map[client.ObjectKey]context.CancelCauseFunc{}
	}
	i.running[key] = cancel
	return waiting, func() {
		i.mu.Lock()
		defer i.mu.Unlock()
		delete(i.running, key)
		cancel(nil)
	}
}

func (i *interrupts) fire(key client.ObjectKey) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if cancel := i.running[key]; cancel != nil {
		cancel(errSuperseded)
	}
}

// handler enqueues the object of an event and ends a wait for it. Status updates must be filtered out before it.
func (i *interrupts) handler() handler.EventHandler {
	enqueue := &handler.EnqueueRequestForObject{}
	return handler.Funcs{
		CreateFunc: enqueue.Create,
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			enqueue.Update(ctx, e, q)
			i.fire(client.ObjectKeyFromObject(e.ObjectNew))
		},
		DeleteFunc:  enqueue.Delete,
		GenericFunc: enqueue.Generic,
	}
}
