package controllers

import (
	"context"
	"fmt"
	"slices"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/migrate"
)

// OwnDefinitions keeps the definitions of the operator's own kinds clean: once after each start, in the replica that leads, it stores all their
// objects in the storage version and says so in status.storedVersions, so that a later release of the operator can drop older ones.
// Definitions that are clean cost a list of names and one request each.
type OwnDefinitions struct {
	// Migrator rewrites stored objects.
	Migrator *migrate.Migrator
	// Backoff bounds the delay between two attempts.
	Backoff Backoff
}

// Start tries until it succeeds or the manager ends. It never fails: Flux is to be looked after all the same.
func (o *OwnDefinitions) Start(ctx context.Context) error {
	for delay := o.Backoff.Min; ; delay = min(2*delay, o.Backoff.Max) {
		err := o.clean(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			log.FromContext(ctx).Error(err, "cleaning the operator's own definitions; trying again", "delay", delay.String())
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(delay):
		}
	}
}

// clean is one attempt.
func (o *OwnDefinitions) clean(ctx context.Context) error {
	live, err := o.Migrator.Live(ctx, []migrate.Definition{{Name: "fluxinstances." + v1.Group}, {Name: "fluxreports." + v1.Group}})
	if err != nil {
		return fmt.Errorf("reading the operator's own definitions: %w", err)
	}
	// Where there never was another version, not even managed fields can be in one.
	steps := slices.DeleteFunc(migrate.Finish(live), func(step migrate.Step) bool { return !step.Rewrite && len(step.Definition.Versions) == 1 })
	return o.Migrator.Run(ctx, steps, func(p migrate.Progress) {
		log.FromContext(ctx).Info("migrating stored objects", "definition", p.Definition, "done", p.Done, "total", p.Total)
	})
}

var _ manager.Runnable = (*OwnDefinitions)(nil)
