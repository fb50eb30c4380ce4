// Package artifact opens distributions of Flux: read-only file trees that hold releases and the digests of their images.
package artifact

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"github.com/Masterminds/semver/v3"
)

// maxEntries bounds how many releases a distribution may hold; the real ones hold some thirty.
const maxEntries = 1000

const (
	releasesDir = "flux"
	imagesDir   = "flux-images"
)

// Catalog is an open distribution.
type Catalog struct {
	// FS holds flux/<release>/ and flux-images/<release>/; nothing outside the distribution can be reached through it.
	FS fs.FS
	// Digest of the artifact the distribution was pulled from; empty for the one built into the operator.
	Digest string
	// Verification says whose signature the artifact was verified by; nil when no verification was asked for.
	Verification *Verification
	// Versions are the names of the releases, as the folders below flux/ are called, from the oldest to the newest.
	Versions []string

	release func() error
}

// Close gives the files back; FS must not be used afterwards. Closing again does nothing.
func (c *Catalog) Close() error {
	release := c.release
	c.release = nil
	if release == nil {
		return nil
	}
	return release()
}

// Builtin opens the distribution in a folder of the local file system.
//
// The folder stays open until the catalog is closed. Fails when the folder is no distribution or holds no release.
func Builtin(dir string) (*Catalog, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("opening distribution %q: %w", dir, err)
	}
	catalog, err := open(root.FS())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening distribution %q: %w", dir, err), root.Close())
	}
	catalog.release = root.Close
	return catalog, nil
}

func open(tree fs.FS) (*Catalog, error) {
	if _, err := folders(tree, imagesDir); err != nil {
		return nil, err
	}
	names, err := folders(tree, releasesDir)
	if err != nil {
		return nil, err
	}
	versions := sorted(names)
	if len(versions) == 0 {
		return nil, fmt.Errorf("folder %q holds no release: subfolders such as v2.9.4 are expected", releasesDir)
	}
	return &Catalog{FS: tree, Versions: versions}, nil
}

// folders lists the subfolders; links are followed as far as they stay in the distribution.
func folders(tree fs.FS, dir string) ([]string, error) {
	file, err := tree.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("reading folder %q: %w", dir, err)
	}
	defer func() { _ = file.Close() }() // nothing was written, so closing cannot lose anything
	listing, ok := file.(fs.ReadDirFile)
	if !ok {
		return nil, fmt.Errorf("reading folder %q: it is a file", dir)
	}
	entries, err := listing.ReadDir(maxEntries + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("reading folder %q: %w", dir, err)
	}
	if len(entries) > maxEntries {
		return nil, fmt.Errorf("reading folder %q: it has more than %d entries", dir, maxEntries)
	}
	var names []string
	for _, entry := range entries {
		info, err := fs.Stat(tree, dir+"/"+entry.Name())
		if err != nil {
			return nil, fmt.Errorf("reading folder %q: %w", dir, err)
		}
		if info.IsDir() {
			names = append(names, entry.Name())
		}
	}
	return names, nil
}

// sorted keeps the names that are versions; folders such as lost+found are nobody's release.
func sorted(names []string) []string {
	parsed := make(map[string]*semver.Version, len(names))
	var versions []string
	for _, name := range names {
		if v, err := semver.NewVersion(name); err == nil {
			parsed[name] = v
			versions = append(versions, name)
		}
	}
	slices.SortFunc(versions, func(a, b string) int { return parsed[a].Compare(parsed[b]) })
	return versions
}
