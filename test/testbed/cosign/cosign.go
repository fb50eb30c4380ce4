// Package cosign signs artifacts with a key, as the tool of that name does.
package cosign

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
)

const (
	payloadMediaType    = "application/vnd.dev.cosign.simplesigning.v1+json"
	signatureAnnotation = "dev.cosignproject.cosign/signature"
)

// Key is a key to sign with.
type Key struct {
	// Public is what signatures are checked with, as the tool writes it to cosign.pub.
	Public []byte

	private *ecdsa.PrivateKey
}

// NewKey makes a key.
func NewKey() (*Key, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making key: %w", err)
	}
	public, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		return nil, fmt.Errorf("encoding key: %w", err)
	}
	return &Key{Public: pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), private: private}, nil
}

// Sign puts a signature beside the artifact with the digest, in the format that every version of the tool reads: a manifest with a tag of
// its own.
func (k *Key) Sign(ctx context.Context, repository oras.Target, digest string) error {
	payload, signature, err := k.sign(digest)
	if err != nil {
		return fmt.Errorf("signing %q: %w", digest, err)
	}
	layer, err := oras.PushBytes(ctx, repository, payloadMediaType, payload)
	if err != nil {
		return fmt.Errorf("pushing the signature of %q: %w", digest, err)
	}
	layer.Annotations = map[string]string{signatureAnnotation: base64.StdEncoding.EncodeToString(signature)}
	manifest, err := oras.PackManifest(ctx, repository, oras.PackManifestVersion1_0, ocispec.MediaTypeImageConfig,
		oras.PackManifestOptions{Layers: []ocispec.Descriptor{layer}})
	if err != nil {
		return fmt.Errorf("pushing the signature of %q: %w", digest, err)
	}
	if err := repository.Tag(ctx, manifest, strings.Replace(digest, ":", "-", 1)+".sig"); err != nil {
		return fmt.Errorf("tagging the signature of %q: %w", digest, err)
	}
	return nil
}

// sign says which artifact is meant, and signs that.
func (k *Key) sign(digest string) (payload, signature []byte, err error) {
	payload, err = json.Marshal(map[string]any{
		"critical": map[string]any{
			"identity": map[string]any{"docker-reference": ""},
			"image":    map[string]any{"docker-manifest-digest": digest},
			"type":     "cosign container image signature",
		},
		"optional": nil,
	})
	if err != nil {
		return nil, nil, err
	}
	sum := sha256.Sum256(payload)
	signature, err = ecdsa.SignASN1(rand.Reader, k.private, sum[:])
	return payload, signature, err
}
