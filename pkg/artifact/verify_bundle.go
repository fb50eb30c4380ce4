package artifact

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"iter"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
)

const (
	// maxBundle bounds a bundle. Those of signatures have some 10 KiB.
	maxBundle = 4 << 20

	bundleMediaType = "application/vnd.dev.sigstore.bundle.v0.3+json"
	// signPredicate is what cosign states about an artifact it signs. Bundles hold other statements too, such as how it was built or that it is vulnerable;
	// whoever makes those does not say that the artifact may be used.
	signPredicate = "https://sigstore.dev/cosign/sign/v1"
	// predicateAnnotation says, without proof, what a bundle states.
	predicateAnnotation = "dev.sigstore.bundle.predicateType"
)

// bundles reads the Sigstore bundles that refer to the artifact, but those that say themselves that they hold something else than a signature.
func bundles(ctx context.Context, target oras.ReadOnlyGraphTarget, subject ocispec.Descriptor) iter.Seq2[signature, error] {
	return func(yield func(signature, error) bool) {
		referrers, err := target.Predecessors(ctx, subject)
		if err != nil {
			yield(signature{}, fmt.Errorf("listing what refers to the artifact: %w", err))
			return
		}
		for _, referrer := range referrers {
			if !slices.Contains([]string{bundleMediaType, ocispec.MediaTypeEmptyJSON, ""}, referrer.ArtifactType) { // some registries say the type of the empty configuration
				continue
			}
			layers, err := bundleLayers(ctx, target, referrer)
			if err != nil && !yield(signature{}, err) {
				return
			}
			for _, layer := range layers {
				if !yield(readBundle(ctx, target, layer, subject.Digest)) {
					return
				}
			}
		}
	}
}

// bundleLayers returns nothing when the referrer holds something else.
func bundleLayers(ctx context.Context, target oras.ReadOnlyGraphTarget, referrer ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	if referrer.MediaType != ocispec.MediaTypeImageManifest {
		return nil, nil
	}
	manifest, err := fetchManifest(ctx, target, referrer)
	if err != nil {
		return nil, fmt.Errorf("reading referrer %q: %w", referrer.Digest, err)
	}
	if stated := manifest.Annotations[predicateAnnotation]; stated != "" && stated != signPredicate {
		return nil, nil
	}
	return slices.DeleteFunc(manifest.Layers, func(layer ocispec.Descriptor) bool { return layer.MediaType != bundleMediaType }), nil
}

func readBundle(ctx context.Context, target oras.ReadOnlyGraphTarget, layer ocispec.Descriptor, artifact digest.Digest) (signature, error) {
	data, err := fetch(ctx, target, layer, maxBundle)
	if err != nil {
		return signature{}, fmt.Errorf("reading bundle: %w", err)
	}
	entity := &bundle.Bundle{}
	if err := entity.UnmarshalJSON(data); err != nil {
		return signature{}, fmt.Errorf("reading bundle: %w", err)
	}
	sum, err := hex.DecodeString(artifact.Encoded())
	if err != nil {
		return signature{}, fmt.Errorf("reading digest %q: %w", artifact, err)
	}
	return signature{
		entity: entity,
		over: func() verify.ArtifactPolicyOption {
			return verify.WithArtifactDigest(artifact.Algorithm().String(), sum)
		},
		approves: isSignature,
	}, nil
}

// isSignature refuses statements that are no signatures. A bundle without a statement is a plain signature of the artifact's manifest.
func isSignature(result *verify.VerificationResult) error {
	if result.Statement == nil || result.Statement.GetPredicateType() == signPredicate {
		return nil
	}
	return fmt.Errorf("it states %q, which is no signature", result.Statement.GetPredicateType())
}

// fetchManifest reads the manifest of a signature.
func fetchManifest(ctx context.Context, target oras.ReadOnlyGraphTarget, desc ocispec.Descriptor) (*ocispec.Manifest, error) {
	data, err := fetch(ctx, target, desc, maxSignatureManifest)
	if err != nil {
		return nil, err
	}
	var manifest ocispec.Manifest
	if err := json.Unmarshal(data, &manifest); err != nil {
		return nil, err
	}
	return &manifest, nil
}

// fetch reads content of bounded size and checks its digest.
func fetch(ctx context.Context, target oras.ReadOnlyGraphTarget, desc ocispec.Descriptor, most int64) ([]byte, error) {
	if desc.Size > most {
		return nil, fmt.Errorf("it has %d bytes, at most %d are read", desc.Size, most)
	}
	return content.FetchAll(ctx, target, desc)
}
