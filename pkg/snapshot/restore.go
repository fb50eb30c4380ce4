package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// FieldManager is the field manager of what is put back. It begins with kubectl, so that kustomize-controller and the operator take its fields
	// for what somebody changed by hand: when they apply the object the next time they own it alone, and what is dropped from Git goes away.
	FieldManager = "kubectl-flux-operator-restore"

	// failureLimit is after how many failed objects the others are not tried any more, and so how many an error names.
	failureLimit = 10
	// lookEvery is how often to look whether Flux serves its kinds yet.
	lookEvery = time.Second
)

// RestoreOptions say how a snapshot is put back.
type RestoreOptions struct {
	// DryRun has the API server check everything and changes nothing.
	DryRun bool
	// CreateNamespaces creates the namespaces of saved objects that are not there; otherwise their absence is an error.
	CreateNamespaces bool
	// Report, which may be nil, is told what became of each object, or would become of it, in the order of the snapshot.
	Report func(Change)
	// Waiting, which may be nil, is told once which kinds Flux is to define before the rest can be put back: when the instance is back, and by a dry
	// run where it would be. It is not told where nothing is missing or nothing more would come.
	Waiting func(kinds []string)
}

// Action is what was done to an object.
type Action string

// The actions.
const (
	// Created means that the object was not there.
	Created Action = "created"
	// Configured means that the object was there and had another content.
	Configured Action = "configured"
	// Unchanged means that the object was there as it is in the snapshot.
	Unchanged Action = "unchanged"
	// Skipped means that the object could not be put back: its kind is not served, and Flux does not bring it.
	Skipped Action = "skipped"
)

// Change is what became of one object.
type Change struct {
	// Action is what was done.
	Action Action `json:"action"`
	// Object is its kind, namespace and name, as in Kustomization/apps/podinfo.
	Object string `json:"object"`
	// Before and After are what was wanted of an object that is configured, and what is now, both in the version in which it is put back; nil for
	// others.
	Before, After *unstructured.Unstructured `json:"-"`
}

// NamespacesError means that namespaces of saved objects are not there.
type NamespacesError struct {
	// Missing are their names.
	Missing []string
}

// Error names the namespaces.
func (e *NamespacesError) Error() string {
	return fmt.Sprintf("namespaces that objects belong into are missing: %s; create them first", strings.Join(e.Missing, ", "))
}

// Restore puts back what is in a snapshot: objects that are missing are created, objects that differ get the content that was saved, everything
// else is left alone. Nothing is deleted.
//
// Everything that can be is checked with a dry run first, and nothing is written unless all of it passes. What cannot be checked yet, since it needs
// kinds that Flux brings along or namespaces that are missing, is checked once the instance and the namespaces are there, before anything else is
// written. The wait for Flux ends with the context. It may be called again after any error.
//
// A kind that nobody brings holds nothing else up: once the instance has come to rest, objects of kinds that are still not served are passed over,
// and the error, after everything else was put back, is an UnservedError. Only where the kind of the instance, or no kind at all, is served is
// nothing done.
func Restore(ctx context.Context, c client.Client, snapshot []byte, opts RestoreOptions) error {
	writer := client.WithFieldOwner(client.WithFieldValidation(c, metav1.FieldValidationStrict), FieldManager)
	r := &restoring{
		client: c, write: &putter{client: writer}, check: &putter{client: client.NewDryRunClient(writer)},
		snapshot: snapshot, opts: opts, saved: map[schema.GroupKind]bool{}, served: map[schema.GroupKind]kind{}, pending: map[schema.GroupKind]bool{},
		skipped: map[schema.GroupKind]int{}, namespaces: map[string]bool{}, early: map[string]Change{},
	}
	if err := r.run(ctx); err != nil {
		return fmt.Errorf("restoring the snapshot: %w", err)
	}
	return nil
}

// restoring is the work on one snapshot.
type restoring struct {
	client       client.Client
	write, check *putter
	snapshot     []byte
	opts         RestoreOptions

	// saved are the kinds in the snapshot, instances the objects of the one that brings others.
	saved     map[schema.GroupKind]bool
	instances []client.ObjectKey
	// served are the kinds in the cluster, pending those that are defined and not served yet.
	served  map[schema.GroupKind]kind
	pending map[schema.GroupKind]bool
	// final means that no more kinds will come.
	final bool
	// unwell is why an instance is not ready, as it said when it was last read.
	unwell string
	// skipped is how many objects of a kind were passed over.
	skipped map[schema.GroupKind]int
	// namespaces of the objects, and whether they are there.
	namespaces map[string]bool
	// early is what became of the instance, when it had to be put back before the others.
	early map[string]Change
}

func (r *restoring) run(ctx context.Context) error {
	if err := r.survey(); err != nil {
		return err
	}
	if err := r.look(ctx); err != nil {
		return err
	}
	if missing := r.missingNamespaces(); len(missing) > 0 && !r.opts.CreateNamespaces {
		return &NamespacesError{Missing: missing}
	}
	if err := r.canBegin(); err != nil {
		return err
	}
	r.expect(ctx)
	later := r.notReady()
	if err := r.each(ctx, func(ctx context.Context, obj *unstructured.Unstructured) error { return r.try(ctx, obj, later) }); err != nil {
		return fmt.Errorf("nothing was changed: %w", err)
	}
	if r.opts.DryRun {
		return r.passedOver()
	}
	if err := r.prepare(ctx); err != nil {
		return err
	}
	if err := r.each(ctx, func(ctx context.Context, obj *unstructured.Unstructured) error { return r.tryLate(ctx, obj, later) }); err != nil {
		return err
	}
	if err := r.each(ctx, r.do); err != nil {
		return err
	}
	return r.passedOver()
}

// survey reads the whole snapshot once: whether it is complete and what is in it.
func (r *restoring) survey() error {
	reader, err := NewReader(bytes.NewReader(r.snapshot))
	if err != nil {
		return err
	}
	for {
		obj, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		r.saved[groupKind(obj)] = true
		if groupKind(obj) == instances {
			r.instances = append(r.instances, client.ObjectKeyFromObject(obj))
		}
		if ns := obj.GetNamespace(); ns != "" {
			r.namespaces[ns] = false
		}
	}
}

// look finds out which of the kinds and namespaces are there.
func (r *restoring) look(ctx context.Context) error {
	if err := r.lookForKinds(ctx); err != nil {
		return err
	}
	for name := range r.namespaces {
		namespace := &metav1.PartialObjectMetadata{}
		namespace.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
		err := persist(ctx, func() error { return r.client.Get(ctx, client.ObjectKey{Name: name}, namespace) })
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("reading Namespace %q: %w", name, err)
		}
		if namespace.DeletionTimestamp != nil {
			return fmt.Errorf("namespace %q is being deleted: wait until it is gone", name)
		}
		r.namespaces[name] = true
	}
	return nil
}

func (r *restoring) missingNamespaces() []string {
	var missing []string
	for name, found := range r.namespaces {
		if !found {
			missing = append(missing, name)
		}
	}
	slices.Sort(missing)
	return missing
}

// notReady returns what tells the objects that cannot be checked yet.
func (r *restoring) notReady() func(*unstructured.Unstructured) bool {
	served, namespaces := maps.Clone(r.served), maps.Clone(r.namespaces)
	return func(obj *unstructured.Unstructured) bool {
		_, known := served[groupKind(obj)]
		return !known || obj.GetNamespace() != "" && !namespaces[obj.GetNamespace()]
	}
}

// try checks what can be checked now. Without a dry run in the end it tells nobody: the object has not been changed yet.
func (r *restoring) try(ctx context.Context, obj *unstructured.Unstructured, later func(*unstructured.Unstructured) bool) error {
	change := Change{Action: Created}
	if !later(obj) {
		var err error
		if change, err = r.check.put(ctx, obj, r.served[groupKind(obj)]); err != nil {
			return err
		}
	}
	switch {
	case !r.opts.DryRun:
	case r.isBeyond(obj):
		r.skip(obj)
	default:
		r.report(obj, change)
	}
	return nil
}

// tryLate checks what could not be checked before.
func (r *restoring) tryLate(ctx context.Context, obj *unstructured.Unstructured, later func(*unstructured.Unstructured) bool) error {
	if !later(obj) || r.isBeyond(obj) {
		return nil
	}
	_, err := r.check.put(ctx, obj, r.served[groupKind(obj)])
	return err
}

// do puts an object back, or passes over it.
func (r *restoring) do(ctx context.Context, obj *unstructured.Unstructured) error {
	if r.isBeyond(obj) {
		r.skip(obj)
		return nil
	}
	change, err := r.write.put(ctx, obj, r.served[groupKind(obj)])
	if err != nil {
		return err
	}
	if early, found := r.early[describe(obj)]; found {
		change = early
	}
	r.report(obj, change)
	return nil
}

// prepare creates the namespaces, and where kinds are missing puts the instance back and waits for what Flux brings.
func (r *restoring) prepare(ctx context.Context) error {
	for _, name := range r.missingNamespaces() {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		err := persist(ctx, func() error { return r.client.Create(ctx, namespace, client.FieldOwner(FieldManager)) })
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("creating Namespace %q: %w", name, err)
		}
	}
	if r.final {
		return nil
	}
	err := r.each(ctx, func(ctx context.Context, obj *unstructured.Unstructured) error {
		if groupKind(obj) != instances {
			return nil
		}
		change, err := r.write.put(ctx, obj, r.served[instances])
		r.early[describe(obj)] = change
		return err
	})
	if err != nil {
		return err
	}
	return r.await(ctx)
}

// each goes through the objects until some have failed.
func (r *restoring) each(ctx context.Context, do func(context.Context, *unstructured.Unstructured) error) error {
	reader, err := NewReader(bytes.NewReader(r.snapshot))
	if err != nil {
		return err
	}
	var failures []error
	for len(failures) < failureLimit {
		obj, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return errors.Join(append(failures, err)...)
		}
		err = do(ctx, obj)
		if ctx.Err() != nil {
			return errors.Join(append(failures, context.Cause(ctx))...)
		}
		if err != nil {
			failures = append(failures, fmt.Errorf("%s of %s: %w", describe(obj), obj.GetAPIVersion(), err))
		}
	}
	return errors.Join(failures...)
}

func (r *restoring) report(obj *unstructured.Unstructured, change Change) {
	if r.opts.Report != nil {
		change.Object = describe(obj)
		r.opts.Report(change)
	}
}

func groupKind(obj *unstructured.Unstructured) schema.GroupKind {
	return obj.GroupVersionKind().GroupKind()
}
