package artifact

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/content/oci"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote"
)

const (
	// maxManifest is the size up to which registries are asked to accept manifests.
	maxManifest = 4 << 20
	// maxPlatforms bounds how many manifests an index may offer.
	maxPlatforms = 64

	// contentLayer is the media type that Flux publishes archives as; imageLayer that of any image.
	contentLayer = "application/vnd.cncf.flux.content.v1.tar+gzip"
	imageLayer   = ocispec.MediaTypeImageLayerGzip

	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	dockerIndex    = "application/vnd.docker.distribution.manifest.list.v2+json"
)

// puller reads one artifact from its layout on disk, and gets what is missing there from the registry.
type puller struct {
	layout     *oci.Store
	repository *remote.Repository
	limits     Limits
}

// newPuller opens the layout in the folder, without what is damaged in it. One that cannot be read is begun anew.
func newPuller(ctx context.Context, dir string, repository *remote.Repository, limits Limits) (*puller, error) {
	layout, err := openLayout(ctx, dir)
	if err != nil && ctx.Err() == nil {
		if err = os.RemoveAll(dir); err == nil {
			layout, err = openLayout(ctx, dir)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("opening the cache: %w", err)
	}
	return &puller{layout: layout, repository: repository, limits: limits}, nil
}

func openLayout(ctx context.Context, dir string) (*oci.Store, error) {
	if err := scrub(ctx, dir); err != nil {
		return nil, err
	}
	return oci.NewWithContext(ctx, dir)
}

// scrub removes every blob that is not what its name says.
func scrub(ctx context.Context, dir string) error {
	blobs, err := os.OpenRoot(filepath.Join(dir, ocispec.ImageBlobsDir, digest.SHA256.String()))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = blobs.Close() }() // it was only read from
	entries, err := fs.ReadDir(blobs.FS(), ".")
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		if checksum(blobs, entry.Name()) == entry.Name() {
			continue
		}
		if err := blobs.RemoveAll(entry.Name()); err != nil {
			return err
		}
	}
	return nil
}

// checksum of a file; empty when it cannot be read.
func checksum(blobs *os.Root, name string) string {
	file, err := blobs.Open(name)
	if err != nil {
		return ""
	}
	defer file.Close()
	sum, err := digest.FromReader(file)
	if err != nil {
		return ""
	}
	return sum.Encoded()
}

// document is what manifests and indexes have in common with each other.
type document struct {
	MediaType string               `json:"mediaType"`
	Layers    []ocispec.Descriptor `json:"layers"`
	Manifests []ocispec.Descriptor `json:"manifests"`
}

// subject describes what the digest of the artifact stands for, a manifest or an index.
func (p *puller) subject(ctx context.Context, name string) (ocispec.Descriptor, error) {
	if kept, err := p.layout.Resolve(ctx, name); err == nil && isManifest(kept) {
		return kept, nil
	}
	found, body, err := p.repository.FetchReference(ctx, name)
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("fetching the manifest: %w", err)
	}
	defer body.Close()
	if !isManifest(found) {
		return ocispec.Descriptor{}, fmt.Errorf("the registry says that it is of type %q, which is no manifest", shorten(found.MediaType))
	}
	return found, p.keep(ctx, found, body)
}

// keep writes a manifest to the layout, which checks its digest.
func (p *puller) keep(ctx context.Context, manifest ocispec.Descriptor, body io.Reader) error {
	if manifest.Size > maxManifest {
		return fmt.Errorf("the manifest has %d bytes, at most %d are allowed", manifest.Size, maxManifest)
	}
	err := p.layout.Push(ctx, manifest, body)
	if errors.Is(err, errdef.ErrAlreadyExists) {
		// A process ended between the content and its name.
		err = p.layout.Tag(ctx, manifest, manifest.Digest.String())
	}
	if err != nil {
		return fmt.Errorf("fetching the manifest: %w", err)
	}
	return nil
}

// read returns a manifest, from the layout or the registry.
func (p *puller) read(ctx context.Context, manifest ocispec.Descriptor) (document, error) {
	var d document
	exists, err := p.layout.Exists(ctx, manifest)
	if err != nil {
		return d, fmt.Errorf("reading the cache: %w", err)
	}
	if !exists {
		body, err := p.repository.Fetch(ctx, manifest)
		if err != nil {
			return d, fmt.Errorf("fetching the manifest: %w", err)
		}
		defer body.Close()
		if err := p.keep(ctx, manifest, body); err != nil {
			return d, err
		}
	}
	text, err := content.FetchAll(ctx, p.layout, manifest)
	if err != nil {
		return d, fmt.Errorf("reading the manifest: %w", err)
	}
	if err := json.Unmarshal(text, &d); err != nil {
		return d, fmt.Errorf("reading the manifest: %w", err)
	}
	return d, d.check(manifest)
}

// check refuses documents that mean one thing to us and another to whoever signed them.
func (d document) check(manifest ocispec.Descriptor) error {
	if d.MediaType != "" && d.MediaType != manifest.MediaType {
		return fmt.Errorf("the registry says that the manifest is of type %q, the manifest itself %q", manifest.MediaType, shorten(d.MediaType))
	}
	if isIndex(manifest) && d.Layers != nil || !isIndex(manifest) && d.Manifests != nil {
		return fmt.Errorf("the manifest of type %q has the fields of an image and of an index", manifest.MediaType)
	}
	return nil
}

// layer finds the archive, through an index where there is one.
func (p *puller) layer(ctx context.Context, subject ocispec.Descriptor) (ocispec.Descriptor, error) {
	d, err := p.read(ctx, subject)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	if !isIndex(subject) {
		return d.archive()
	}
	manifests, err := d.candidates()
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	for _, manifest := range manifests {
		inner, err := p.read(ctx, manifest)
		if err != nil {
			return ocispec.Descriptor{}, err
		}
		var found ocispec.Descriptor
		if found, err = inner.archive(); err == nil {
			return found, nil
		}
	}
	return ocispec.Descriptor{}, fmt.Errorf("no manifest in the index for linux/%s, or for no platform, has one layer of type %s", runtime.GOARCH, contentLayer)
}

// archive selects the layer by its type: Flux's content, or the only one there is. An image may have others, such as documentation.
func (d document) archive() (ocispec.Descriptor, error) {
	var found []ocispec.Descriptor
	for _, layer := range d.Layers {
		if layer.MediaType == contentLayer {
			found = append(found, layer)
		}
	}
	if len(found) == 0 && len(d.Layers) == 1 && d.Layers[0].MediaType == imageLayer {
		found = d.Layers
	}
	if len(found) != 1 {
		return ocispec.Descriptor{}, fmt.Errorf("it has %d layers of type %s, one is needed: publish the distribution with flux push artifact or flux-operator distro push",
			len(found), contentLayer)
	}
	return found[0], nil
}

// candidates are the manifests of an index that may be used here: those for no platform first.
func (d document) candidates() ([]ocispec.Descriptor, error) {
	if len(d.Manifests) > maxPlatforms {
		return nil, fmt.Errorf("the index has %d manifests, at most %d are allowed", len(d.Manifests), maxPlatforms)
	}
	var anywhere, here []ocispec.Descriptor
	for _, manifest := range d.Manifests {
		switch platform := manifest.Platform; {
		case !isManifest(manifest) || isIndex(manifest) || manifest.Size > maxManifest:
		case platform == nil || platform.OS == "" && platform.Architecture == "":
			anywhere = append(anywhere, manifest)
		case platform.OS == "linux" && platform.Architecture == runtime.GOARCH:
			here = append(here, manifest)
		}
	}
	return slices.Concat(anywhere, here), nil
}

// fetch makes sure that the archive is in the layout.
func (p *puller) fetch(ctx context.Context, layer ocispec.Descriptor) error {
	if layer.Size > p.limits.Layer {
		return fmt.Errorf("the archive has %d bytes, at most %d are allowed", layer.Size, p.limits.Layer)
	}
	exists, err := p.layout.Exists(ctx, layer)
	if err != nil {
		return fmt.Errorf("reading the cache: %w", err)
	}
	if exists {
		return nil
	}
	body, err := p.repository.Blobs().Fetch(ctx, layer)
	if err != nil {
		return fmt.Errorf("fetching the archive: %w", err)
	}
	defer body.Close()
	if err := p.layout.Push(ctx, layer, body); err != nil {
		return fmt.Errorf("fetching the archive: %w", err)
	}
	return nil
}

// unpack writes the archive into the folder. It is hashed once more on the way: what changed on disk since the check is not used.
func (p *puller) unpack(ctx context.Context, layer ocispec.Descriptor, root *os.Root) error {
	kept, err := p.layout.Fetch(ctx, layer)
	if err != nil {
		return fmt.Errorf("reading the cache: %w", err)
	}
	defer kept.Close()
	verified := content.NewVerifyReader(kept, layer)
	if err := unpack(ctx, verified, root, p.limits); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, verified); err != nil {
		return fmt.Errorf("reading the archive: %w", err)
	}
	if err := verified.Verify(); err != nil {
		return fmt.Errorf("reading the archive: %w", err)
	}
	return nil
}

func isManifest(d ocispec.Descriptor) bool {
	return isIndex(d) || d.MediaType == ocispec.MediaTypeImageManifest || d.MediaType == dockerManifest
}

func isIndex(d ocispec.Descriptor) bool {
	return d.MediaType == ocispec.MediaTypeImageIndex || d.MediaType == dockerIndex
}
