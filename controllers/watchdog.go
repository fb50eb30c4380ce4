package controllers

import (
	"fmt"
	"net/http"
	"sync"
	"time"
)

// Watchdog tells a liveness probe whether a reconcile loop is stuck: whether a pass runs for longer than it said it would.
// The zero value is ready to use.
type Watchdog struct {
	mu        sync.Mutex
	next      uint64
	deadlines map[uint64]time.Time
}

// Enter notes that a pass begins which is to end within limit, and returns what notes its end.
func (w *Watchdog) Enter(limit time.Duration) (leave func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.deadlines == nil {
		w.deadlines = map[uint64]time.Time{}
	}
	id := w.next
	w.next++
	w.deadlines[id] = time.Now().Add(limit)
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.deadlines, id)
	}
}

// Check is a healthz checker: it fails when a pass is past its limit.
func (w *Watchdog) Check(*http.Request) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	for _, deadline := range w.deadlines {
		if late := now.Sub(deadline); late > 0 {
			return fmt.Errorf("a reconcile loop is stuck: %s past its limit", late.Round(time.Second))
		}
	}
	return nil
}
