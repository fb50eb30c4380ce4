package controllers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/artifact"
	"github.com/flux-autopilot/flux-operator/pkg/migrate"
	"github.com/flux-autopilot/flux-operator/pkg/render"
	"github.com/flux-autopilot/flux-operator/pkg/version"
)

// progressEvery is how often the status says how far a migration has come.
const progressEvery = 3 * time.Second

// journey is how stored objects get to the wanted release without one being stranded.
type journey struct {
	// set is what this pass applies: the wanted release, or the first one on the way to it.
	set *render.Set
	// before are the objects to rewrite before that.
	before []migrate.Step
	// bridges are definitions of older releases to be applied one after the other before that, where no release on the way leads there.
	bridges [][]*unstructured.Unstructured
	// live are the definitions in the cluster, where looked says that somebody looked.
	live   []migrate.Definition
	looked bool
	// tidies tells whether there were definitions already, whose objects are looked at again afterwards.
	tidies bool
	// forced tells whether all objects are looked at, whatever their definitions claim.
	forced bool
	// from is the release that runs, or whose definitions were found, empty when there is none; wanted is the one at the end of the way.
	from, wanted string
}

// plan compares the definitions in the cluster with those of the wanted release. It asks nobody while the release and its definitions stay the
// same, unless the annotation reconcile.fluxcd.io/forceAt says so.
func (r *FluxInstanceReconciler) plan(ctx context.Context, instance *v1.FluxInstance, catalog *artifact.Catalog, run *attempt, wanted *render.Set) (*journey, error) {
	way := &journey{set: wanted, from: run.previous.Version, wanted: wanted.Revision.Version, forced: forces(instance)}
	if !instance.MigratesResources() || r.asksNobody(instance, way, run) {
		return way, nil
	}
	definitions, err := migrate.Definitions(wanted.Objects)
	if err != nil {
		return nil, stall(v1.ReasonMigrationFailed, err)
	}
	live, err := r.Migrator.Live(ctx, definitions)
	if err != nil {
		return nil, retry(v1.ReasonMigrationFailed, err)
	}
	way.live, way.looked, way.tidies = live, true, len(live) > 0
	way.from = cmp.Or(way.from, migrate.Installed(live))
	way.before, err = migrate.Plan(live, definitions)
	if _, stranded := errors.AsType[*migrate.StrandedError](err); stranded {
		return way, r.detour(ctx, instance, catalog, way, live)
	}
	return way, stall(v1.ReasonMigrationFailed, err)
}

// forces tells whether somebody asked for a look at all stored objects that no pass has finished yet. The token is that of the request for a pass.
func forces(instance *v1.FluxInstance) bool {
	at, ok := instance.Annotations[meta.ForceRequestAnnotation]
	return ok && at == instance.Annotations[meta.ReconcileRequestAnnotation] && at != instance.Status.LastHandledForceAt
}

// detour replaces the wanted release by the first one on the way to it.
func (r *FluxInstanceReconciler) detour(ctx context.Context, instance *v1.FluxInstance, catalog *artifact.Catalog, way *journey, live []migrate.Definition) error {
	candidates, err := r.candidates(catalog)
	if err != nil {
		return err
	}
	path, err := migrate.Path(live, way.stopovers(catalog, candidates, instance))
	if err != nil {
		return r.bridge(ctx, instance, catalog, way, candidates)
	}
	if way.set, err = r.build(ctx, instance, catalog, path[0]); err != nil {
		return err
	}
	definitions, err := migrate.Definitions(way.set.Objects)
	if err == nil {
		way.before, err = migrate.Plan(live, definitions)
	}
	return stall(v1.ReasonMigrationFailed, err)
}

// stopovers gives the definitions of all releases that may be gone through, from the oldest to the wanted one: none of them goes back, or stays
// where the way begins. A release that cannot be rendered with this spec, such as one without a component that is asked for, cannot be gone through.
func (j *journey) stopovers(catalog *artifact.Catalog, candidates []string, instance *v1.FluxInstance) []migrate.Release {
	var releases []migrate.Release
	for _, release := range version.Between(j.from, j.wanted, candidates) {
		set, err := render.Render(catalog.FS, release, instance)
		if err != nil {
			continue
		}
		definitions, err := migrate.Definitions(set.Objects)
		if err != nil {
			continue
		}
		releases = append(releases, migrate.Release{Version: release, Definitions: definitions})
	}
	return releases
}

// migrate rewrites what the release that is about to be applied could not read any more.
func (r *FluxInstanceReconciler) migrate(ctx context.Context, instance *v1.FluxInstance, status *statusWriter, run *attempt, steps []migrate.Step) error {
	if len(steps) == 0 {
		return nil
	}
	var told time.Time
	err := r.Migrator.Run(ctx, steps, func(p migrate.Progress) {
		run.watched.Renew()
		if time.Since(told) < progressEvery {
			return
		}
		told = time.Now()
		proceed(instance, fmt.Sprintf("Migrating stored objects of %s: %d of %d", p.Definition, p.Done, p.Total))
		_ = status.save(ctx, instance) // progress that is not told holds nothing up
	})
	return retry(v1.ReasonMigrationFailed, err)
}

// tidy rewrites what the applied release still finds stored in older versions.
func (r *FluxInstanceReconciler) tidy(ctx context.Context, instance *v1.FluxInstance, status *statusWriter, run *attempt, way *journey) error {
	if !way.tidies {
		return nil
	}
	definitions, err := migrate.Definitions(way.set.Objects)
	if err != nil {
		return stall(v1.ReasonMigrationFailed, err)
	}
	live, err := r.Migrator.Live(ctx, definitions)
	if err != nil {
		return retry(v1.ReasonMigrationFailed, err)
	}
	steps := migrate.Finish(live)
	if way.forced {
		steps = migrate.Force(live)
	}
	return r.migrate(ctx, instance, status, run, steps)
}
