package artifact

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

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

// Store keeps artifacts in a folder: as they were published, from where they survive a restart, and unpacked, for this process.
type Store struct {
	dir    string
	limits Limits

	mu    sync.Mutex
	items map[string]*item
}

// NewStore opens the folder, which is created when absent and must not be used by two processes at the same time.
func NewStore(dir string, limits Limits) (*Store, error) {
	s := &Store{dir: dir, limits: limits, items: map[string]*item{}}
	if err := s.begin(); err != nil {
		return nil, fmt.Errorf("opening artifact cache %q: %w", dir, err)
	}
	return s, nil
}

// begin removes what an earlier process unpacked: somebody may have changed it since, and nobody could tell.
func (s *Store) begin() error {
	trees := filepath.Join(s.dir, treesDir)
	return errors.Join(os.RemoveAll(trees), os.MkdirAll(trees, 0o700))
}

// Open opens the artifact with the digest: from memory, from the folder after a check of its content, or from its source. Only what is missing is fetched.
//
// With a verifier, an artifact without a trusted signature is never unpacked, and the error is a [VerificationError], or an [UncheckedError] where
// nobody could tell; nil trusts the digest alone.
// The caller closes the catalog, which is readable until then.
func (s *Store) Open(ctx context.Context, source *Source, digest string, verifier Verifier) (*Catalog, error) {
	if !digestPattern.MatchString(digest) {
		return nil, fmt.Errorf("opening artifact %q: %q is no digest, sha256: and 64 hexadecimal digits are needed", source.ref, digest)
	}
	it := s.acquire(digest)
	catalog, err := s.open(ctx, it, source, verifier)
	if err != nil {
		s.release(it)
		return nil, fmt.Errorf("opening artifact %q with digest %q: %w", source.ref, digest, err)
	}
	catalog.release = func() error {
		s.release(it)
		return nil
	}
	return catalog, nil
}

func (s *Store) open(ctx context.Context, it *item, source *Source, verifier Verifier) (*Catalog, error) {
	select {
	case it.turn <- struct{}{}:
		defer func() { <-it.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if !it.ready(verifier) {
		if err := errors.Join(it.prepare(ctx, source, verifier), s.evict()); err != nil {
			return nil, err
		}
	}
	return it.open(verifier), nil
}

func (s *Store) acquire(digest string) *item {
	s.mu.Lock()
	defer s.mu.Unlock()
	it, ok := s.items[digest]
	if !ok {
		it = newItem(s.dir, digest, s.limits)
		s.items[digest] = it
	}
	it.users++
	return it
}

func (s *Store) release(it *item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	it.users--
	now := time.Now()
	_ = os.Chtimes(it.layout, now, now) // when it was used last; there is no folder when nothing could be fetched
	if it.users == 0 && it.root == nil {
		delete(s.items, it.digest)
	}
}

// evict removes artifacts that nobody uses, the longest unused first, until the rest is within the limit.
func (s *Store) evict() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept, err := s.measure()
	if err != nil {
		return fmt.Errorf("measuring the cache: %w", err)
	}
	var total int64
	for _, f := range kept {
		total += f.size
	}
	for _, f := range kept {
		if total <= s.limits.Cache {
			return nil
		}
		digest := "sha256:" + f.name
		it, open := s.items[digest]
		if open && it.users > 0 {
			continue
		}
		if open {
			delete(s.items, digest)
			it.close()
		}
		if err := errors.Join(os.RemoveAll(filepath.Join(s.dir, treesDir, f.name)), os.RemoveAll(filepath.Join(s.dir, f.name))); err != nil {
			return fmt.Errorf("removing an old artifact from the cache: %w", err)
		}
		total -= f.size
	}
	return nil
}

// folder is an artifact on disk.
type folder struct {
	name string
	size int64
	used time.Time
}

// measure lists the artifacts on disk, and nothing else that may lie there, the longest unused first.
func (s *Store) measure() ([]folder, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	var found []folder
	for _, entry := range entries {
		name := entry.Name()
		if !digestPattern.MatchString("sha256:" + name) {
			continue
		}
		info, err := entry.Info()
		if err != nil {
			return nil, err
		}
		layout, err := usage(filepath.Join(s.dir, name))
		if err != nil {
			return nil, err
		}
		tree, err := usage(filepath.Join(s.dir, treesDir, name))
		if err != nil {
			return nil, err
		}
		found = append(found, folder{name, layout + tree, info.ModTime()})
	}
	slices.SortFunc(found, func(a, b folder) int { return a.used.Compare(b.used) })
	return found, nil
}

// usage adds up the files below a folder; those that vanish meanwhile do not count.
func usage(dir string) (int64, error) {
	var total int64
	err := filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		total += info.Size()
		return nil
	})
	return total, err
}
