// Package apply makes the cluster match a list of objects: staged server-side apply, ownership takeover, wait, prune.
package apply

import (
	"context"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// defaultConcurrency is how many requests are in flight when the options do not say.
const defaultConcurrency = 8

// Options configure an Applier.
type Options struct {
	// FieldManager is the server-side apply field manager, v1.FieldManager by default.
	FieldManager string
	// OverrideManagers are the exact names of further field managers whose fields are taken over.
	OverrideManagers []string
	// Concurrency is how many requests are in flight at most, 8 by default.
	Concurrency int
	// Owner is the FluxInstance whose labels a live object must carry to be pruned. It is needed to prune objects that do not carry
	// owner labels themselves, such as those read back from an inventory.
	Owner types.NamespacedName
}

// Applier writes objects to one cluster and watches what becomes of them. It holds no objects between calls and may be used concurrently.
type Applier struct {
	client      client.WithWatch
	manager     string
	foreign     []foreignManager
	concurrency int
	owner       types.NamespacedName
	// left are fields that are left to others beside those that annotations name; nil where nobody looked for autoscalers.
	left Fields
}

// New returns an Applier that talks through the client, which must read from the API server and not from a cache.
// Waiting for CustomResourceDefinitions takes much less memory when the client's scheme went through AddToScheme.
func New(c client.WithWatch, opts Options) *Applier {
	if opts.FieldManager == "" {
		opts.FieldManager = v1.FieldManager
	}
	if opts.Concurrency <= 0 {
		opts.Concurrency = defaultConcurrency
	}
	return &Applier{
		client:      c,
		manager:     opts.FieldManager,
		foreign:     foreignManagers(opts.FieldManager, opts.OverrideManagers),
		concurrency: opts.Concurrency,
		owner:       opts.Owner,
	}
}

// inParallel calls do for every index below n, at most limit at a time, and returns when all calls have returned.
// Once the context is done no further call is started.
func inParallel(ctx context.Context, limit, n int, do func(i int)) {
	var running sync.WaitGroup
	free := make(chan struct{}, limit)
	for i := range n {
		select {
		case <-ctx.Done():
		case free <- struct{}{}:
		}
		if ctx.Err() != nil {
			break
		}
		running.Go(func() {
			defer func() { <-free }()
			do(i)
		})
	}
	running.Wait()
}

// Action says what became of an object.
type Action string

const (
	// Created means that the object did not exist.
	Created Action = "created"
	// Configured means that the object existed and was changed.
	Configured Action = "configured"
	// Unchanged means that the object was as wanted.
	Unchanged Action = "unchanged"
	// Deleted means that the API server accepted the deletion of the object, or that it was gone already.
	Deleted Action = "deleted"
	// Skipped means that the object was left alone: it belongs to somebody else or is exempt from pruning.
	Skipped Action = "skipped"
)

// Change is what became of one object.
type Change struct {
	// Object names the object and holds nothing else.
	Object *unstructured.Unstructured
	// Action says what was done.
	Action Action
	// Observed is how the object looked afterwards; it is empty for deleted and skipped objects.
	Observed Observed
}
