package controllers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/inventory"
	"github.com/flux-autopilot/flux-operator/pkg/migrate"
	"github.com/flux-autopilot/flux-operator/pkg/version"
)

// maxNamed is how many objects or tools a message names.
const maxNamed = 10

// survey looks at what is in the cluster of the wanted objects that the instance does not own yet, says so in status.adoption, and ends the pass
// before anything is changed where the collision rule or the dry run wants it so. A first installation makes no request for it where no
// definition of Flux is in the cluster.
func (r *FluxInstanceReconciler) survey(ctx context.Context, instance *v1.FluxInstance, way *journey, owned inventory.Inventory) error {
	found, err := r.found(ctx, instance, way, owned)
	if err != nil {
		return retry(v1.ReasonPreflightFailed, fmt.Errorf("looking for objects to take over: %w", err))
	}
	switch {
	case !isEmpty(found, instance):
		observe(instance, migrate.Survey(instance, *found))
	case instance.OnlyReportsAdoption() && found != nil:
		observe(instance, &v1.AdoptionStatus{})
	case owned.Len() == 0, isReportOnly(instance):
		instance.Status.Adoption = nil // what was found before is gone, or is not wanted any more
	}
	adoption := instance.Status.Adoption
	if found == nil || adoption == nil {
		return nil
	}
	if err := cmp.Or(refusal(instance), goesBack(instance, way.set.Revision.Version)); err != nil {
		return stall(v1.ReasonPreflightFailed, err)
	}
	if instance.OnlyReportsAdoption() {
		return stall(v1.ReasonAdoptionPending, pending(adoption))
	}
	adoption.InProgress = !adoption.Taken
	return nil
}

// isReportOnly tells whether there is a survey after which nothing was taken over: it was refused, or waits for the end of a dry run.
func isReportOnly(instance *v1.FluxInstance) bool {
	adoption := instance.Status.Adoption
	return adoption != nil && !adoption.Taken && !adoption.InProgress
}

// adoptedVersion is the release that was found in the cluster, where it is being taken over.
func adoptedVersion(instance *v1.FluxInstance) string {
	if adoption := instance.Status.Adoption; adoption != nil && adoption.InProgress {
		return adoption.Version
	}
	return ""
}

// found reads what there is of the objects that are not owned; nil says that nothing can be there, or that there is nothing to look for.
func (r *FluxInstanceReconciler) found(ctx context.Context, instance *v1.FluxInstance, way *journey, owned inventory.Inventory) (*migrate.Found, error) {
	found := &migrate.Found{Managers: r.OverrideManagers, Definitions: way.live}
	for _, obj := range way.set.Objects {
		if !owned.Has(obj) {
			found.Wanted = append(found.Wanted, obj)
		}
	}
	if len(found.Wanted) == 0 {
		return nil, nil //nolint:nilnil // everything is owned
	}
	if !way.looked {
		definitions, err := migrate.Definitions(found.Wanted)
		if err != nil {
			return nil, err
		}
		if found.Definitions, err = r.liveOf(ctx, definitions); err != nil {
			return nil, err
		}
	}
	strict := instance.OnlyReportsAdoption() || instance.Collisions() != v1.CollideAny
	if owned.Len() == 0 && len(found.Definitions) == 0 && !strict {
		return nil, nil //nolint:nilnil // where no kind of Flux is, no Flux is
	}
	var err error
	found.Live, err = r.Migrator.Existing(ctx, found.Wanted)
	return found, err
}

// liveOf returns the live definitions of that name.
func (r *FluxInstanceReconciler) liveOf(ctx context.Context, definitions []migrate.Definition) ([]migrate.Definition, error) {
	if len(definitions) == 0 {
		return nil, nil
	}
	return r.Migrator.Live(ctx, definitions)
}

// isEmpty tells whether nothing was found but the namespace in which the instance is.
func isEmpty(found *migrate.Found, instance *v1.FluxInstance) bool {
	if found == nil || len(found.Live) == 0 {
		return true
	}
	return len(found.Live) == 1 && found.Live[0].GetKind() == "Namespace" && found.Live[0].GetName() == instance.Namespace
}

// observe writes a survey down. One that says the same as the last one keeps its time, and so causes no write.
func observe(instance *v1.FluxInstance, survey *v1.AdoptionStatus) {
	survey.ObservedAt = metav1.NewTime(time.Now().Truncate(time.Second))
	if before := instance.Status.Adoption; before != nil && !before.Taken {
		survey.InProgress = before.InProgress // of other objects
		same := before.DeepCopy()
		same.ObservedAt = survey.ObservedAt
		if equality.Semantic.DeepEqual(same, survey) {
			return
		}
	}
	instance.Status.Adoption = survey
}

// refusal says which objects may not be taken over and what to do about it.
func refusal(instance *v1.FluxInstance) error {
	refused := instance.Status.Adoption.Refused
	if len(refused) == 0 {
		return nil
	}
	cure := "set it to " + string(v1.CollideAny)
	if instance.Collisions() == v1.CollideOwn {
		cure = fmt.Sprintf("set it to %s or %s", v1.CollideUnowned, v1.CollideAny)
	}
	return fmt.Errorf("spec.adoption.collisions: %s does not let the instance take over what is there already: %s; %s, or remove the objects; status.adoption names who manages them",
		instance.Collisions(), someOf(refused), cure)
}

// goesBack refuses to replace a newer minor of Flux, as it is refused of a minor that the operator installed. A label that holds no version
// says nothing.
func goesBack(instance *v1.FluxInstance, release string) error {
	err := version.CheckTransition(instance.Status.Adoption.Version, release)
	if back, ok := errors.AsType[*version.DowngradeError](err); ok {
		return fmt.Errorf("spec.distribution.version: %w", back)
	}
	return nil
}

// pending says what waits for the end of the dry run.
func pending(adoption *v1.AdoptionStatus) error {
	if adoption.Objects == 0 {
		return errors.New("spec.adoption.dryRun: none of the wanted objects is in the cluster and nothing was changed; set it to false to install them")
	}
	return fmt.Errorf("spec.adoption.dryRun: %d objects of %s are to be taken over and nothing was changed; settings of %s would be lost, see status.adoption; "+
		"set it to false to go ahead", adoption.Objects, toolNames(adoption), lossyObjects(adoption))
}

// adopt takes over what the survey found, before anything of it is applied. A pass that fails later has it done again by the next one, which
// finds little to do.
func (r *FluxInstanceReconciler) adopt(ctx context.Context, instance *v1.FluxInstance, objects []*unstructured.Unstructured) error {
	if adoption := instance.Status.Adoption; adoption == nil || !adoption.InProgress {
		return nil
	}
	_, err := r.Applier.Adopt(ctx, objects)
	return retry(v1.ReasonReconciliationFailed, err)
}

// concludeAdoption tells once that everything that was found is the instance's now.
func (r *FluxInstanceReconciler) concludeAdoption(instance *v1.FluxInstance) {
	adoption := instance.Status.Adoption
	if adoption == nil || !adoption.InProgress {
		return
	}
	adoption.Taken, adoption.InProgress = true, false
	message := fmt.Sprintf("Took over %d objects from %s", adoption.Objects, toolNames(adoption))
	if len(adoption.Losses) > 0 {
		message += fmt.Sprintf("; settings of %s are gone, see status.adoption.losses", lossyObjects(adoption))
	}
	r.event(instance, corev1.EventTypeNormal, v1.ReasonAdopted, message)
}

// toolNames lists who managed the objects before.
func toolNames(adoption *v1.AdoptionStatus) string {
	names := make([]string, 0, len(adoption.Tools))
	for _, tool := range adoption.Tools {
		names = append(names, fmt.Sprintf("%s (%d)", tool.Name, tool.Objects))
	}
	return someOf(names)
}

// lossyObjects says how many objects lose settings; one may do so from several managers.
func lossyObjects(adoption *v1.AdoptionStatus) string {
	objects := map[string]bool{}
	for _, loss := range adoption.Losses {
		objects[loss.Object] = true
	}
	if len(adoption.Losses) == migrate.MaxListed {
		return fmt.Sprintf("%d or more objects", len(objects))
	}
	return fmt.Sprintf("%d objects", len(objects))
}

// someOf names the first few.
func someOf(names []string) string {
	if len(names) <= maxNamed {
		return strings.Join(names, ", ")
	}
	return strings.Join(names[:maxNamed], ", ") + " and others"
}
