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
