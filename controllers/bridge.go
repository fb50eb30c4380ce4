package controllers

import (
	"context"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/artifact"
	"github.com/flux-autopilot/flux-operator/pkg/migrate"
)

// asksNobody tells whether the definitions in the cluster need not be compared with the wanted ones: the release that runs is the wanted one, and
// brings no definition with it that has not been applied. One of an added component may have been left in the cluster by an old Flux, and those
// of another release by a pass that failed.
func (r *FluxInstanceReconciler) asksNobody(instance *v1.FluxInstance, way *journey, run *attempt) bool {
	if way.forced || way.from != way.wanted || !isReady(instance) {
		return false
	}
	return run.previous == way.set.Revision || r.seen.has(ofKind(way.set.Objects, "CustomResourceDefinition"))
}

// bridge finds the definitions of releases that lead from stranded ones in the cluster to the wanted ones. What runs is newer than those, so it
// need not go back for that, and no definition is replaced by an older one.
func (r *FluxInstanceReconciler) bridge(ctx context.Context, instance *v1.FluxInstance, catalog *artifact.Catalog, way *journey, candidates []string) error {
	wanted, err := migrate.Definitions(way.set.Objects)
	if err != nil {
		return stall(v1.ReasonMigrationFailed, err)
	}
	stranded := map[string]bool{}
	for _, definition := range wanted {
		_, err := migrate.Plan(way.live, []migrate.Definition{definition})
		stranded[definition.Name] = err != nil
	}
	passable := func(d migrate.Definition) bool { return !stranded[d.Name] }
	live := slices.DeleteFunc(slices.Clone(way.live), passable)
	aside := &journey{from: migrate.Installed(live), wanted: way.wanted}
	releases := aside.stopovers(catalog, candidates, instance)
	for i := range releases {
		releases[i].Definitions = slices.DeleteFunc(releases[i].Definitions, passable)
	}
	path, err := migrate.Path(live, releases)
	if err != nil {
		return stall(v1.ReasonMigrationFailed, err)
	}
	for _, release := range path[:len(path)-1] {
		set, err := r.build(ctx, instance, catalog, release)
		if err != nil {
			return err
		}
		way.bridges = append(way.bridges, slices.DeleteFunc(ofKind(set.Objects, "CustomResourceDefinition"), func(obj *unstructured.Unstructured) bool {
			return !stranded[obj.GetName()]
		}))
	}
	return nil
}

// cross goes over the bridges: it applies the definitions of each, with what has to be rewritten before and after. What is there in the end is
// what the wanted definitions are compared with. An interrupted pass is gone on with by the next one, from the definitions that it finds.
func (r *FluxInstanceReconciler) cross(ctx context.Context, instance *v1.FluxInstance, status *statusWriter, run *attempt, way *journey) error {
	for _, definitions := range way.bridges {
		if err := r.lead(ctx, instance, status, run, definitions); err != nil {
			return err
		}
	}
	if len(way.bridges) == 0 {
		return nil
	}
	var err error
	way.live, way.before, err = r.stepsTo(ctx, way.set.Objects)
	return retry(v1.ReasonMigrationFailed, err)
}

// lead brings definitions into the cluster and the stored objects into their storage versions.
func (r *FluxInstanceReconciler) lead(ctx context.Context, instance *v1.FluxInstance, status *statusWriter, run *attempt, definitions []*unstructured.Unstructured) error {
	_, before, err := r.stepsTo(ctx, definitions)
	if err != nil {
		return retry(v1.ReasonMigrationFailed, err)
	}
	if err := r.migrate(ctx, instance, status, run, before); err != nil {
		return err
	}
	if _, err := r.Applier.Apply(ctx, definitions, nil); err != nil {
		return retry(v1.ReasonMigrationFailed, fmt.Errorf("applying definitions of a release in between: %w", err))
	}
	live, _, err := r.stepsTo(ctx, definitions)
	if err != nil {
		return retry(v1.ReasonMigrationFailed, err)
	}
	return r.migrate(ctx, instance, status, run, migrate.Finish(live))
}

// stepsTo returns the live definitions, and what must be rewritten before the wanted ones among the objects can be applied.
func (r *FluxInstanceReconciler) stepsTo(ctx context.Context, objects []*unstructured.Unstructured) ([]migrate.Definition, []migrate.Step, error) {
	wanted, err := migrate.Definitions(objects)
	if err != nil {
		return nil, nil, err
	}
	live, err := r.Migrator.Live(ctx, wanted)
	if err != nil {
		return nil, nil, err
	}
	steps, err := migrate.Plan(live, wanted)
	return live, steps, err
}
