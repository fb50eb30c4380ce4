package cosign_test

import (
	"testing"

	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content/memory"

	"github.com/flux-autopilot/flux-operator/pkg/artifact"
	"github.com/flux-autopilot/flux-operator/test/testbed/cosign"
)

func TestSign(t *testing.T) {
	store := memory.New()
	signed, err := oras.PackManifest(t.Context(), store, oras.PackManifestVersion1_1, "application/x", oras.PackManifestOptions{})
	if err != nil {
		t.Fatal(err)
	}
	key, other := newKey(t), newKey(t)
	if err := key.Sign(t.Context(), store, signed.Digest.String()); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		key     *cosign.Key
		trusted bool
	}{"SameKey": {key, true}, "OtherKey": {other, false}} {
		t.Run(name, func(t *testing.T) {
			verifier, err := artifact.NewVerifier(artifact.VerifyOptions{Keys: map[string][]byte{"cosign.pub": tc.key.Public}})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := verifier.Verify(t.Context(), store, signed); (err == nil) != tc.trusted {
				t.Errorf("verifying: %v", err)
			}
		})
	}
}

func newKey(t *testing.T) *cosign.Key {
	t.Helper()
	key, err := cosign.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}
