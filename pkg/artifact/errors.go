package artifact

import (
	"fmt"
	"time"
)

// RegistryError is the answer of a registry that cannot serve a request now: it is overloaded, or broken.
type RegistryError struct {
	// StatusCode is 429, or 500 and above.
	StatusCode int
	// RetryAfter is how long the registry wants to be left alone; zero when it did not say.
	RetryAfter time.Duration
	// Host that answered.
	Host string
}

// Error says what the registry answered.
func (e *RegistryError) Error() string {
	return fmt.Sprintf("registry %q answered %d", e.Host, e.StatusCode)
}

// UncheckedError says that nobody could tell whether an artifact has a trusted signature: the authorities to check it against cannot be had. It
// may go away by itself, and says nothing about the artifact.
type UncheckedError struct {
	// Err says why the authorities cannot be had.
	Err error
}

// Error says why the authorities cannot be had.
func (e *UncheckedError) Error() string {
	return fmt.Sprintf("its signatures could not be checked, which is tried again: %v", e.Err)
}

// Unwrap returns why the authorities cannot be had.
func (e *UncheckedError) Unwrap() error { return e.Err }

// VerificationError says that an artifact has no trusted signature.
type VerificationError struct {
	// Digest of the artifact.
	Digest string
	// Err is what the verifier said.
	Err error
}

// Error says what the verifier said.
func (e *VerificationError) Error() string {
	return fmt.Sprintf("verifying its signatures: %v", e.Err)
}

// Unwrap returns what the verifier said.
func (e *VerificationError) Unwrap() error { return e.Err }
