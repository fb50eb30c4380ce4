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

var (
	// errSuperseded is the cause of a wait that ended because the instance, or what it is rendered from, changed while it was waited for.
	errSuperseded = errors.New("a newer change of the object arrived")
	// errDrifted is the cause of a wait that ended because somebody changed an owned object, which may never become ready by itself.
	errDrifted = errors.New("an owned object was changed by somebody")
)

// interrupts ends a running wait when what is waited for is no longer wanted, or no longer there.
type interrupts struct {
	mu      sync.Mutex
	running map[client.ObjectKey]context.CancelCauseFunc
	drifted map[client.ObjectKey]bool
}

// begin returns a context that is canceled with a cause at the next change, or at once if drift came while nobody waited.
// The caller calls end when the wait is over.
func (i *interrupts) begin(ctx context.Context, key client.ObjectKey) (waiting context.Context, end func()) {
	waiting, cancel := context.WithCancelCause(ctx)
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.running == nil {
		i.running = map[client.ObjectKey]context.CancelCauseFunc{}
	}
	i.running[key] = cancel
	if i.drifted[key] {
		delete(i.drifted, key)
		cancel(errDrifted)
	}
	return waiting, func() {
		i.mu.Lock()
		defer i.mu.Unlock()
		delete(i.running, key)
		cancel(nil)
	}
}

// fire ends the wait for the instance. Drift that finds nobody waiting is kept for the next wait.
func (i *interrupts) fire(key client.ObjectKey, cause error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if cancel := i.running[key]; cancel != nil {
		cancel(cause)
		return
	}
	if !errors.Is(cause, errDrifted) {
		return
	}
	if i.drifted == nil {
		i.drifted = map[client.ObjectKey]bool{}
	}
	i.drifted[key] = true
}

// handler enqueues the object of an event and ends a wait for it. Status updates must be filtered out before it.
func (i *interrupts) handler() handler.EventHandler {
	enqueue := &handler.EnqueueRequestForObject{}
	return handler.Funcs{
		CreateFunc: enqueue.Create,
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			enqueue.Update(ctx, e, q)
			i.fire(client.ObjectKeyFromObject(e.ObjectNew), errSuperseded)
		},
		DeleteFunc:  enqueue.Delete,
		GenericFunc: enqueue.Generic,
	}
}
