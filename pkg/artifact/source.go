package artifact

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"
)

// Source is an artifact in a registry, and a way to reach it. It may be kept as long as its access does not change.
type Source struct {
	ref        Reference
	repository *remote.Repository
}

// NewSource prepares the access; no request is made yet.
func NewSource(ref Reference, access Access) (*Source, error) {
	repository, err := access.Repository(ref)
	if err != nil {
		return nil, err
	}
	return &Source{ref: ref, repository: repository}, nil
}

// Resolve finds the digest that the reference stands for, with one HEAD request. A reference with a digest stands for it, without a request.
//
// The digest of an image index is that of the index. Fails with a [RegistryError] when the registry cannot answer now.
func (s *Source) Resolve(ctx context.Context) (string, error) {
	if s.ref.Digest != "" {
		return s.ref.Digest, nil
	}
	found, err := s.repository.Resolve(ctx, s.ref.Tag)
	if err != nil && headUnsupported(err) {
		found, err = s.get(ctx)
	}
	if err != nil {
		return "", fmt.Errorf("resolving artifact %q: %w", s.ref, err)
	}
	if !digestPattern.MatchString(found.Digest.String()) {
		return "", fmt.Errorf("resolving artifact %q: the registry answered with the digest %q, only sha256 is supported", s.ref, found.Digest)
	}
	return found.Digest.String(), nil
}

// get asks for the manifest itself.
func (s *Source) get(ctx context.Context) (ocispec.Descriptor, error) {
	found, body, err := s.repository.FetchReference(ctx, s.ref.Tag)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	return found, body.Close()
}

// headUnsupported tells an answer that a registry gives because it does not know HEAD, or leaves out the digest, from all others.
func headUnsupported(err error) bool {
	if answer := new(errcode.ErrorResponse); errors.As(err, &answer) {
		return answer.StatusCode == http.StatusMethodNotAllowed
	}
	if refusal := new(RegistryError); errors.As(err, &refusal) {
		return refusal.StatusCode == http.StatusNotImplemented
	}
	network := new(url.Error)
	return !errors.As(err, &network) && !errors.Is(err, errdef.ErrNotFound) && !errors.Is(err, auth.ErrBasicCredentialNotFound)
}
