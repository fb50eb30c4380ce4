package controllers

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/artifact"
	"github.com/flux-autopilot/flux-operator/pkg/render"
)

// open opens the distribution to install from: the artifact that the instance names, else the built-in one. Where the artifact cannot be had,
// what stands in for it.
func (r *FluxInstanceReconciler) open(ctx context.Context, instance *v1.FluxInstance, run *attempt) (*artifact.Catalog, error) {
	if instance.Spec.Distribution.Artifact == "" {
		return r.Artifacts.Builtin()
	}
	maxAge := instance.ArtifactInterval()
	if requested(instance) {
		maxAge = 0
	}
	pulling, cancel := context.WithTimeout(ctx, instance.ArtifactTimeout())
	defer cancel()
	run.look = r.Artifacts.look(pulling, instance, maxAge)
	catalog, err := r.Artifacts.pull(pulling, run.look)
	if err == nil {
		run.artifact = describe(instance.Spec.Distribution.Artifact, catalog)
		return catalog, nil
	}
	run.degraded = err
	opening, cancel := context.WithTimeout(ctx, instance.ArtifactTimeout())
	defer cancel()
	catalog, err = r.Artifacts.standIn(opening, run.look, instance.Status.Artifact)
	if err == nil && catalog.Digest != "" {
		run.artifact = describe(instance.Status.Artifact.Reference, catalog)
	}
	return catalog, err
}

// describe says what an artifact is and who vouches for it.
func describe(reference string, catalog *artifact.Catalog) *v1.ArtifactStatus {
	status := &v1.ArtifactStatus{Reference: reference, Digest: catalog.Digest}
	if signer := catalog.Verification; signer != nil {
		status.Verified = &v1.ArtifactSigner{Key: signer.Key, Issuer: signer.Issuer, Subject: signer.Subject}
	}
	return status
}

// accept judges what a built-in distribution that stands in for an artifact gave. It may install Flux where none runs, and put drift back
// where it gives the very objects that run; anything else would change what runs because a registry is away.
func (run *attempt) accept(instance *v1.FluxInstance, set *render.Set, err error) error {
	switch {
	case run.degraded == nil || run.artifact != nil:
		return err
	case err == nil && (set.Revision == run.previous || instance.Status.LastArtifactRevision == ""):
		return nil
	case run.previous.IsZero():
		return retry(v1.ReasonArtifactFailed, fmt.Errorf("%w; the built-in distribution cannot stand in: %w", run.degraded, err))
	}
	return hold(v1.ReasonArtifactFailed, errors.Join(run.degraded, err))
}

// recordArtifact notes from which artifact a successful pass installed. A built-in distribution that stood in for it gave what runs already.
func (run *attempt) recordArtifact(instance *v1.FluxInstance) {
	switch {
	case run.artifact != nil:
		instance.Status.Artifact, instance.Status.LastArtifactRevision = run.artifact, run.artifact.Digest
	case run.degraded == nil:
		instance.Status.Artifact, instance.Status.LastArtifactRevision = nil, ""
	}
}

// reportArtifact says in its own condition whether the artifact can be had, and in an event when that changed.
func (r *FluxInstanceReconciler) reportArtifact(instance *v1.FluxInstance, run *attempt) {
	if run.degraded == nil {
		if apimeta.RemoveStatusCondition(&instance.Status.Conditions, v1.ArtifactFailedCondition) {
			r.event(instance, corev1.EventTypeNormal, v1.ReasonProgressing, "The distribution artifact can be had again, or is not asked for any more")
		}
		return
	}
	message := truncate(run.degraded.Error()+"; "+run.standsIn(instance), maxConditionMessage)
	before := apimeta.FindStatusCondition(instance.Status.Conditions, v1.ArtifactFailedCondition)
	if before != nil && before.Message == message {
		return
	}
	setCondition(instance, v1.ArtifactFailedCondition, metav1.ConditionTrue, artifactReason(run.degraded), message)
	r.event(instance, corev1.EventTypeWarning, v1.ReasonArtifactFailed, message)
}

// standsIn says what is gone on with while the artifact cannot be had.
func (run *attempt) standsIn(instance *v1.FluxInstance) string {
	switch {
	case run.artifact != nil:
		return "the artifact " + run.artifact.Digest + " stays in use"
	case run.previous.IsZero() || instance.Status.LastArtifactRevision == "":
		return "the built-in distribution stands in"
	}
	return "what runs stays as it is"
}

// artifactReason tells a signature that is not trusted from one that nobody can judge now, and from a registry that cannot be reached.
func artifactReason(err error) string {
	if _, untrusted := errors.AsType[*artifact.VerificationError](err); untrusted {
		return v1.ReasonVerificationFailed
	}
	if _, unchecked := errors.AsType[*artifact.UncheckedError](err); unchecked {
		return v1.ReasonVerificationUnavailable
	}
	return v1.ReasonArtifactFailed
}
