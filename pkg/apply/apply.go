package apply

import (
	"context"
	"errors"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Apply makes the cluster match the objects by server-side apply with forced ownership, in stages: what others need comes first, custom
// resources come after the definitions in the same set, webhooks come last. It makes one request for each object; objects that others have
// written to before take up to three more, Kustomizations of Flux before 2.5 and objects of which fields are left to others take one more, and
// one more request is made if some objects are not in previous.
//
// previous holds what earlier calls observed and serves to tell configured from unchanged. Objects missing from it are judged by whether
// they were modified after this call began. It may be nil.
//
// The changes that were made are returned even if there is an error. The error joins an *ObjectError for each object that failed, in apply
// order, and the cause of the context if that ended the call. Within a stage a failed object does not keep others from being applied.
// Later stages are not begun after a failure in the first two, which hold namespaces, definitions, permissions and quotas.
// Transient errors are retried for up to 20 seconds an object. The objects are not modified.
func (a *Applier) Apply(ctx context.Context, objects []*unstructured.Unstructured, previous map[ID]Observed) ([]Change, error) {
	if err := unambiguous(objects); err != nil {
		return nil, err
	}
	stages := staged(objects)
	if len(stages) == 0 {
		return nil, nil
	}
	run := &run{Applier: a, previous: previous, before: a.look(ctx, stages[0][0], objects, previous)}
	defined := definedKinds(objects)
	var changes []Change
	var failures []error
	for _, members := range stages {
		s := stageOf(members[0].GroupVersionKind().GroupKind(), defined)
		made, failed := run.stage(ctx, s, members)
		changes = append(changes, made...)
		failures = append(failures, failed...)
		if ctx.Err() != nil {
			failures = append(failures, &cutShortError{fmt.Sprintf("applying %d objects, %d done", len(objects), len(changes)), whyDone(ctx)})
			break
		}
		if len(failures) > 0 && s <= identity {
			break
		}
	}
	return changes, errors.Join(failures...)
}

// unambiguous refuses objects that are in the list twice or have no name.
func unambiguous(objects []*unstructured.Unstructured) error {
	seen := make(map[ID]bool, len(objects))
	var problems []error
	for _, obj := range objects {
		id := IDOf(obj)
		switch {
		case id.Name == "" || id.Kind == "":
			problems = append(problems, &ObjectError{Object: id, Err: errors.New("the object has no kind or no name")})
		case seen[id]:
			problems = append(problems, &ObjectError{Object: id, Err: errors.New("the object is in the set twice")})
		}
		seen[id] = true
	}
	return errors.Join(problems...)
}

// run is one call of Apply.
type run struct {
	*Applier
	previous map[ID]Observed
	before   before
}

// look notes the time before the first request, and the API server's revision if some object has not been observed before.
// An API server that refuses to list costs no more than that clocks have to tell.
func (a *Applier) look(ctx context.Context, first *unstructured.Unstructured, objects []*unstructured.Unstructured, previous map[ID]Observed) before {
	b := before{started: time.Now()}
	for _, obj := range objects {
		if _, known := previous[IDOf(obj)]; known {
			continue
		}
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(listKind(first.GroupVersionKind()))
		if err := a.client.List(ctx, list, client.InNamespace(first.GetNamespace()), client.Limit(1)); err == nil {
			b.revision = list.ResourceVersion
		}
		break
	}
	return b
}

// stage applies the objects of one stage and returns changes and errors in the order of the objects.
func (r *run) stage(ctx context.Context, s stage, objects []*unstructured.Unstructured) ([]Change, []error) {
	changes := make([]*Change, len(objects))
	failures := make([]error, len(objects))
	inParallel(ctx, r.concurrency, len(objects), func(i int) {
		changes[i], failures[i] = r.object(ctx, s, objects[i])
	})
	var made []Change
	var failed []error
	for i := range objects {
		if changes[i] != nil {
			made = append(made, *changes[i])
		}
		// The context ending is reported once, not for each object that was in flight.
		if failures[i] != nil && !endedBy(ctx, failures[i]) {
			failed = append(failed, objectError(IDOf(objects[i]), failures[i]))
		}
	}
	return made, failed
}

// object applies one object.
func (r *run) object(ctx context.Context, s stage, obj *unstructured.Unstructured) (*Change, error) {
	worth := patienceWith
	if s == custom {
		worth = patienceWithCustom
	}
	var done *applied
	err := persist(ctx, worth, func() (err error) {
		done, err = r.put(ctx, obj)
		return err
	})
	id := IDOf(obj)
	if immutable := asImmutable(id, err); immutable != nil {
		done, err = r.recreate(ctx, obj, immutable)
	}
	if err != nil {
		return nil, inWordsOfStorage(obj, err)
	}
	now := observe(done.object, done.live, r.manager)
	if done.action == "" {
		done.action = r.before.actionOf(now, r.previous[id], done.live)
	}
	return &Change{Object: reference(obj), Observed: now, Action: done.action}, nil
}

// applied is an object as it was sent and as it came back.
type applied struct {
	object *unstructured.Unstructured
	live   *metav1.PartialObjectMetadata
	// action is empty where it shows only in comparison with what was observed before.
	action Action
}

// put applies an object, and once more after it has taken over what others wrote before.
func (a *Applier) put(ctx context.Context, obj *unstructured.Unstructured) (*applied, error) {
	if err := a.mayRevive(ctx, obj); err != nil {
		return nil, err
	}
	fields, err := a.leftOf(obj)
	if err != nil {
		return nil, err
	}
	if len(fields) > 0 {
		return a.putWithout(ctx, obj, fields)
	}
	live, err := a.send(ctx, obj)
	if err != nil {
		return nil, err
	}
	taken, err := a.takeOver(ctx, obj, live, noFields)
	if err != nil || !taken {
		return &applied{object: obj, live: live}, err
	}
	live, err = a.send(ctx, obj)
	return &applied{object: obj, live: live, action: Configured}, err
}
