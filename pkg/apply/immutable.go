package apply

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// recreateTimeout bounds the wait for an object to disappear before it is created anew.
const recreateTimeout = time.Minute

// immutableWording is how built-in kinds, CEL rules and webhooks say that a field cannot be changed.
var immutableWording = regexp.MustCompile(`(?i)immutable|may not (be changed|change)|cannot change|can not be less than|` +
	`updates to .+ (are|is) forbidden|forbidden: updates to|field cannot be changed|must not be changed`)

// asImmutable returns the error for a refused change of an immutable field, or nil for any other error, including a refusal for that and
// further reasons: creating the object anew would fail as well then.
func asImmutable(id ID, err error) *ImmutableError {
	said, ok := statusOf(err)
	if !ok {
		return nil
	}
	if said.Reason != metav1.StatusReasonInvalid || said.Details == nil || len(said.Details.Causes) == 0 {
		if said.Code >= 400 && said.Code < 500 && immutableWording.MatchString(said.Message) {
			return &ImmutableError{Object: id, Cause: err}
		}
		return nil
	}
	for _, cause := range said.Details.Causes {
		if !immutableWording.MatchString(cause.Message) {
			return nil
		}
	}
	return &ImmutableError{Object: id, Field: said.Details.Causes[0].Field, Cause: err}
}

// mayRecreate tells whether an object may be deleted to change an immutable field: bindings, which hold nothing else, and whatever the user
// says. What takes others' objects along is never deleted.
func mayRecreate(obj *unstructured.Unstructured) bool {
	switch obj.GetKind() {
	case "ClusterRoleBinding", "RoleBinding":
		return true
	case "CustomResourceDefinition", "Namespace":
		return false
	}
	return strings.EqualFold(obj.GetAnnotations()[v1.ForceAnnotation], v1.EnabledValue)
}

// recreate deletes an object and applies it again. Whoever recreates it in between is not deleted.
func (a *Applier) recreate(ctx context.Context, obj *unstructured.Unstructured) (*metav1.PartialObjectMetadata, error) {
	live := metadataOf(obj)
	err := persist(ctx, patienceWith, func() error {
		return a.client.Get(ctx, client.ObjectKeyFromObject(obj), live)
	})
	if client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("reading the object to recreate it: %w", err)
	}
	if err == nil {
		if err := a.remove(ctx, live, metav1.DeletePropagationBackground); err != nil {
			return nil, fmt.Errorf("deleting the object to recreate it: %w", err)
		}
	}
	gone, cancel := context.WithTimeout(ctx, recreateTimeout)
	defer cancel()
	byName := goal{
		selection: selection{kind: obj.GroupVersionKind(), namespace: obj.GetNamespace(), name: obj.GetName()},
		means:     func(*metav1.PartialObjectMetadata) bool { return true },
	}
	left, err := a.awaitGone(gone, byName)
	if len(left) > 0 {
		err = &RemainingError{Objects: left, causes: whyDone(gone)}
	}
	if err != nil {
		return nil, fmt.Errorf("deleting the object to recreate it: %w", err)
	}
	err = persist(ctx, patienceWith, func() error {
		live, err = a.send(ctx, obj)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("creating the object anew: %w", err)
	}
	return live, nil
}

// remove deletes exactly the object whose metadata is given. An object that is gone or being deleted is fine.
func (a *Applier) remove(ctx context.Context, live *metav1.PartialObjectMetadata, propagation metav1.DeletionPropagation) error {
	if live.DeletionTimestamp != nil {
		return nil
	}
	uid := live.GetUID()
	return client.IgnoreNotFound(a.client.Delete(ctx, live,
		client.PropagationPolicy(propagation),
		client.Preconditions{UID: &uid},
	))
}
