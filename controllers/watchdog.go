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
	mu      sync.Mutex
	watched map[*Watched]time.Time
}

// Watched is a pass that is under way.
type Watched struct {
	dog   *Watchdog
	limit time.Duration
}

// Enter notes that a pass begins which is to end within limit.
func (w *Watchdog) Enter(limit time.Duration) *Watched {
	pass := &Watched{dog: w, limit: limit}
	pass.Renew()
	return pass
}

// Renew gives the pass its whole time again: for work that takes as long as it takes, and shows that it goes on.
func (p *Watched) Renew() {
	p.dog.mu.Lock()
	defer p.dog.mu.Unlock()
	if p.dog.watched == nil {
		p.dog.watched = map[*Watched]time.Time{}
	}
	p.dog.watched[p] = time.Now().Add(p.limit)
}

// Leave notes that the pass has ended.
func (p *Watched) Leave() {
	p.dog.mu.Lock()
	defer p.dog.mu.Unlock()
	delete(p.dog.watched, p)
}

// Check is a healthz checker: it fails when a pass is past its limit.
func (w *Watchdog) Check(*http.Request) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	for _, deadline := range w.watched {
		if late := now.Sub(deadline); late > 0 {
			return fmt.Errorf("a reconcile loop is stuck: %s past its limit", late.Round(time.Second))
		}
	}
	return nil
}
