package report

import (
	"strings"
	"time"
	"unicode/utf8"
	"unique"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// messageLimit is how many bytes of a message are kept.
const messageLimit = 400

// symbol is a string that many records have in common and that is in memory once. The zero value is not the empty string, see symbolOf.
type symbol = unique.Handle[string]

func symbolOf(s string) symbol { return unique.Make(s) }

// key identifies an object among those of its kind.
type key struct {
	namespace symbol
	name      string
}

// record is what is kept of an object. It is never changed, only replaced, so that a snapshot is a list of pointers. It is comparable, so that a
// change that is not seen in a record costs nothing further.
type record struct {
	key

	uid       string
	reason    symbol
	message   symbol
	revision  symbol
	url       symbol
	ref       symbol
	source    symbol // kind/namespace/name
	path      symbol
	shard     symbol
	writers   symbol // lines of version and field manager
	size      int64
	since     int64 // Unix seconds
	resources int32
	ready     readiness
	suspended bool
}

// readiness is the status of the Ready condition in one byte.
type readiness uint8

const (
	readyUnknown readiness = iota
	readyTrue
	readyFalse
)

// String is the status as conditions and labels say it.
func (r readiness) String() string {
	switch r {
	case readyTrue:
		return string(metav1.ConditionTrue)
	case readyFalse:
		return string(metav1.ConditionFalse)
	default:
		return string(metav1.ConditionUnknown)
	}
}

// failing tells whether the object needs somebody: not one that waits for another, and not one that is suspended.
func (r *record) failing() bool {
	return r.ready == readyFalse && !r.suspended && r.reason != waiting
}

// sourceRef names a source.
type sourceRef struct{ kind, namespace, name string }

// sourceOf is the source that the object refers to; its name is empty where there is none.
func (r *record) sourceOf() sourceRef {
	parts := strings.SplitN(r.source.Value(), "/", 3)
	if len(parts) != 3 {
		return sourceRef{}
	}
	return sourceRef{kind: parts[0], namespace: parts[1], name: parts[2]}
}

// transition is when the Ready condition changed last; the zero time where the object does not tell.
func (r *record) transition() time.Time {
	if r.since == 0 {
		return time.Time{}
	}
	return time.Unix(r.since, 0).UTC()
}

// clip shortens a text to a number of bytes without cutting a character in two.
func clip(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	end := limit - len("…")
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "…"
}
