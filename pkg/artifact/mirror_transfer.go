package artifact

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/registry/remote"
)

// checkedSource reads each manifest once, and lets nothing through that is not what its digest says.
type checkedSource struct {
	oras.ReadOnlyGraphTarget
	// arrived is told of the bytes of blobs that were read.
	arrived func(bytes int64)

	mu        sync.Mutex
	manifests map[digest.Digest][]byte
}

// Fetch opens content. Reading fails before the last byte of content that is not what its digest says, so that nobody can keep it.
func (s *checkedSource) Fetch(ctx context.Context, wanted ocispec.Descriptor) (io.ReadCloser, error) {
	if isManifest(wanted) {
		text, err := s.manifest(ctx, wanted)
		return io.NopCloser(bytes.NewReader(text)), err
	}
	if err := wanted.Digest.Validate(); err != nil || wanted.Size < 0 {
		return nil, fmt.Errorf("blob %q has a size of %d: %w", wanted.Digest, wanted.Size, errors.Join(errInvalid, err))
	}
	body, err := s.ReadOnlyGraphTarget.Fetch(ctx, wanted)
	if err != nil {
		return nil, err
	}
	return &checkedReader{ReadCloser: body, wanted: wanted, sum: wanted.Digest.Algorithm().Digester(), left: wanted.Size, arrived: s.arrived}, nil
}

func (s *checkedSource) manifest(ctx context.Context, wanted ocispec.Descriptor) ([]byte, error) {
	s.mu.Lock()
	text, found := s.manifests[wanted.Digest]
	s.mu.Unlock()
	if found {
		return text, nil
	}
	if wanted.Size > maxManifest {
		return nil, fmt.Errorf("manifest %s has %d bytes, at most %d are allowed", wanted.Digest, wanted.Size, maxManifest)
	}
	text, err := content.FetchAll(ctx, s.ReadOnlyGraphTarget, wanted)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.manifests[wanted.Digest] = text
	return text, nil
}

var errInvalid = errors.New("its description is invalid")

// checkedReader reads a blob.
type checkedReader struct {
	io.ReadCloser
	wanted  ocispec.Descriptor
	sum     digest.Digester
	left    int64
	arrived func(int64)
}

func (r *checkedReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	_, _ = r.sum.Hash().Write(p[:n]) // a hash never fails
	r.left -= int64(n)
	if r.left <= 0 || errors.Is(err, io.EOF) {
		if found := r.sum.Digest(); r.left != 0 || found != r.wanted.Digest {
			return 0, fmt.Errorf("the source sent something else for blob %s of %d bytes: its digest is %s after %d bytes",
				r.wanted.Digest, r.wanted.Size, found, r.wanted.Size-r.left)
		}
	}
	r.arrived(int64(n))
	return n, err
}

// mountingTarget uploads a blob where the registry does not want to take it over from another repository.
type mountingTarget struct {
	*remote.Repository
}

// Mount takes a blob over from another repository of the same registry.
func (t *mountingTarget) Mount(ctx context.Context, blob ocispec.Descriptor, from string, getContent func() (io.ReadCloser, error)) error {
	uploaded := false
	err := t.Repository.Mount(ctx, blob, from, func() (io.ReadCloser, error) {
		uploaded = true
		return getContent()
	})
	if err == nil || uploaded || ctx.Err() != nil {
		return err
	}
	body, err := getContent()
	if err != nil {
		return err
	}
	defer body.Close()
	return t.Push(ctx, blob, body)
}
