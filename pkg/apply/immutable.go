package apply

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
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

// disposable are the kinds of which nothing is lost when another object takes the place of one: all they hold is in the set.
var disposable = map[schema.GroupKind]bool{
	{Group: "apps", Kind: "Deployment"}:                              true,
	{Group: "batch", Kind: "Job"}:                                    true,
	{Kind: "Service"}:                                                true,
	{Group: "rbac.authorization.k8s.io", Kind: "ClusterRoleBinding"}: true,
	{Group: "rbac.authorization.k8s.io", Kind: "RoleBinding"}:        true,
}

// mayRecreate tells whether a live object may be deleted to change an immutable field: one that holds nothing, as a claim without a volume, and
// whatever the user says. What takes others' objects along is never deleted.
func mayRecreate(obj, live *unstructured.Unstructured) bool {
	kind := obj.GroupVersionKind().GroupKind()
	switch kind {
	case crdKind, schema.GroupKind{Kind: "Namespace"}:
		return false
	case claimKind:
		if phase, _, _ := unstructured.NestedString(live.Object, "status", "phase"); phase == string(corev1.ClaimPending) {
			return true
		}
	}
	return disposable[kind] || strings.EqualFold(obj.GetAnnotations()[v1.ForceAnnotation], v1.EnabledValue)
}

// errLeaving means that somebody else has deleted an object which is not gone yet.
var errLeaving = errors.New("the object is being deleted; it is created anew when it is gone")

// recreate deletes an object and applies it again if it may go, and returns the refusal if not. Whoever changes or recreates it in between has
// it looked at anew.
func (a *Applier) recreate(ctx context.Context, obj *unstructured.Unstructured, refused *ImmutableError) (*applied, error) {
	kept := false
	err := persist(ctx, patienceWith, func() error {
		live := reference(obj)
		if err := a.client.Get(ctx, client.ObjectKeyFromObject(obj), live); err != nil {
			return client.IgnoreNotFound(err)
		}
		if live.GetDeletionTimestamp() != nil {
			return errLeaving
		}
		if !mayRecreate(obj, live) {
			kept = true
			return nil
		}
		uid, version := live.GetUID(), live.GetResourceVersion()
		return client.IgnoreNotFound(a.client.Delete(ctx, live, client.PropagationPolicy(metav1.DeletePropagationBackground),
			client.Preconditions{UID: &uid, ResourceVersion: &version}))
	})
	if err != nil {
		return nil, fmt.Errorf("deleting the object to recreate it: %w", err)
	}
	if kept {
		return nil, refused
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
	var done *applied
	err = persist(ctx, patienceWith, func() (err error) {
		done, err = a.put(ctx, obj)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("creating the object anew: %w", err)
	}
	return done, nil
}
