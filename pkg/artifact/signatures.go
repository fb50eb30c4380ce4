package artifact

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry"
)

const (
	// bundleType begins the type of signatures that refer to what they sign.
	bundleType = "application/vnd.dev.sigstore.bundle"
	// maxFetched bounds how many signatures of an artifact are fetched, and how many parts of each.
	maxFetched = 100
	// maxSignature bounds the size of a signature, and of each of its parts. What is larger is no signature, but says other things about the artifact.
	maxSignature = 4 << 20
)

// verify asks the verifier about the signatures on disk, and once more after those in the registry were fetched: they may be newer.
func (p *puller) verify(ctx context.Context, verifier Verifier, subject ocispec.Descriptor) (Verification, error) {
	if kept, err := verifier.Verify(ctx, p.layout, subject); err == nil {
		return kept, nil
	}
	if err := p.fetchSignatures(ctx, subject); err != nil {
		return Verification{}, fmt.Errorf("fetching the signatures: %w", err)
	}
	found, err := verifier.Verify(ctx, p.layout, subject)
	if _, unchecked := errors.AsType[*UncheckedError](err); unchecked || err == nil || ctx.Err() != nil {
		return found, err
	}
	return Verification{}, &VerificationError{Digest: subject.Digest.String(), Err: err}
}

// fetchSignatures copies the signatures of both formats into the layout.
func (p *puller) fetchSignatures(ctx context.Context, subject ocispec.Descriptor) error {
	tag := signatureTag(subject.Digest)
	tagged, err := p.repository.Resolve(ctx, tag)
	if err == nil {
		err = errors.Join(p.fetchSignature(ctx, tagged), p.layout.Tag(ctx, tagged, tag))
	}
	if err != nil && !errors.Is(err, errdef.ErrNotFound) {
		return err
	}
	referrers, err := registry.Referrers(ctx, p.repository, subject, "")
	if err != nil {
		return err
	}
	return p.fetchReferrers(ctx, referrers)
}

// fetchReferrers copies what may be a signature. Registries should tell the type; some tell nothing, or that of the configuration, which is empty.
func (p *puller) fetchReferrers(ctx context.Context, referrers []ocispec.Descriptor) error {
	likely := slices.DeleteFunc(referrers, func(d ocispec.Descriptor) bool {
		return d.ArtifactType != "" && d.ArtifactType != ocispec.MediaTypeEmptyJSON && !strings.HasPrefix(d.ArtifactType, bundleType)
	})
	for _, referrer := range likely[:min(len(likely), maxFetched)] {
		if err := p.fetchSignature(ctx, referrer); err != nil {
			return err
		}
	}
	return nil
}

// fetchSignature copies a signature and its parts.
func (p *puller) fetchSignature(ctx context.Context, signature ocispec.Descriptor) error {
	if signature.Size > maxSignature {
		return nil
	}
	if err := oras.CopyGraph(ctx, p.repository, p.layout, signature, oras.CopyGraphOptions{FindSuccessors: parts}); err != nil {
		return err
	}
	return p.layout.Tag(ctx, signature, signature.Digest.String())
}

// parts are the configuration and the layers of a signature, the newest ones if there are many, but not what it refers to.
func parts(ctx context.Context, fetcher content.Fetcher, node ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	all, err := content.Successors(ctx, fetcher, node)
	if err != nil {
		return nil, err
	}
	found := slices.DeleteFunc(all, func(d ocispec.Descriptor) bool { return isManifest(d) || d.Size > maxSignature })
	return found[max(0, len(found)-maxFetched):], nil
}

// signatureTag is the tag that a signature of the older format has in the repository of what it signs.
func signatureTag(subject digest.Digest) string {
	return strings.Replace(subject.String(), ":", "-", 1) + ".sig"
}
