package controllers

import (
	"errors"
	"strings"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// Condition and event messages are bounded, in bytes: the API server takes 32 KiB for a condition and 1 KiB for an event note.
const (
	maxConditionMessage = 8 << 10
	maxEventMessage     = 1000
)

// failure is an error that knows what the user is told about it.
type failure struct {
	reason  string
	stalled bool
	// held means that what runs was left alone and is as good as before: Ready keeps what it says.
	held bool
	err  error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// retry marks an error that may go away by itself: the pass is tried again with backoff.
func retry(reason string, err error) error {
	if err == nil {
		return nil
	}
	return &failure{reason: reason, err: err}
}

// stall marks an error that only a change by somebody can mend: no further pass until then.
func stall(reason string, err error) error {
	if err == nil {
		return nil
	}
	return &failure{reason: reason, stalled: true, err: err}
}

// hold marks an error that keeps a pass from changing anything, and takes nothing from what runs: the pass is tried again with backoff.
func hold(reason string, err error) error {
	return &failure{reason: reason, held: true, err: err}
}

// isStalled tells whether only a change by somebody can mend an error.
func isStalled(err error) bool {
	return err != nil && asFailure(err).stalled
}

// asFailure finds the failure in an error chain; an error without one is retried as a failed reconciliation.
func asFailure(err error) *failure {
	if f, ok := errors.AsType[*failure](err); ok {
		return &failure{reason: f.reason, stalled: f.stalled, held: f.held, err: err}
	}
	return &failure{reason: v1.ReasonReconciliationFailed, err: err}
}

// progress says that a pass is under way. Ready turns Unknown, so it is used only where the pass may change what runs.
func progress(instance *v1.FluxInstance, reason, message string) {
	setCondition(instance, meta.ReadyCondition, metav1.ConditionUnknown, reason, message)
	setCondition(instance, meta.ReconcilingCondition, metav1.ConditionTrue, reason, message)
	apimeta.RemoveStatusCondition(&instance.Status.Conditions, meta.StalledCondition)
}

// proceed says how far a pass has come. Where that pass only tries again what failed, Ready keeps saying so: it is not better before it succeeds.
func proceed(instance *v1.FluxInstance, message string) {
	if isSettled(instance) && !isReady(instance) {
		setCondition(instance, meta.ReconcilingCondition, metav1.ConditionTrue, v1.ReasonProgressing, message)
		return
	}
	progress(instance, v1.ReasonProgressing, message)
}

// succeed says that the cluster matches the spec.
func succeed(instance *v1.FluxInstance, reason, message string) {
	setCondition(instance, meta.ReadyCondition, metav1.ConditionTrue, reason, message)
	apimeta.RemoveStatusCondition(&instance.Status.Conditions, meta.ReconcilingCondition)
	apimeta.RemoveStatusCondition(&instance.Status.Conditions, meta.StalledCondition)
}

// fail says what went wrong and whether another pass will follow without a change.
func fail(instance *v1.FluxInstance, f *failure) {
	message := truncate(strings.ReplaceAll(f.Error(), "\n", "; "), maxConditionMessage)
	setCondition(instance, meta.ReadyCondition, metav1.ConditionFalse, f.reason, message)
	if f.stalled {
		setCondition(instance, meta.StalledCondition, metav1.ConditionTrue, f.reason, message)
		apimeta.RemoveStatusCondition(&instance.Status.Conditions, meta.ReconcilingCondition)
		return
	}
	setCondition(instance, meta.ReconcilingCondition, metav1.ConditionTrue, v1.ReasonProgressingWithRetry, message)
	apimeta.RemoveStatusCondition(&instance.Status.Conditions, meta.StalledCondition)
}

func setCondition(instance *v1.FluxInstance, kind string, status metav1.ConditionStatus, reason, message string) {
	apimeta.SetStatusCondition(&instance.Status.Conditions, metav1.Condition{
		Type: kind, Status: status, Reason: reason, Message: message, ObservedGeneration: instance.Generation,
	})
}

// rounded makes a duration short enough to read: milliseconds below a second, seconds above.
func rounded(d time.Duration) time.Duration {
	if d < time.Second {
		return d.Round(time.Millisecond)
	}
	return d.Round(time.Second)
}

// truncate cuts a message to at most limit bytes, at a character boundary, and shows that it did.
func truncate(message string, limit int) string {
	if len(message) <= limit {
		return message
	}
	const mark = " …"
	cut := limit - len(mark)
	for cut > 0 && message[cut]&0xC0 == 0x80 {
		cut--
	}
	return message[:cut] + mark
}
