package artifact

import (
	"context"
	"errors"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
)

// Verifier decides whether the signatures of an artifact are trusted.
type Verifier interface {
	// ID is equal for verifiers that trust the same signatures; it contains no secret.
	ID() string
	// Verify looks for a trusted signature of the artifact that subject describes. It finds signatures of both formats in the target: by the tag
	// sha256-<hex>.sig, and as referrers, with registry.Referrers. The target is a copy on disk: it is not asked over the network.
	Verify(ctx context.Context, target oras.ReadOnlyGraphTarget, subject ocispec.Descriptor) (Verification, error)
}

// Verification says whose signature was found: a key's, or an identity's.
type Verification struct {
	// Key is the name of the public key that the signature was checked with.
	Key string
	// Issuer of the identity that signed.
	Issuer string
	// Subject is the identity that signed.
	Subject string
}

// Limits bound what an artifact may cost. They are bytes where nothing else is said.
type Limits struct {
	// Layer is the size of the archive.
	Layer int64
	// File is the size of one file in the archive.
	File int64
	// Unpacked is the size of all files together.
	Unpacked int64
	// Entries is the number of files and folders in the archive.
	Entries int
	// Cache is the size of the folder, above which artifacts that were not used for longest are removed. Those in use stay.
	Cache int64
}

// DefaultLimits leave an order of magnitude of room above the real distributions.
func DefaultLimits() Limits {
	return Limits{Layer: 64 << 20, File: 16 << 20, Unpacked: 256 << 20, Entries: 20_000, Cache: 512 << 20}
}

// Store keeps artifacts in a folder.
type Store struct {
	dir    string
	limits Limits
}

// NewStore opens the folder, which is created when absent and must not be used by two processes at the same time.
func NewStore(dir string, limits Limits) (*Store, error) {
	return &Store{dir: dir, limits: limits}, nil
}

// Open opens the artifact with the digest: from memory, from the folder after a check of its content, or from its source. Only what is missing is fetched.
//
// With a verifier, an artifact without a trusted signature is never unpacked; nil trusts the digest alone. The caller closes the catalog.
func (s *Store) Open(ctx context.Context, source *Source, digest string, verifier Verifier) (*Catalog, error) {
	return nil, errors.ErrUnsupported
}
