package apply

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

const (
	// messageLimit bounds the text taken over from the API server or a pod, in bytes.
	messageLimit = 400
	// listLimit bounds how many objects one error text names.
	listLimit = 10
)

// ObjectError tells which object could not be dealt with.
type ObjectError struct {
	// Object names the object.
	Object ID
	// Err is the cause. For Secrets it is stripped of everything that may hold a value.
	Err error
}

// Error names the object and the cause.
func (e *ObjectError) Error() string {
	return fmt.Sprintf("%s: %s", e.Object, clip(e.Err.Error()))
}

// Unwrap returns the cause.
func (e *ObjectError) Unwrap() error {
	return e.Err
}

// ImmutableError means that an object differs from what is wanted in a field that cannot be changed.
// It is returned inside an ObjectError.
type ImmutableError struct {
	// Object names the object.
	Object ID
	// Field is the path of the field, empty when the API server did not name one.
	Field string
	// Cause is what the API server said.
	Cause error
}

// Error names the field and the way out.
func (e *ImmutableError) Error() string {
	what := "an immutable field"
	if e.Field != "" {
		what = fmt.Sprintf("immutable field %q", e.Field)
	}
	return fmt.Sprintf("changing %s is refused; set the annotation %s: %s on the object to have it deleted and created anew: %s",
		what, v1.ForceAnnotation, v1.EnabledValue, e.Cause)
}

// Unwrap returns what the API server said.
func (e *ImmutableError) Unwrap() error {
	return e.Cause
}

// NotReady is an object that is not ready, and why.
type NotReady struct {
	// Object names the object.
	Object ID
	// Reason is one word in camel case, such as ImagePullBackOff.
	Reason string
	// Message explains the reason; it is bounded, has no line breaks and says the same thing as long as the cause stays the same.
	Message string
}

// String returns name, reason and message.
func (n NotReady) String() string {
	if n.Message == "" {
		return fmt.Sprintf("%s: %s", n.Object, n.Reason)
	}
	return fmt.Sprintf("%s: %s: %s", n.Object, n.Reason, n.Message)
}

// NotReadyError means that waiting ended before all objects were ready: by a failure that does not heal by itself, the deadline, or a
// cancelled context. In the latter two cases the cause of the context and the context's error are in the chain.
type NotReadyError struct {
	// Objects are those that are not ready, in the order in which they were given to Wait.
	Objects []NotReady

	causes []error
}

// Error names the first objects and their reasons.
func (e *NotReadyError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d of the objects not ready", len(e.Objects))
	if len(e.Objects) == 1 {
		b.Reset()
		b.WriteString("one object not ready")
	}
	for i, object := range e.Objects {
		if i == listLimit {
			fmt.Fprintf(&b, "; and %d more", len(e.Objects)-listLimit)
			break
		}
		b.WriteString([]string{": ", "; "}[min(i, 1)])
		b.WriteString(object.String())
	}
	return b.String()
}

// Unwrap returns what ended the wait.
func (e *NotReadyError) Unwrap() []error {
	return e.causes
}

// whyDone returns the cause of a finished context and, where they differ, the context's own error.
func whyDone(ctx context.Context) []error {
	cause, err := context.Cause(ctx), ctx.Err()
	if errors.Is(cause, err) {
		return []error{cause}
	}
	return []error{cause, err}
}

// cutShortError means that a call ended with its context. It says the cause only, and has the context's error in its chain as well.
type cutShortError struct {
	doing  string
	causes []error
}

func (e *cutShortError) Error() string {
	return fmt.Sprintf("%s: %s", e.doing, e.causes[0])
}

func (e *cutShortError) Unwrap() []error {
	return e.causes
}

// endedBy tells whether an error is nothing but the end of the context.
func endedBy(ctx context.Context, err error) bool {
	return ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded))
}

// clip makes a text one bounded line.
func clip(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) <= messageLimit {
		return s
	}
	cut := messageLimit
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}

// objectError names the object of an error and keeps secret values out of it.
func objectError(id ID, err error) error {
	if id.Group == "" && id.Kind == "Secret" {
		err = withoutValues(err)
	}
	return &ObjectError{Object: id, Err: err}
}

// statusOf returns what the API server said, if it was the API server that refused.
func statusOf(err error) (metav1.Status, bool) {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return metav1.Status{}, false
	}
	return status.Status(), true
}

// withoutValues replaces an API server's message, which may quote what was sent, by its reason and the fields concerned.
func withoutValues(err error) error {
	said, ok := statusOf(err)
	if !ok {
		return err
	}
	clean := metav1.Status{Status: metav1.StatusFailure, Code: said.Code, Reason: said.Reason}
	fields := []string{}
	if said.Details != nil {
		clean.Details = &metav1.StatusDetails{Kind: said.Details.Kind, Name: said.Details.Name, UID: said.Details.UID}
		for _, cause := range said.Details.Causes {
			clean.Details.Causes = append(clean.Details.Causes, metav1.StatusCause{Type: cause.Type, Field: cause.Field})
			fields = append(fields, cause.Field)
		}
	}
	clean.Message = fmt.Sprintf("the API server refused the Secret (%s)", said.Reason)
	if len(fields) > 0 {
		clean.Message += ", fields " + strings.Join(fields, ", ")
	}
	return &apierrors.StatusError{ErrStatus: clean}
}
