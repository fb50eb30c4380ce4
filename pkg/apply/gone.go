package apply

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"

	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Remaining is an object that is still there.
type Remaining struct {
	// Object names the object.
	Object ID
	// Terminating tells whether its deletion was accepted.
	Terminating bool
	// Finalizers are those that keep it.
	Finalizers []string
}

// RemainingError means that waiting ended before all objects were gone. The cause of the context is in the chain.
type RemainingError struct {
	// Objects are those that are left.
	Objects []Remaining

	causes []error
}

// Error names the first objects and what keeps them.
func (e *RemainingError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "waiting for deletion, %d left", len(e.Objects))
	for i, object := range e.Objects {
		if i == listLimit {
			fmt.Fprintf(&b, "; and %d more", len(e.Objects)-listLimit)
			break
		}
		b.WriteString([]string{": ", "; "}[min(i, 1)])
		b.WriteString(object.Object.String())
		switch {
		case len(object.Finalizers) > 0:
			fmt.Fprintf(&b, " (finalizers %s)", strings.Join(object.Finalizers, ", "))
		case !object.Terminating:
			b.WriteString(" (not being deleted)")
		}
	}
	return b.String()
}

// Unwrap returns what ended the wait.
func (e *RemainingError) Unwrap() []error {
	return e.causes
}

// WaitGone returns when none of the objects exists any more, and of workloads none of the pods either, also where the workload itself was gone
// before. The deadline comes from the context; when it passes, a *RemainingError names what is left and its finalizers.
// Kinds that are no longer served count as gone. One list and, where something is left, one watch of metadata is made for each kind and
// namespace of objects that carry owner labels, for each object that does not, and for the pods of each namespace that has workloads.
func (a *Applier) WaitGone(ctx context.Context, objects []*unstructured.Unstructured) error {
	var mu sync.Mutex
	var left []Remaining
	var failures []error
	targets := a.goals(objects)
	var waits sync.WaitGroup
	for _, target := range targets {
		waits.Go(func() {
			remaining, err := a.awaitGone(ctx, target)
			mu.Lock()
			defer mu.Unlock()
			left = append(left, remaining...)
			if err != nil {
				failures = append(failures, err)
			}
		})
	}
	waits.Wait()
	if len(left) > 0 {
		slices.SortFunc(left, func(a, b Remaining) int { return cmp.Compare(a.Object.String(), b.Object.String()) })
		return &RemainingError{Objects: left, causes: whyDone(ctx)}
	}
	return errors.Join(failures...)
}

// goal is one request's worth of objects that are to disappear.
type goal struct {
	selection
	// means tells which of the selected objects are meant.
	means func(*metav1.PartialObjectMetadata) bool
}

// goals returns what to list and watch until the objects are gone.
func (a *Applier) goals(objects []*unstructured.Unstructured) []goal {
	members := map[selection]map[ID]bool{}
	for _, obj := range objects {
		s := selection{kind: obj.GroupVersionKind(), namespace: obj.GetNamespace()}
		if owner := a.ownerOf(obj); owner != nil {
			s.labels = labels.Set(owner).String()
		} else {
			s.name = obj.GetName()
		}
		if members[s] == nil {
			members[s] = map[ID]bool{}
		}
		members[s][IDOf(obj)] = true
	}
	var found []goal
	for s, ids := range members {
		found = append(found, goal{selection: s, means: func(live *metav1.PartialObjectMetadata) bool { return ids[s.idOf(live)] }})
	}
	return append(found, podsOf(objects)...)
}

// awaitGone waits for one goal. It returns what is left when the context is done, or an error where the API server refuses to tell.
func (a *Applier) awaitGone(ctx context.Context, g goal) ([]Remaining, error) {
	backoff := newBackoff()
	left := map[ID]Remaining{}
	for {
		err := a.watchGone(ctx, g, left)
		if err == nil && len(left) == 0 || isUnserved(err) {
			return nil, nil
		}
		if apierrors.IsForbidden(err) {
			return nil, fmt.Errorf("watching the deletion of %s: %w", g.kind.Kind, err)
		}
		if pause(ctx, backoff.Step()) {
			continue
		}
		if len(left) == 0 {
			return nil, &cutShortError{"watching the deletion of " + g.kind.Kind, append(whyDone(ctx), err)}
		}
		return slices.Collect(maps.Values(left)), nil
	}
}

// watchGone lists what a goal has left and watches it until nothing is left, the watch breaks or the context is done.
func (a *Applier) watchGone(ctx context.Context, g goal, left map[ID]Remaining) error {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(listKind(g.kind))
	if err := a.client.List(ctx, list, g.options()...); err != nil {
		return err
	}
	clear(left)
	note := func(kind watch.EventType, live *metav1.PartialObjectMetadata) {
		id := g.idOf(live)
		switch {
		case kind == watch.Deleted:
			delete(left, id)
		case g.means(live):
			left[id] = Remaining{Object: id, Terminating: live.DeletionTimestamp != nil, Finalizers: live.Finalizers}
		}
	}
	for i := range list.Items {
		note(watch.Added, &list.Items[i])
	}
	if len(left) == 0 {
		return nil
	}
	since := &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: list.ResourceVersion}}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	_, err := a.watchOnce(watching, g.selection, list, func(event watch.Event) {
		if live, ok := event.Object.(*metav1.PartialObjectMetadata); ok {
			note(event.Type, live)
		}
		if len(left) == 0 {
			stop()
		}
	}, since)
	return err
}
