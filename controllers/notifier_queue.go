package controllers

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

const (
	// maxQueuedEvents is how many events wait at most; the oldest makes room.
	maxQueuedEvents = 100
	// repeatWindow is for how long the same event is not forwarded again, and maxRemembered how many events are remembered for that.
	repeatWindow  = 5 * time.Minute
	maxRemembered = 500
)

// forwardedEvent is an event as notification-controller takes it: event.toolkit.fluxcd.io/v1beta1.
type forwardedEvent struct {
	InvolvedObject      corev1.ObjectReference `json:"involvedObject"`
	Severity            string                 `json:"severity"`
	Timestamp           metav1.Time            `json:"timestamp"`
	Message             string                 `json:"message"`
	Reason              string                 `json:"reason"`
	Metadata            map[string]string      `json:"metadata,omitempty"`
	ReportingController string                 `json:"reportingController"`
	ReportingInstance   string                 `json:"reportingInstance,omitempty"`
}

// queuedEvent is an event on its way to an address.
type queuedEvent struct {
	address  string
	recorded time.Time
	event    forwardedEvent
}

// identity is the same for events that say the same.
func (e *queuedEvent) identity() string {
	return strings.Join([]string{string(e.event.InvolvedObject.UID), e.event.Severity, e.event.Reason, e.event.Metadata[v1.RevisionAnnotation], e.event.Message}, "\n")
}

// eventQueue keeps events in their order. Adding to it never waits.
type eventQueue struct {
	mu      sync.Mutex
	waiting []*queuedEvent
	told    map[string]time.Time // when an event was added last, by its identity
	filled  chan struct{}        // has a value in it when something was added
}

func newEventQueue() eventQueue {
	return eventQueue{told: map[string]time.Time{}, filled: make(chan struct{}, 1)}
}

// add puts an event at the end, unless the same one was there a short while ago.
func (q *eventQueue) add(event *queuedEvent) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.repeats(event) {
		forwardedEvents.WithLabelValues(outcomeRepeated).Inc()
		return
	}
	if len(q.waiting) == maxQueuedEvents {
		q.waiting = slices.Delete(q.waiting, 0, 1)
		forwardedEvents.WithLabelValues(outcomeOverflow).Inc()
	}
	q.waiting = append(q.waiting, event)
	select {
	case q.filled <- struct{}{}:
	default:
	}
}

// repeats tells whether an event was added a short while ago, and remembers it.
func (q *eventQueue) repeats(event *queuedEvent) bool {
	for identity, at := range q.told {
		if event.recorded.Sub(at) >= repeatWindow {
			delete(q.told, identity)
		}
	}
	if _, told := q.told[event.identity()]; told {
		return true
	}
	if len(q.told) >= maxRemembered {
		clear(q.told)
	}
	q.told[event.identity()] = event.recorded
	return false
}

// next waits for the first event and takes it out; nil when the context ends.
func (q *eventQueue) next(ctx context.Context) *queuedEvent {
	for {
		if first := q.take(); first != nil {
			return first
		}
		select {
		case <-ctx.Done():
			return nil
		case <-q.filled:
		}
	}
}

// take takes the first event out; nil when there is none.
func (q *eventQueue) take() *queuedEvent {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		return nil
	}
	first := q.waiting[0]
	q.waiting = slices.Delete(q.waiting, 0, 1)
	return first
}

// size is how many events wait.
func (q *eventQueue) size() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting)
}
