// Package migrate moves stored objects to an API version that the next release serves, before the version that they are stored in goes away.
//
// It is a straight line: Live reads the definitions, Plan compares them with the wanted ones, Run carries out the steps, the caller applies
// the wanted definitions, and Finish and Run clean up. Where Plan refuses, Path tells which releases to go through.
package migrate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

const (
	// defaultConcurrency is how many requests are in flight when the options do not say.
	defaultConcurrency = 8
	// defaultSettle is how long the API servers of a cluster may take until all of them store objects as a changed definition says. It cannot
	// be observed; Kubernetes itself allows as much before it calls a new definition established.
	defaultSettle = 5 * time.Second
)

// errChanged means that somebody changed a definition while its objects were rewritten, so that nobody knows what they are stored in.
var errChanged = errors.New("the definition was changed meanwhile")

// Options configure a Migrator.
type Options struct {
	// FieldManager is the field manager of what is written, v1.FieldManager by default. It comes to own nothing of an object but defaults that
	// a newer version has.
	FieldManager string
	// Concurrency is how many requests are in flight at most, 8 by default.
	Concurrency int
	// Settle is how old a change of a definition must be before objects are rewritten, 5 seconds by default.
	Settle time.Duration
}

// Migrator moves the stored objects of one cluster. It holds nothing between calls and may be used concurrently.
type Migrator struct {
	client      client.Client
	manager     string
	concurrency int
	settle      time.Duration
}

// New returns a Migrator that talks through the client, which must read from the API server and not from a cache.
func New(c client.Client, opts Options) *Migrator {
	if opts.FieldManager == "" {
		opts.FieldManager = v1.FieldManager
	}
	if opts.Concurrency <= 0 {
		opts.Concurrency = defaultConcurrency
	}
	if opts.Settle <= 0 {
		opts.Settle = defaultSettle
	}
	return &Migrator{client: c, manager: opts.FieldManager, concurrency: opts.Concurrency, settle: opts.Settle}
}

// Progress is how far a step has come.
type Progress struct {
	// Definition is the name of the definition whose objects are gone through.
	Definition string
	// Done is how many objects were dealt with.
	Done int
	// Total is how many objects there are, as far as is known.
	Total int
}

// Live returns the definitions in the cluster that have the names of the wanted ones, in their order. Those that are not there are left out,
// which one request tells for all of them. One that is being deleted is a *LeavingError: what is planned for it would be for nothing.
func (m *Migrator) Live(ctx context.Context, wanted []Definition) ([]Definition, error) {
	names, err := m.names(ctx)
	if err != nil {
		return nil, err
	}
	var live []Definition
	for _, want := range wanted {
		if !names[want.Name] {
			continue
		}
		// One after the other, since each comes with all its schemas.
		definition, err := m.readPatiently(ctx, want.Name)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if definition.leaving {
			return nil, &LeavingError{Definition: definition.Name}
		}
		live = append(live, definition)
	}
	return live, nil
}

// names lists what definitions there are, without their schemas.
func (m *Migrator) names(ctx context.Context) (map[string]bool, error) {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(crdKind.GroupVersion().WithKind(crdKind.Kind + "List"))
	if err := persist(ctx, func() error { return m.client.List(ctx, list) }); err != nil {
		return nil, fmt.Errorf("listing CustomResourceDefinitions: %w", err)
	}
	names := make(map[string]bool, len(list.Items))
	for i := range list.Items {
		names[list.Items[i].Name] = true
	}
	return names, nil
}

// Run carries out the steps, in their order, and prunes the stored versions of each definition whose objects are all rewritten. It pages through
// metadata, tolerates objects and definitions that disappear and objects that others change meanwhile, and retries transient errors. Everything
// that was done stays done: another call after an interruption writes only what is left.
//
// An object that cannot be rewritten keeps its definition from being pruned, and the error joins an *ObjectsError for each such definition;
// the other definitions are dealt with all the same. progress, which may be nil, is called after each page, never concurrently.
func (m *Migrator) Run(ctx context.Context, steps []Step, progress func(Progress)) error {
	steps = slices.Clone(steps)
	if err := m.moveStorage(ctx, steps); err != nil {
		return err
	}
	if progress == nil {
		progress = func(Progress) {}
	}
	var failures []error
	for _, step := range steps {
		err := m.run(ctx, step, progress)
		if ctx.Err() != nil {
			return errors.Join(append(failures, fmt.Errorf("rewriting objects of CustomResourceDefinition %q: %w", step.Definition.Name, context.Cause(ctx)))...)
		}
		if err != nil && !m.isGone(ctx, step.Definition) {
			failures = append(failures, err)
		}
	}
	return errors.Join(failures...)
}

// run carries out one step.
func (m *Migrator) run(ctx context.Context, step Step, progress func(Progress)) error {
	if step.Rewrite {
		if err := m.settled(ctx, step.Definition); err != nil {
			return err
		}
	}
	rewriting := &rewriting{Migrator: m, step: step, progress: progress}
	if err := rewriting.all(ctx); err != nil {
		return err
	}
	if !step.Rewrite || slices.Equal(step.Definition.Stored, []string{step.To}) {
		return nil
	}
	return m.prune(ctx, step)
}

// settled waits until a change of the definition has reached all API servers. One that has not heard of a new storage version would find
// nothing to rewrite.
func (m *Migrator) settled(ctx context.Context, d Definition) error {
	// The time of a change is cut to seconds, and this clock may be behind.
	missing := min(m.settle, m.settle+time.Second-time.Since(d.changed))
	if missing <= 0 {
		return nil
	}
	timer := time.NewTimer(missing)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// moveStorage makes the definitions whose storage version goes away store objects in the version that they are rewritten in.
func (m *Migrator) moveStorage(ctx context.Context, steps []Step) error {
	for i := range steps {
		if !steps[i].movesStorage() {
			continue
		}
		if err := m.setStorage(ctx, &steps[i]); err != nil {
			return fmt.Errorf("setting the storage version of CustomResourceDefinition %q to %s: %w", steps[i].Definition.Name, steps[i].To, err)
		}
	}
	return nil
}

// setStorage changes the storage version of a definition.
func (m *Migrator) setStorage(ctx context.Context, step *Step) error {
	return m.update(ctx, &step.Definition, func(target *metav1.PartialObjectMetadata) error {
		type operation struct {
			Op    string `json:"op"`
			Path  string `json:"path"`
			Value any    `json:"value"`
		}
		operations := []operation{{"replace", "/metadata/resourceVersion", step.Definition.resourceVersion}}
		for i, version := range step.Definition.Versions {
			operations = append(operations, operation{"replace", fmt.Sprintf("/spec/versions/%d/storage", i), version.Name == step.To})
		}
		body, err := json.Marshal(operations)
		if err != nil {
			return fmt.Errorf("encoding a patch: %w", err)
		}
		return m.client.Patch(ctx, target, client.RawPatch(types.JSONPatchType, body), client.FieldOwner(m.manager))
	})
}

// prune writes down that all objects are stored in one version, unless the definition changed since the step was planned.
func (m *Migrator) prune(ctx context.Context, step Step) error {
	err := m.update(ctx, &step.Definition, func(target *metav1.PartialObjectMetadata) error {
		body, err := json.Marshal(map[string]any{
			"metadata": map[string]any{"resourceVersion": step.Definition.resourceVersion},
			"status":   map[string]any{"storedVersions": []string{step.To}},
		})
		if err != nil {
			return fmt.Errorf("encoding a patch: %w", err)
		}
		return m.client.Status().Patch(ctx, target, client.RawPatch(types.MergePatchType, body), client.FieldOwner(m.manager))
	})
	if err != nil {
		return fmt.Errorf("setting status.storedVersions of CustomResourceDefinition %q to [%s]: %w", step.Definition.Name, step.To, err)
	}
	return nil
}

// update sends a change that holds for the resource version of a definition. A definition whose spec is another than when it was read is not
// changed, since that is not what was decided on.
func (m *Migrator) update(ctx context.Context, d *Definition, send func(*metav1.PartialObjectMetadata) error) error {
	return persist(ctx, func() error {
		target := &metav1.PartialObjectMetadata{}
		target.SetGroupVersionKind(crdKind)
		target.SetName(d.Name)
		err := send(target)
		if err == nil {
			d.resourceVersion, d.generation, d.changed = target.ResourceVersion, target.Generation, lastChange(target.ManagedFields)
			return nil
		}
		if !apierrors.IsConflict(err) {
			return err
		}
		now, readErr := m.read(ctx, d.Name)
		if readErr != nil {
			return readErr
		}
		if now.uid != d.uid || now.generation != d.generation {
			return errChanged
		}
		d.resourceVersion = now.resourceVersion
		return err
	})
}

// read returns the definition of that name.
func (m *Migrator) read(ctx context.Context, name string) (Definition, error) {
	crd := &unstructured.Unstructured{}
	crd.SetGroupVersionKind(crdKind)
	if err := m.client.Get(ctx, client.ObjectKey{Name: name}, crd); err != nil {
		return Definition{}, fmt.Errorf("reading CustomResourceDefinition %q: %w", name, err)
	}
	return definitionOf(crd)
}

// readPatiently is read with transient errors retried.
func (m *Migrator) readPatiently(ctx context.Context, name string) (Definition, error) {
	var definition Definition
	err := persist(ctx, func() (err error) {
		definition, err = m.read(ctx, name)
		return err
	})
	return definition, err
}

// isGone tells whether a definition was deleted, and its objects with it.
func (m *Migrator) isGone(ctx context.Context, d Definition) bool {
	_, err := m.readPatiently(ctx, d.Name)
	return apierrors.IsNotFound(err)
}
