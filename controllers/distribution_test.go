package controllers

import (
	"errors"
	"fmt"
	"testing"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/artifact"
)

func TestArtifactReason(t *testing.T) {
	cause := errors.New("the cause")
	for want, err := range map[string]error{
		v1.ReasonArtifactFailed:          &artifact.RegistryError{StatusCode: 503},
		v1.ReasonVerificationFailed:      fmt.Errorf("opening: %w", &artifact.VerificationError{Err: cause}),
		v1.ReasonVerificationUnavailable: fmt.Errorf("opening: %w", &artifact.UncheckedError{Err: cause}),
	} {
		if got := artifactReason(err); got != want {
			t.Errorf("%v: reason %s, want %s", err, got, want)
		}
	}
}
