package apply

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// follow watches a selection until the context is done. A watch that breaks or cannot be opened yet is opened again; restarted is called
// before, as what was deleted meanwhile is not told. Watches begin with the current state, so that no list request is needed. A refusal for
// lack of permission ends it with an error.
func (a *Applier) follow(ctx context.Context, s selection, list client.ObjectList, restarted func(), see func(watch.Event)) error {
	backoff := newBackoff()
	for {
		seen, err := a.watchOnce(ctx, s, list, see)
		if err != nil && (apierrors.IsForbidden(err) || apierrors.IsMethodNotSupported(err)) {
			return fmt.Errorf("watching %s: %w", s.kind.Kind, err)
		}
		if seen {
			backoff = newBackoff()
		}
		if !pause(ctx, backoff.Step()) {
			return nil
		}
		restarted()
	}
}

// watchOnce hands the events of one watch on until it ends, and tells whether there were any.
func (a *Applier) watchOnce(ctx context.Context, s selection, list client.ObjectList, see func(watch.Event), opts ...client.ListOption) (bool, error) {
	watcher, err := a.client.Watch(ctx, list, append(s.options(), opts...)...)
	if err != nil {
		return false, err
	}
	defer watcher.Stop()
	seen := false
	for {
		select {
		case <-ctx.Done():
			return seen, nil
		case event, open := <-watcher.ResultChan():
			if !open {
				return seen, nil
			}
			if event.Type == watch.Error {
				return seen, apierrors.FromObject(event.Object)
			}
			if event.Type != watch.Bookmark {
				seen = true
				see(event)
			}
		}
	}
}

// listFor returns the list type through which objects of the selection are watched whole.
func (a *Applier) listFor(s selection) client.ObjectList {
	if s.kind.GroupKind() == crdKind && s.kind.Version == crdVersion.Version && a.readsSlim() {
		return &slimCRDList{}
	}
	return unstructuredList(s.kind)
}

// asUnstructured returns a watched object in the form that status computation takes.
func asUnstructured(obj runtime.Object) (map[string]any, error) {
	if u, ok := obj.(runtime.Unstructured); ok {
		return u.UnstructuredContent(), nil
	}
	if _, ok := obj.(metav1.Object); !ok {
		return nil, errors.New("not an object")
	}
	return runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
}
