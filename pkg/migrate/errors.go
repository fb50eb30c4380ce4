package migrate

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/types"
)

const (
	// messageLimit bounds the text taken over from the API server, in bytes.
	messageLimit = 400
	// failureLimit is after how many failed objects of a definition the others are not tried any more, and so how many an error names.
	failureLimit = 10
)

// LeavingError means that a definition is being deleted, and all its objects with it. Nothing can be planned for it until it is gone.
type LeavingError struct {
	// Definition is the name of the definition.
	Definition string
}

// Error names the definition.
func (e *LeavingError) Error() string {
	return fmt.Sprintf("CustomResourceDefinition %q is being deleted: waiting until it is gone; finalizers of its objects may keep it", e.Definition)
}

// StrandedError means that a definition cannot be applied, because objects are stored in versions that it does not have and cannot be
// rewritten: the live definition serves none of the versions that the wanted one serves.
type StrandedError struct {
	// Definition is the name of the definition.
	Definition string
	// Stored are the stored versions that the wanted definition does not have.
	Stored []string
	// Live are the versions that the live definition serves.
	Live []string
	// Wanted are the versions that the wanted definition serves.
	Wanted []string
}

// Error names the definition, the versions and the way out.
func (e *StrandedError) Error() string {
	return fmt.Sprintf("objects of CustomResourceDefinition %q are stored in %s, which the wanted definition does not have, and no version is served by both: "+
		"%s now, %s wanted; apply a release in between first", e.Definition, list(e.Stored), list(e.Live), list(e.Wanted))
}

// ObjectsError means that objects of a definition could not be rewritten. What was rewritten stays so, and the definition stays as it is.
type ObjectsError struct {
	// Definition is the name of the definition.
	Definition string
	// Version is the version that the objects were to be rewritten in.
	Version string
	// Objects are those that failed, sorted by name. If there are more than a few, the others were not tried.
	Objects []ObjectError
}

// Error names the objects and the causes.
func (e *ObjectsError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "rewriting objects of CustomResourceDefinition %q in version %s: ", e.Definition, e.Version)
	if len(e.Objects) >= failureLimit {
		fmt.Fprintf(&b, "%d and maybe more failed: ", len(e.Objects))
	}
	for i := range e.Objects {
		b.WriteString([]string{"", "; "}[min(i, 1)])
		b.WriteString(e.Objects[i].Error())
	}
	return b.String()
}

// Unwrap returns the causes.
func (e *ObjectsError) Unwrap() []error {
	causes := make([]error, 0, len(e.Objects))
	for i := range e.Objects {
		causes = append(causes, &e.Objects[i])
	}
	return causes
}

// ObjectError is one object that could not be rewritten.
type ObjectError struct {
	// Object is namespace and name of the object.
	Object types.NamespacedName
	// Err is the cause.
	Err error
}

// Error names the object and the cause, in one bounded line.
func (e *ObjectError) Error() string {
	return fmt.Sprintf("%q: %s", e.Object, clip(e.Err.Error()))
}

// Unwrap returns the cause.
func (e *ObjectError) Unwrap() error {
	return e.Err
}

// list writes names as one text.
func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
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
