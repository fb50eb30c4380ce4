package artifact

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// failing answers the first n requests with a status.
func failing(n int32, status int, header http.Header) func(http.Handler) http.Handler {
	var count atomic.Int32
	return func(inner http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if count.Add(1) > n {
				inner.ServeHTTP(w, r)
				return
			}
			maps.Copy(w.Header(), header)
			w.WriteHeader(status)
		})
	}
}

func TestRetries(t *testing.T) {
	for _, tt := range []struct {
		status int
		header http.Header
		most   time.Duration
		least  time.Duration
	}{
		{http.StatusTooManyRequests, nil, time.Minute, 0},
		{http.StatusTooManyRequests, http.Header{"Retry-After": {"1"}}, time.Minute, time.Second},
		{http.StatusServiceUnavailable, http.Header{"Retry-After": {"1"}}, time.Minute, time.Second},
		{http.StatusInternalServerError, nil, time.Minute, 0},
		{http.StatusBadGateway, nil, time.Minute, 0},
		{http.StatusGatewayTimeout, nil, time.Minute, 0},
		{http.StatusRequestTimeout, nil, time.Minute, 0},
	} {
		h := newHub(t, failing(1, tt.status, tt.header))
		want := h.publish(t, "latest", release(t, "v2.9.4"))
		start := time.Now()
		got, err := h.source(t, "latest").Resolve(t.Context())
		requests, _ := h.asked()
		if err != nil || got != want || len(requests) != 2 {
			t.Errorf("%d %v: %q, %v after %v", tt.status, tt.header, got, err, requests)
		}
		if took := time.Since(start); took < tt.least || took > tt.most {
			t.Errorf("%d %v: took %s", tt.status, tt.header, took)
		}
	}
}

func TestRetriesEnd(t *testing.T) {
	for _, tt := range []struct {
		reason   string
		status   int
		header   http.Header
		timeout  time.Duration
		requests int
		after    time.Duration
	}{
		{"nothing helps", http.StatusBadGateway, nil, time.Minute, maxRetries + 1, 0},
		{"the registry wants more time than a request has", http.StatusTooManyRequests, http.Header{"Retry-After": {"120"}}, time.Minute, 1, 2 * time.Minute},
		{"the caller has less time than the registry wants", http.StatusTooManyRequests, http.Header{"Retry-After": {"9"}}, 5 * time.Second, 1, 9 * time.Second},
		{"the registry wants to be left alone for ever", http.StatusServiceUnavailable, http.Header{"Retry-After": {"99999999"}}, time.Minute, 1, time.Hour},
		{"HEAD and GET are not implemented", http.StatusNotImplemented, nil, time.Minute, 2, 0},
	} {
		h := newHub(t, failing(1000, tt.status, tt.header))
		ctx, cancel := context.WithTimeout(t.Context(), tt.timeout)
		_, err := h.source(t, "latest").Resolve(ctx)
		cancel()
		requests, _ := h.asked()
		refused := new(RegistryError)
		if !errors.As(err, &refused) || refused.StatusCode != tt.status || refused.RetryAfter != tt.after || refused.Host != h.host() {
			t.Errorf("%s: %v (%+v)", tt.reason, err, refused)
		}
		if len(requests) != tt.requests {
			t.Errorf("%s: %d requests, want %d", tt.reason, len(requests), tt.requests)
		}
		if err != nil && !strings.Contains(err.Error(), strconv.Itoa(tt.status)) {
			t.Errorf("%s: %v does not say the status", tt.reason, err)
		}
	}
}

func TestRetryAfterDate(t *testing.T) {
	for _, tt := range []struct {
		value    string
		from, to time.Duration
	}{
		{time.Now().Add(time.Minute).UTC().Format(http.TimeFormat), 58 * time.Second, time.Minute},
		{time.Now().Add(-time.Minute).UTC().Format(http.TimeFormat), 0, 0},
		{"-5", 0, 0},
		{"soon", 0, 0},
		{"", 0, 0},
		{"99999999999999999999", 0, 0},
	} {
		got := retryAfter(&http.Response{Header: http.Header{"Retry-After": {tt.value}}})
		if got < tt.from || got > tt.to {
			t.Errorf("%q means %s, want %s to %s", tt.value, got, tt.from, tt.to)
		}
	}
}

func TestDeadlineOfTheCallerRules(t *testing.T) {
	ended := make(chan struct{})
	h := newHub(t, func(http.Handler) http.Handler {
		return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			close(ended)
		})
	})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second) // the request arrives before
	defer cancel()
	if _, err := h.source(t, "latest").Resolve(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a registry that hangs: %v", err)
	}
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("the request goes on after its deadline")
	}
}

func TestNobodyListens(t *testing.T) {
	h := newHub(t)
	source := h.source(t, "latest")
	h.Close()
	if _, err := source.Resolve(t.Context()); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("%v, want the reason", err)
	}
}
