package controllers

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/artifact"
	"github.com/flux-autopilot/flux-operator/pkg/render"
	"github.com/flux-autopilot/flux-operator/pkg/version"
)

// choose selects the wanted release and checks that the cluster may go there from the current one. A release that an artifact does not hold
// may be published there later, so that is tried again. What is built in changes with a restart of the operator, which makes a pass anyway.
func choose(wanted v1.Distribution, available []string, current string) (string, error) {
	release, err := version.Select(wanted.Version, available)
	if err == nil {
		err = version.CheckTransition(current, release)
	}
	if err == nil {
		return release, nil
	}
	err = fmt.Errorf("spec.distribution.version: %w", err)
	if _, missing := errors.AsType[*version.NoMatchError](err); missing && wanted.Artifact != "" {
		return "", retry(v1.ReasonBuildFailed, err)
	}
	return "", stall(v1.ReasonBuildFailed, err)
}

// withCure says of a release that is broken what runs in spite of it, and what to do. Other errors name the field to change.
func withCure(err error, instance *v1.FluxInstance) error {
	if _, broken := errors.AsType[*render.ReleaseError](err); !broken {
		return err
	}
	cure := "choose another release in spec.distribution.version"
	if instance.Spec.Distribution.Artifact != "" {
		cure += ", or publish a distribution under the tag of spec.distribution.artifact that is whole"
	}
	if running, _, found := strings.Cut(instance.Status.LastAppliedRevision, "@"); found {
		cure = running + " keeps running; " + cure
	}
	return fmt.Errorf("%w; %s", err, cure)
}

// candidates are the releases of a distribution that may be chosen. What is built in may be; of an artifact, only minors that are built in, too.
func (r *FluxInstanceReconciler) candidates(catalog *artifact.Catalog) ([]string, error) {
	if catalog.Digest == "" {
		return catalog.Versions, nil
	}
	known, err := r.Artifacts.known()
	if err != nil {
		return nil, retry(v1.ReasonArtifactFailed, err)
	}
	return version.Known(catalog.Versions, known), nil
}

// compare sets the chosen release against the newest one of the distribution, and says why they differ.
func compare(constraint, chosen string, available, candidates []string) *v1.ReleaseStatus {
	status := &v1.ReleaseStatus{Elected: chosen, Available: chosen}
	newer := version.Newer(chosen, available)
	if newer == "" {
		return status
	}
	status.Available = newer
	if slices.Contains(candidates, newer) {
		status.Message = fmt.Sprintf("spec.distribution.version %q chooses %s", constraint, chosen)
	} else {
		status.Message = "this version of the operator does not know that minor: update the operator first"
	}
	return status
}

// tellOutdated says once that there is a newer release than the chosen one, and again when either changes.
func (r *FluxInstanceReconciler) tellOutdated(instance *v1.FluxInstance, release *v1.ReleaseStatus) {
	before := instance.Status.Release
	instance.Status.Release = release
	if release.Message == "" || before != nil && *before == *release {
		return
	}
	r.event(instance, corev1.EventTypeNormal, v1.ReasonOutdatedVersion, fmt.Sprintf("Flux %s is available; %s", release.Available, release.Message))
}
