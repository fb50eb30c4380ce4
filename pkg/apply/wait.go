package apply

import (
	"context"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
)

// Wait returns when all objects are ready, or with an error when the context is done or an object has failed in a way that does not heal by
// itself: a definition whose names are taken, a failed Job, a stalled Flux object. The deadline comes from the context.
//
// Ready are CustomResourceDefinitions that are established, workloads that are rolled out, completed Jobs and Flux objects that say so of
// their current generation; paused workloads, suspended Flux objects and all other kinds are ready by existing. So are
// PersistentVolumeClaims: one may stay unbound until a pod uses it, and if it cannot be bound at all, the workload which needs it says so.
//
// One watch is opened for each kind and namespace, selected by the owner labels of the objects. The error is a *NotReadyError that tells of
// workloads what keeps their pods from running, or says what could not be watched. When the context is cancelled for another reason than
// its deadline, no time is spent on looking for causes.
func (a *Applier) Wait(ctx context.Context, objects []*unstructured.Unstructured) error {
	judged := slices.DeleteFunc(slices.Clone(objects), func(obj *unstructured.Unstructured) bool { return !isJudged(obj) })
	if len(judged) == 0 {
		return nil
	}
	w := newWaiting(judged)
	watching, stop := context.WithCancel(ctx)
	var watches sync.WaitGroup
	defer watches.Wait()
	defer stop()

	order, members := selections(judged)
	for _, s := range order {
		watches.Go(func() {
			forget := func() { w.forget(members[s]) }
			see := func(event watch.Event) { w.see(s.kind.GroupKind(), event) }
			if err := a.follow(watching, s, a.listFor(s), forget, see); err != nil {
				w.end(err)
			}
		})
	}
	select {
	case <-w.ended:
	case <-ctx.Done():
	}
	stop()
	return a.conclude(ctx, w, objects)
}

// waiting is the state of one Wait: a verdict for each object, never the objects themselves as they are in the cluster.
type waiting struct {
	objects []*unstructured.Unstructured
	ended   chan struct{}

	mu       sync.Mutex
	verdicts map[ID]verdict
	pending  int
	failure  error
	done     bool
}

func newWaiting(objects []*unstructured.Unstructured) *waiting {
	w := &waiting{objects: objects, ended: make(chan struct{}), verdicts: map[ID]verdict{}}
	for _, obj := range objects {
		w.verdicts[IDOf(obj)] = unseen
	}
	w.pending = len(w.verdicts)
	return w
}

// see takes note of a watch event.
func (w *waiting) see(kind schema.GroupKind, event watch.Event) {
	content, err := asUnstructured(event.Object)
	if err != nil {
		return
	}
	live := &unstructured.Unstructured{Object: content}
	id := ID{Group: kind.Group, Kind: kind.Kind, Namespace: live.GetNamespace(), Name: live.GetName()}
	v := missing
	if event.Type != watch.Deleted {
		v = judge(kind, live)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.set(id, v)
}

// forget makes objects unseen, because their watch broke and begins anew.
func (w *waiting) forget(objects []*unstructured.Unstructured) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, obj := range objects {
		w.set(IDOf(obj), unseen)
	}
}

// set needs the lock.
func (w *waiting) set(id ID, v verdict) {
	old, waited := w.verdicts[id]
	if !waited || w.done {
		return
	}
	w.verdicts[id] = v
	if old.ready != v.ready {
		w.pending += map[bool]int{true: -1, false: 1}[v.ready]
	}
	if w.pending == 0 || v.terminal {
		w.finish()
	}
}

// end stops the wait because it cannot be continued.
func (w *waiting) end(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.done {
		w.failure = err
		w.finish()
	}
}

// finish needs the lock.
func (w *waiting) finish() {
	w.done = true
	close(w.ended)
}

// result returns what stopped the wait, and the objects that are not ready: only those that have failed for good if there are any.
func (w *waiting) result() ([]*unstructured.Unstructured, map[ID]verdict, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done = true
	var failed, late []*unstructured.Unstructured
	for _, obj := range w.objects {
		switch v := w.verdicts[IDOf(obj)]; {
		case v.terminal:
			failed = append(failed, obj)
		case !v.ready:
			late = append(late, obj)
		}
	}
	if len(failed) > 0 {
		return failed, w.verdicts, nil
	}
	return late, w.verdicts, w.failure
}

// conclude turns the state into the result of Wait.
func (a *Applier) conclude(ctx context.Context, w *waiting, objects []*unstructured.Unstructured) error {
	late, verdicts, err := w.result()
	if err != nil || len(late) == 0 {
		return err
	}
	notReady := make([]NotReady, 0, len(late))
	for _, obj := range late {
		v := verdicts[IDOf(obj)]
		notReady = append(notReady, NotReady{Object: IDOf(obj), Reason: v.reason, Message: clip(v.message)})
	}
	outcome := &NotReadyError{Objects: notReady}
	if ctx.Err() != nil {
		outcome.causes = whyDone(ctx)
		if !isDeadline(ctx) {
			return outcome
		}
	}
	outcome.Objects = a.explain(ctx, late, notReady, objects)
	return outcome
}
