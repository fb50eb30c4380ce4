package controllers

import (
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
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

// upgrade is a release that was chosen and a newer one that was not.
type upgrade struct{ chosen, newest string }

// tellOutdated says once that there is a newer release than the chosen one, and again when either changes.
func (r *FluxInstanceReconciler) tellOutdated(instance *v1.FluxInstance, chosen string, available []string) {
	told := upgrade{chosen: chosen, newest: version.Newer(chosen, available)}
	if told == r.told {
		return
	}
	r.told = told
	if told.newest == "" {
		return
	}
	r.event(instance, corev1.EventTypeNormal, v1.ReasonOutdatedVersion, fmt.Sprintf("Flux %s is available; spec.distribution.version %q chooses %s",
		told.newest, instance.Spec.Distribution.Version, told.chosen))
}
