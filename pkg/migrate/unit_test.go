package migrate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

var things = schema.GroupResource{Group: "example.com", Resource: "things"}

func TestPersist(t *testing.T) {
	refused := errors.New("connection refused")
	tests := map[string]struct {
		err   error
		again bool
	}{
		"no error":               {nil, false},
		"conflict":               {apierrors.NewConflict(things, "a", errors.New("changed")), true},
		"busy":                   {apierrors.NewTooManyRequests("slower", 0), true},
		"failing webhook":        {apierrors.NewInternalError(errors.New("failed calling webhook")), true},
		"no connection":          {fmt.Errorf("reading: %w", &net.OpError{Op: "dial", Err: refused}), true},
		"broken connection":      {io.ErrUnexpectedEOF, true},
		"refused":                {apierrors.NewForbidden(things, "a", errors.New("hands off")), false},
		"invalid":                {apierrors.NewInvalid(schema.GroupKind{}, "a", nil), false},
		"gone":                   {apierrors.NewNotFound(things, "a"), false},
		"unknown kind":           {&apimeta.NoKindMatchError{}, false},
		"the time is over":       {context.DeadlineExceeded, false},
		"the definition changed": {errChanged, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			calls := 0
			err := persist(t.Context(), func() error {
				if calls++; calls > 1 {
					return nil
				}
				return test.err
			})
			if again := calls == 2; again != test.again {
				t.Errorf("again = %v, want %v", again, test.again)
			}
			if !test.again && !errors.Is(err, test.err) {
				t.Errorf("error = %v, want %v", err, test.err)
			}
		})
	}
}

func TestPersistEnds(t *testing.T) {
	busy := apierrors.NewTooManyRequests("slower", 0)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	calls := 0
	err := persist(ctx, func() error {
		if calls++; calls == 3 {
			cancel()
		}
		return busy
	})
	if calls != 3 || !errors.Is(err, busy) {
		t.Errorf("error after %d calls = %v, want the one of the third", calls, err)
	}
}

func TestIsGone(t *testing.T) {
	unserved := &apierrors.StatusError{ErrStatus: metav1.Status{Reason: metav1.StatusReasonNotFound, Code: 404, Details: &metav1.StatusDetails{}}}
	for name, test := range map[string]struct {
		err  error
		want bool
	}{
		"no error":                   {nil, false},
		"the object":                 {apierrors.NewNotFound(things, "a"), true},
		"the version":                {unserved, false},
		"something else":             {apierrors.NewNotFound(things, "b"), false},
		"refused":                    {apierrors.NewForbidden(things, "a", nil), false},
		"not found by somebody else": {&net.DNSError{IsNotFound: true}, false},
	} {
		if got := isGone(test.err, "a"); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

func TestSettled(t *testing.T) {
	const settle = 200 * time.Millisecond
	m := New(nil, Options{Settle: settle})
	shutdown := errors.New("shutdown")
	ended, cancel := context.WithCancelCause(t.Context())
	cancel(shutdown) // so that who waits is told apart from who does not, whatever the time is
	for name, ago := range map[string]time.Duration{"just now": 0, "by a clock that leads": -time.Hour} {
		began := time.Now()
		if err := m.settled(t.Context(), Definition{changed: began.Add(-ago)}); err != nil || time.Since(began) < settle {
			t.Errorf("%s: %v after %s", name, err, time.Since(began))
		}
		if err := m.settled(ended, Definition{changed: time.Now().Add(-ago)}); !errors.Is(err, shutdown) {
			t.Errorf("%s: error = %v, want the cause", name, err)
		}
	}
	for name, changed := range map[string]time.Time{"long ago": time.Now().Add(-time.Hour), "not known": {}} {
		if err := m.settled(ended, Definition{changed: changed}); err != nil {
			t.Errorf("%s: waited: %v", name, err)
		}
	}
}

func TestErrorsAreOneBoundedLine(t *testing.T) {
	e := &ObjectsError{Definition: "things.example.com", Version: "v1"}
	for i := range failureLimit {
		e.Objects = append(e.Objects, ObjectError{
			Object: types.NamespacedName{Namespace: "ns", Name: fmt.Sprintf("thing-%d", i)}, Err: errors.New(strings.Repeat("denied\n€", 1000)),
		})
	}
	text := e.Error()
	if strings.Contains(text, "\n") || len(text) > failureLimit*(messageLimit+50)+200 {
		t.Errorf("text of %d bytes: %q", len(text), text)
	}
	for _, part := range []string{`"things.example.com" in version v1: 10 and maybe more failed: `, `"ns/thing-0": denied`, `"ns/thing-9"`} {
		if !strings.Contains(text, part) {
			t.Errorf("%q is missing in %q", part, text)
		}
	}
	e.Objects = e.Objects[:1]
	if strings.Contains(e.Error(), "maybe more") || !errors.Is(e, e.Objects[0].Err) {
		t.Errorf("one failure: %q", e.Error())
	}
}

func TestRunWaitsForAChangedDefinition(t *testing.T) {
	over := errors.New("the test is over")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, over)
	defer cancel()
	changed := def("things.example.com", "v1* v0 / v0 v1")
	changed.changed = time.Now()
	// Without a client, a request would panic.
	if err := New(nil, Options{Settle: time.Hour}).Run(ctx, Finish([]Definition{changed}), nil); !errors.Is(err, over) {
		t.Errorf("error = %v, want the cause", err)
	}
}
