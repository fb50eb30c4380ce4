package render

import (
	"fmt"
	"strings"
)

// FieldError tells that the FluxInstance asks for something that cannot be rendered; only its author can mend it.
type FieldError struct {
	// Field is the path in the FluxInstance, for example spec.kustomize.patches[2].
	Field string
	// Problem says what is wrong.
	Problem string
	// Cure says what to do about it.
	Cure string
	// Err is the cause, where there is one.
	Err error
}

// Error implements error.
func (e *FieldError) Error() string {
	text := e.Field + ": " + e.Problem
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	if e.Cure != "" {
		text += "; " + e.Cure
	}
	return oneLine(text)
}

// Unwrap returns the cause.
func (e *FieldError) Unwrap() error { return e.Err }

// ReleaseError tells that a release is broken or laid out in a way that cannot be handled; nothing in a FluxInstance mends it but
// the choice of another release.
type ReleaseError struct {
	// Release is the name of the release, for example v2.9.4.
	Release string
	// File is the path in the distribution, empty where the problem is not in one file.
	File string
	// Err is the cause.
	Err error
}

// Error implements error.
func (e *ReleaseError) Error() string {
	if e.File == "" {
		return oneLine(fmt.Sprintf("release %s cannot be used: %v", e.Release, e.Err))
	}
	return oneLine(fmt.Sprintf("release %s cannot be used: %s: %v", e.Release, e.File, e.Err))
}

// Unwrap returns the cause.
func (e *ReleaseError) Unwrap() error { return e.Err }

// oneLine keeps messages fit for conditions: parsers like to report over several lines.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
