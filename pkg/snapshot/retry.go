package snapshot

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/wait"
)

// attempts are ten within a quarter of a minute. How long to wait when the API server is busy is what it says itself, and the client obeys.
var attempts = wait.Backoff{Duration: 50 * time.Millisecond, Factor: 1.8, Jitter: 0.2, Steps: 10}

// persist calls do until it succeeds, its error does not go away by itself, the attempts are used up or the context is done.
func persist(ctx context.Context, do func() error) error {
	var last error
	err := wait.ExponentialBackoffWithContext(ctx, attempts, func(context.Context) (bool, error) {
		last = do()
		if isTransient(last) {
			return false, nil
		}
		return true, last
	})
	return cmp.Or(last, err)
}

// isTransient tells whether the same request may succeed a moment later.
func isTransient(err error) bool {
	var answer apierrors.APIStatus
	if !errors.As(err, &answer) {
		return isUnserved(err) || isConnectionError(err)
	}
	switch code := answer.Status().Code; code {
	case http.StatusConflict, http.StatusTooManyRequests:
		return true
	case http.StatusNotFound:
		return isUnserved(err)
	default:
		return code >= http.StatusInternalServerError
	}
}

// isUnserved tells whether the API server does not serve the kind, as opposed to not having the object. A kind that was defined a moment ago is
// served soon.
func isUnserved(err error) bool {
	return apimeta.IsNoMatchError(err) || apierrors.IsNotFound(err) && apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}

// isConnectionError tells whether the API server could not be reached or the connection broke.
func isConnectionError(err error) bool {
	if _, ok := errors.AsType[net.Error](err); ok {
		return !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || utilnet.IsHTTP2ConnectionLost(err)
}
