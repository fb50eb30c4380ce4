package artifact

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// treesDir is the folder of the cache with the unpacked artifacts, beside the folders with the packed ones.
const treesDir = "unpacked"

// item is one artifact of a store.
type item struct {
	digest string
	// layout is the folder with the artifact as it was published, and its signatures; tree the one with its files.
	layout, tree string
	limits       Limits

	// users counts open catalogs and those that are being opened; the store guards it. What has users stays on disk.
	users int

	// turn is taken by whoever opens the artifact, so that it is fetched once; it guards what follows.
	turn     chan struct{}
	root     *os.Root
	catalog  *Catalog
	verified map[string]Verification
}

func newItem(dir, digest string, limits Limits) *item {
	_, hex, _ := strings.Cut(digest, ":")
	return &item{
		digest:   digest,
		layout:   filepath.Join(dir, hex),
		tree:     filepath.Join(dir, treesDir, hex),
		limits:   limits,
		turn:     make(chan struct{}, 1),
		verified: map[string]Verification{},
	}
}

// ready tells whether the artifact is unpacked, and trusted by the verifier.
func (it *item) ready(verifier Verifier) bool {
	return it.root != nil && it.trusted(verifier)
}

func (it *item) trusted(verifier Verifier) bool {
	if verifier == nil {
		return true
	}
	_, ok := it.verified[verifier.ID()]
	return ok
}

// open returns a catalog of the caller's own.
func (it *item) open(verifier Verifier) *Catalog {
	catalog := *it.catalog
	if verifier != nil {
		verification := it.verified[verifier.ID()]
		catalog.Verification = &verification
	}
	return &catalog
}

// prepare makes the artifact ready. Nothing but its manifest and its signatures is fetched before it is trusted.
func (it *item) prepare(ctx context.Context, source *Source, verifier Verifier) error {
	defer os.RemoveAll(filepath.Join(it.layout, "ingest")) // where the layout leaves what could not be fetched whole
	p, err := newPuller(ctx, it.layout, source.repository, it.limits)
	if err != nil {
		return err
	}
	subject, err := p.subject(ctx, it.digest)
	if err != nil {
		return err
	}
	if !it.trusted(verifier) {
		found, err := p.verify(ctx, verifier, subject)
		if err != nil {
			return err
		}
		it.verified[verifier.ID()] = found
	}
	if it.root != nil {
		return nil
	}
	layer, err := p.layer(ctx, subject)
	if err != nil {
		return err
	}
	if err := p.fetch(ctx, layer); err != nil {
		return err
	}
	return it.unpack(ctx, p, layer)
}

func (it *item) unpack(ctx context.Context, p *puller, layer ocispec.Descriptor) error {
	if err := errors.Join(os.RemoveAll(it.tree), os.Mkdir(it.tree, 0o700)); err != nil {
		return err
	}
	root, err := os.OpenRoot(it.tree)
	if err != nil {
		return err
	}
	err = p.unpack(ctx, layer, root)
	if err == nil {
		it.catalog, err = open(root.FS())
	}
	if err != nil {
		return errors.Join(err, root.Close(), os.RemoveAll(it.tree))
	}
	it.catalog.Digest = it.digest
	it.root = root
	return nil
}

// close forgets what was unpacked.
func (it *item) close() {
	_ = it.root.Close() // it was only read from
	it.root, it.catalog = nil, nil
}
