package apply

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/wait"
)

const (
	// retryFor is how long a transient error of one object is retried.
	retryFor = 20 * time.Second
	// schemaRetryFor is how long the API server may take to know the new schema of a custom resource.
	schemaRetryFor = 3 * time.Second
)

// newBackoff returns the waits between two attempts.
func newBackoff() wait.Backoff {
	return wait.Backoff{Duration: 50 * time.Millisecond, Factor: 1.7, Jitter: 0.2, Cap: 2 * time.Second, Steps: 100}
}

// patience says for how long an error is worth another attempt; 0 for errors that do not go away by themselves.
type patience func(error) time.Duration

// persist calls do until it succeeds, its error is not worth another attempt, or the context is done.
func persist(ctx context.Context, worth patience, do func() error) error {
	started := time.Now()
	backoff := newBackoff()
	for {
		err := do()
		if err == nil || ctx.Err() != nil || time.Since(started) >= worth(err) {
			return err
		}
		if !pause(ctx, backoff.Step()) {
			return err
		}
	}
}

// pause waits for a while, and returns false at once when the context is done.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// patienceWith is how errors of ordinary objects are met.
func patienceWith(err error) time.Duration {
	if isTransient(err) {
		return retryFor
	}
	return 0
}

// patienceWithCustom is how errors of custom resources are met whose definition was applied just before: it takes the API server a moment
// to serve them, and another one to notice a new schema.
func patienceWithCustom(err error) time.Duration {
	if isMalformed(err) {
		return schemaRetryFor
	}
	if isUnserved(err) {
		return retryFor
	}
	return patienceWith(err)
}

// isTransient tells whether the same request may succeed a moment later.
func isTransient(err error) bool {
	if apierrors.HasStatusCause(err, metav1.CauseTypeFieldManagerConflict) || isMalformed(err) {
		return false
	}
	if reason := apierrors.ReasonForError(err); reason == metav1.StatusReasonForbidden {
		// The quota controller has not looked at a new quota yet.
		return strings.Contains(err.Error(), "status unknown for quota")
	}
	if said, ok := statusOf(err); ok && said.Code >= 500 {
		return true
	}
	return apierrors.IsConflict(err) || apierrors.IsTooManyRequests(err) || apierrors.IsTimeout(err) || isConnectionError(err)
}

// isConnectionError tells whether the API server could not be reached or the connection broke.
func isConnectionError(err error) bool {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return true
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	return utilnet.IsConnectionRefused(err) || utilnet.IsConnectionReset(err) || utilnet.IsHTTP2ConnectionLost(err)
}

// isUnserved tells whether the API server does not serve the kind, as opposed to not having the object.
func isUnserved(err error) bool {
	if apimeta.IsNoMatchError(err) {
		return true
	}
	said, ok := statusOf(err)
	if !ok || !apierrors.IsNotFound(err) {
		return false
	}
	return said.Details == nil || said.Details.Name == "" || apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}

// isMalformed tells whether an apply request does not fit the schema: it has a field that is not there, or a value of the wrong type. The API
// server answers 500 to that, as to failures of its own, and gives no reason.
func isMalformed(err error) bool {
	said, ok := statusOf(err)
	return ok && said.Reason == metav1.StatusReasonUnknown &&
		(strings.HasPrefix(said.Message, "failed to create typed ") || strings.HasPrefix(said.Message, "failed to convert "))
}
