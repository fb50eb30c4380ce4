package controllers

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/apply"
	"github.com/flux-autopilot/flux-operator/pkg/render"
)

// conclude turns the end of a pass into conditions, history, events and the time of the next pass. Nothing else writes Ready=True or False.
func (r *FluxInstanceReconciler) conclude(ctx context.Context, instance *v1.FluxInstance, status *statusWriter, run *attempt, err error) (ctrl.Result, error) {
	if ctx.Err() != nil {
		// The operator is shutting down: what was saved says "in progress", which is true for the one that takes over.
		return ctrl.Result{}, ctx.Err()
	}
	if at, ok := meta.ReconcileAnnotationValue(instance.Annotations); ok {
		instance.Status.LastHandledReconcileAt = at
	}
	r.reportContests(instance)
	r.upgrades.note(instance, run, err)
	if err == nil {
		r.concludeAdoption(instance)
		if run.heading != run.revision.Version {
			r.reportLeg(instance, run)
			return ctrl.Result{RequeueAfter: time.Millisecond}, status.save(ctx, instance)
		}
		r.reportSuccess(instance, run)
		if err := status.save(ctx, instance); err != nil {
			r.last.unsettle() // nobody was told that it succeeded
			return ctrl.Result{}, err
		}
		return r.next(instance), nil
	}
	f := asFailure(err)
	if !f.held {
		r.last.unsettle()
		r.reportCorrections(instance, run.correctionLines())
		r.reportFailure(instance, run, f)
	}
	return settle(f, status.save(ctx, instance))
}

// settle says when a failed pass is tried again: at once when a newer change waits, never by itself when stalled, else with backoff.
func settle(f *failure, saveErr error) (ctrl.Result, error) {
	if saveErr != nil {
		return ctrl.Result{}, errors.Join(f, saveErr)
	}
	if errors.Is(f, errSuperseded) {
		return ctrl.Result{RequeueAfter: time.Millisecond}, nil
	}
	if f.stalled {
		return ctrl.Result{}, reconcile.TerminalError(f)
	}
	return ctrl.Result{}, f
}

// reportLeg tells of a release that runs and is not the wanted one yet: the next pass goes on from there.
func (r *FluxInstanceReconciler) reportLeg(instance *v1.FluxInstance, run *attempt) {
	message := fmt.Sprintf("Flux %s is installed, on the way to %s", run.revision.Version, run.heading)
	r.event(instance, corev1.EventTypeNormal, v1.ReasonProgressing, message)
	progress(instance, v1.ReasonProgressing, message)
	instance.Status.History.Upsert(run.revision.Digest, time.Now(), time.Since(run.started), v1.ReasonReconciliationSucceeded,
		map[string]string{"flux": run.revision.Version})
	run.record(instance)
}

// record notes what was installed and from where.
func (run *attempt) record(instance *v1.FluxInstance) {
	instance.Status.LastAppliedRevision = run.revision.String()
	instance.Status.Components = run.images
	run.recordArtifact(instance)
}

func (r *FluxInstanceReconciler) reportSuccess(instance *v1.FluxInstance, run *attempt) {
	changes, corrected := changeLines(run.changes), run.correctionLines()
	installed := run.previous != run.revision
	if len(changes) > 0 || len(corrected) > 0 || installed || !isReady(instance) {
		took := time.Since(run.started)
		succeed(instance, v1.ReasonReconciliationSucceeded, "Reconciliation finished in "+rounded(took).String())
		instance.Status.History.Upsert(run.revision.Digest, time.Now(), took, v1.ReasonReconciliationSucceeded,
			map[string]string{"flux": run.revision.Version})
	} else if ready := apimeta.FindStatusCondition(instance.Status.Conditions, meta.ReadyCondition); ready.ObservedGeneration != instance.Generation {
		succeed(instance, v1.ReasonReconciliationSucceeded, ready.Message)
	}
	run.record(instance)
	if at, ok := instance.Annotations[meta.ForceRequestAnnotation]; ok {
		instance.Status.LastHandledForceAt = at
	}
	r.last.settle(instance, run)
	r.reportCorrections(instance, corrected)
	r.reportChanges(instance, run, changes)
}

// reportCorrections tells what was put back.
func (r *FluxInstanceReconciler) reportCorrections(instance *v1.FluxInstance, corrected []string) {
	if len(corrected) > 0 {
		r.event(instance, corev1.EventTypeWarning, v1.ReasonDriftCorrected, "Put back what somebody changed:\n"+strings.Join(corrected, "\n"))
	}
}

// reportChanges says in one event what a pass changed on its own account, and nothing when that is nothing.
func (r *FluxInstanceReconciler) reportChanges(instance *v1.FluxInstance, run *attempt, changes []string) {
	what := "Flux " + run.revision.Version
	switch {
	case run.previous.IsZero():
		what += " installed"
	case run.previous.Version != run.revision.Version:
		what += " installed, before it was " + run.previous.Version
	case run.previous != run.revision:
		what += " reconfigured"
	case len(changes) > 0:
		what += " corrected"
	default:
		return
	}
	r.event(instance, corev1.EventTypeNormal, v1.ReasonReconciliationSucceeded, strings.Join(append([]string{what}, changes...), "\n"))
}

func (r *FluxInstanceReconciler) reportFailure(instance *v1.FluxInstance, run *attempt, f *failure) {
	before := apimeta.FindStatusCondition(instance.Status.Conditions, meta.ReadyCondition).DeepCopy()
	fail(instance, f)
	digest, metadata := specDigest(instance), map[string]string(nil)
	if !run.revision.IsZero() {
		digest, metadata = run.revision.Digest, map[string]string{"flux": run.revision.Version}
	}
	instance.Status.History.Upsert(digest, time.Now(), time.Since(run.started), f.reason, metadata)
	after := apimeta.FindStatusCondition(instance.Status.Conditions, meta.ReadyCondition)
	if before != nil && before.Reason == after.Reason && before.Message == after.Message {
		return
	}
	kind := corev1.EventTypeWarning
	if f.reason == v1.ReasonHealthCheckCanceled || f.reason == v1.ReasonAdoptionPending {
		kind = corev1.EventTypeNormal
	}
	r.event(instance, kind, f.reason, f.Error())
}

// announce tells that a new revision is about to be applied, and which of its images can change without it.
func (r *FluxInstanceReconciler) announce(instance *v1.FluxInstance, set *render.Set) {
	verb := "Upgrading to revision "
	if instance.Status.LastAttemptedRevision == "" {
		verb = "Installing revision "
	}
	r.event(instance, corev1.EventTypeNormal, v1.ReasonProgressing, verb+set.Revision.String())
	if unpinned := set.Unpinned(); len(unpinned) > 0 {
		r.event(instance, corev1.EventTypeWarning, v1.ReasonProgressing, "Images without a digest: "+strings.Join(unpinned, ", "))
	}
}

func (r *FluxInstanceReconciler) event(instance *v1.FluxInstance, kind, reason, message string) {
	annotations := map[string]string{}
	if revision := instance.Status.LastAttemptedRevision; revision != "" {
		annotations[v1.RevisionAnnotation] = revision
	}
	r.Recorder.AnnotatedEventf(instance, annotations, kind, reason, "%s", truncate(message, maxEventMessage))
}

// changeLines names what was created, configured or deleted, one object a line.
func changeLines(changes []apply.Change) []string {
	var lines []string
	for _, change := range changes {
		if !isEffective(change) {
			continue
		}
		name := change.Object.GetName()
		if ns := change.Object.GetNamespace(); ns != "" {
			name = ns + "/" + name
		}
		lines = append(lines, fmt.Sprintf("%s/%s %s", change.Object.GetKind(), name, change.Action))
	}
	return lines
}

// isEffective tells whether something was created, configured or deleted.
func isEffective(change apply.Change) bool {
	return change.Action != apply.Unchanged && change.Action != apply.Skipped
}

// specDigest identifies a spec that could not be rendered, in the history.
func specDigest(instance *v1.FluxInstance) string {
	data, err := json.Marshal(instance.Spec)
	if err != nil {
		data = []byte(instance.Spec.Distribution.Version)
	}
	return fmt.Sprintf("sha256:%x", sha256.Sum256(data))
}
