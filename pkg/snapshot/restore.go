package snapshot

import (
	"bytes"
	"cmp"
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
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
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
	// Waiting, which may be nil, is told once, when the instance is put back and Flux is to define its kinds: these are the ones missing.
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
)

// Change is what became of one object.
type Change struct {
	// Action is what was done.
	Action Action `json:"action"`
	// Object is its kind, namespace and name, as in Kustomization/apps/podinfo.
	Object string `json:"object"`
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
func Restore(ctx context.Context, c client.Client, snapshot []byte, opts RestoreOptions) error {
	writer := client.WithFieldOwner(client.WithFieldValidation(c, metav1.FieldValidationStrict), FieldManager)
	r := &restoring{
		client: c, write: &putter{client: writer}, check: &putter{client: client.NewDryRunClient(writer)},
		snapshot: snapshot, opts: opts, saved: map[schema.GroupKind]bool{}, served: map[schema.GroupKind]kind{}, namespaces: map[string]bool{}, early: map[string]Action{},
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

	saved  map[schema.GroupKind]bool
	served map[schema.GroupKind]kind
	// namespaces of the objects, and whether they are there.
	namespaces map[string]bool
	// early is what became of the instance, when it had to be put back before the others.
	early map[string]Action
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
	unserved := r.unserved()
	if err := r.canWaitFor(unserved); err != nil {
		return err
	}
	later := r.notReady()
	if err := r.each(ctx, func(ctx context.Context, obj *unstructured.Unstructured) error { return r.try(ctx, obj, later) }); err != nil {
		return fmt.Errorf("nothing was changed: %w", err)
	}
	if r.opts.DryRun {
		return nil
	}
	if err := r.prepare(ctx, unserved); err != nil {
		return err
	}
	if err := r.each(ctx, func(ctx context.Context, obj *unstructured.Unstructured) error { return r.tryLate(ctx, obj, later) }); err != nil {
		return err
	}
	return r.each(ctx, func(ctx context.Context, obj *unstructured.Unstructured) error {
		action, err := r.write.put(ctx, obj, r.served[groupKind(obj)])
		if err == nil {
			r.report(obj, cmp.Or(r.early[describe(obj)], action))
		}
		return err
	})
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

func (r *restoring) lookForKinds(ctx context.Context) error {
	kinds, err := servedKinds(ctx, r.client)
	if err != nil {
		return err
	}
	clear(r.served)
	for _, k := range kinds {
		r.served[k.GroupKind] = k
	}
	return nil
}

// unserved are the kinds in the snapshot that the API server does not serve.
func (r *restoring) unserved() []schema.GroupKind {
	var missing []schema.GroupKind
	for k := range r.saved {
		if _, served := r.served[k]; !served {
			missing = append(missing, k)
		}
	}
	slices.SortFunc(missing, func(a, b schema.GroupKind) int { return strings.Compare(a.String(), b.String()) })
	return missing
}

// canWaitFor tells what has to be done before kinds can come to be served.
func (r *restoring) canWaitFor(unserved []schema.GroupKind) error {
	for _, k := range unserved {
		if k.Group == v1.Group {
			return fmt.Errorf("the kind %s is not served: install the operator first, it brings the definition along", k)
		}
	}
	if len(unserved) > 0 && !r.saved[instances] {
		return fmt.Errorf("kinds are not served, and there is no FluxInstance in the snapshot that would install them: %s; install Flux first", list(unserved))
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
	action := Created
	if !later(obj) {
		var err error
		if action, err = r.check.put(ctx, obj, r.served[groupKind(obj)]); err != nil {
			return err
		}
	}
	if r.opts.DryRun {
		r.report(obj, action)
	}
	return nil
}

// tryLate checks what could not be checked before.
func (r *restoring) tryLate(ctx context.Context, obj *unstructured.Unstructured, later func(*unstructured.Unstructured) bool) error {
	if !later(obj) {
		return nil
	}
	_, err := r.check.put(ctx, obj, r.served[groupKind(obj)])
	return err
}

// prepare creates the namespaces, and where kinds are missing puts the instance back and waits until Flux has brought them.
func (r *restoring) prepare(ctx context.Context, unserved []schema.GroupKind) error {
	for _, name := range r.missingNamespaces() {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		err := persist(ctx, func() error { return r.client.Create(ctx, namespace, client.FieldOwner(FieldManager)) })
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("creating Namespace %q: %w", name, err)
		}
	}
	if len(unserved) == 0 {
		return nil
	}
	err := r.each(ctx, func(ctx context.Context, obj *unstructured.Unstructured) error {
		if groupKind(obj) != instances {
			return nil
		}
		action, err := r.write.put(ctx, obj, r.served[instances])
		r.early[describe(obj)] = action
		return err
	})
	if err != nil {
		return err
	}
	return r.await(ctx, unserved)
}

// await waits until all kinds are served.
func (r *restoring) await(ctx context.Context, unserved []schema.GroupKind) error {
	if r.opts.Waiting != nil {
		names := make([]string, 0, len(unserved))
		for _, k := range unserved {
			names = append(names, k.String())
		}
		r.opts.Waiting(names)
	}
	err := wait.PollUntilContextCancel(ctx, lookEvery, true, func(ctx context.Context) (bool, error) {
		err := r.lookForKinds(ctx)
		return err == nil && len(r.unserved()) == 0, err
	})
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("the FluxInstance is back, waiting until Flux serves %s: %w; see the conditions of the instance, and restore once more", list(r.unserved()), err)
	}
	return nil
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

func (r *restoring) report(obj *unstructured.Unstructured, action Action) {
	if r.opts.Report != nil {
		r.opts.Report(Change{Action: action, Object: describe(obj)})
	}
}

// instances is the kind that brings those of Flux.
var instances = schema.GroupKind{Group: v1.Group, Kind: v1.FluxInstanceKind}

func groupKind(obj *unstructured.Unstructured) schema.GroupKind {
	return obj.GroupVersionKind().GroupKind()
}

func list(kinds []schema.GroupKind) string {
	names := make([]string, 0, len(kinds))
	for _, k := range kinds {
		names = append(names, k.String())
	}
	return strings.Join(names, ", ")
}
