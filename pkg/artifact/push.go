package artifact

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/errdef"
)

// fluxConfigType is the type of the configuration that Flux gives its artifacts.
const fluxConfigType = "application/vnd.cncf.flux.config.v1+json"

// Push packs the distribution in a folder, uploads what the registry lacks of it, and moves the tag of the reference there. It returns the digest.
//
// The same files and annotations make the same digest, whenever and wherever they are packed. See [Pack] for what is packed.
func Push(ctx context.Context, dir string, ref Reference, access Access, annotations map[string]string) (string, error) {
	packed, err := Pack(dir, annotations)
	if err != nil {
		return "", err
	}
	mirror := &Mirror{Destination: access}
	plan, err := mirror.PlanPackage(ctx, packed, ref)
	if err == nil {
		err = mirror.Copy(ctx, plan)
	}
	return packed.Digest(), errors.Join(err, packed.Close())
}

// Package is a distribution that is packed as an artifact and not in a registry yet.
type Package struct {
	root  ocispec.Descriptor
	layer ocispec.Descriptor
	file  *os.File
	// small are the contents that are held in memory: manifest and configuration, and the layer where it is in no file.
	small map[digest.Digest][]byte
}

// Pack packs a folder, which must be a distribution. The caller closes the package.
//
// Everything in the folder is packed, but for files and folders whose names begin with a dot. The archive has no times, owners or modes of the
// files. Fails on links and devices, and on what is too large to be unpacked: see [DefaultLimits].
func Pack(dir string, annotations map[string]string) (*Package, error) {
	catalog, err := Builtin(dir)
	if err != nil {
		return nil, err
	}
	file, err := os.CreateTemp("", "flux-distribution-*.tar.gz")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("packing distribution %q: %w", dir, err), catalog.Close())
	}
	packed := &Package{file: file}
	if err := packed.fill(catalog.FS, annotations); err != nil {
		return nil, errors.Join(fmt.Errorf("packing distribution %q: %w", dir, err), packed.Close(), catalog.Close())
	}
	return packed, catalog.Close()
}

// Digest of the artifact.
func (p *Package) Digest() string { return p.root.Digest.String() }

// Close removes what was packed.
func (p *Package) Close() error {
	return errors.Join(p.file.Close(), os.Remove(p.file.Name()))
}

// fill writes the layer to the file and makes configuration and manifest for it.
func (p *Package) fill(tree fs.FS, annotations map[string]string) error {
	compressed, plain := digest.Canonical.Digester(), digest.Canonical.Digester()
	// Without a name and a time in its header, the compressed file depends on the content alone.
	zip, err := gzip.NewWriterLevel(io.MultiWriter(p.file, compressed.Hash()), gzip.BestCompression)
	if err != nil {
		return err
	}
	if err := errors.Join(archive(tree, io.MultiWriter(zip, plain.Hash())), zip.Close()); err != nil {
		return err
	}
	info, err := p.file.Stat()
	if err != nil {
		return err
	}
	if limit := DefaultLimits().Layer; info.Size() > limit {
		return fmt.Errorf("the archive has %d bytes, at most %d are unpacked", info.Size(), limit)
	}
	p.layer = ocispec.Descriptor{MediaType: contentLayer, Digest: compressed.Digest(), Size: info.Size()}
	p.small = map[digest.Digest][]byte{}
	// Tools for images ask for the digest of the plain layer; nothing else in the configuration means anything here.
	config, err := p.add(fluxConfigType, ocispec.Image{RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{plain.Digest()}}})
	if err != nil {
		return err
	}
	p.root, err = p.add(ocispec.MediaTypeImageManifest, ocispec.Manifest{
		Versioned:   specs.Versioned{SchemaVersion: 2},
		MediaType:   ocispec.MediaTypeImageManifest,
		Config:      config,
		Layers:      []ocispec.Descriptor{p.layer},
		Annotations: annotations,
	})
	return err
}

func (p *Package) add(mediaType string, value any) (ocispec.Descriptor, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	added := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(text), Size: int64(len(text))}
	p.small[added.Digest] = text
	return added, nil
}

// archive writes the tree in the order of its names.
func archive(tree fs.FS, out io.Writer) error {
	writer := &archiver{tree: tree, tar: tar.NewWriter(out), limits: DefaultLimits()}
	return errors.Join(fs.WalkDir(tree, ".", writer.add), writer.tar.Close())
}

// tarBlock is what headers and contents are rounded up to.
const tarBlock = 512

type archiver struct {
	tree    fs.FS
	tar     *tar.Writer
	limits  Limits
	bytes   int64
	entries int
}

// add is called for each file and folder.
func (a *archiver) add(path string, entry fs.DirEntry, err error) error {
	if err != nil {
		return fmt.Errorf("reading %q: %w", path, err)
	}
	if path == "." {
		return nil
	}
	if strings.HasPrefix(entry.Name(), ".") {
		if entry.IsDir() {
			return fs.SkipDir
		}
		return nil
	}
	if a.entries++; a.entries > a.limits.Entries {
		return fmt.Errorf("there are more than %d files and folders", a.limits.Entries)
	}
	switch {
	case entry.IsDir():
		return a.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: path + "/", Mode: 0o755, ModTime: time.Unix(0, 0)})
	case entry.Type().IsRegular():
		return a.addFile(path)
	}
	return fmt.Errorf("%q is neither a file nor a folder: put the file it stands for in its place", path)
}

func (a *archiver) addFile(path string) error {
	file, err := a.tree.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // nothing was written, so closing cannot lose anything
	info, err := file.Stat()
	if err != nil {
		return err
	}
	size := info.Size()
	if a.bytes += size + 2*tarBlock; size > a.limits.File || a.bytes > a.limits.Unpacked {
		return fmt.Errorf("with %q the limits of %d bytes for a file and %d bytes for all are exceeded", path, a.limits.File, a.limits.Unpacked)
	}
	if err := a.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: path, Size: size, Mode: 0o644, ModTime: time.Unix(0, 0)}); err != nil {
		return err
	}
	// A file that grows or shrinks meanwhile does not fit its header, which is an error.
	if _, err := io.Copy(a.tar, file); err != nil {
		return fmt.Errorf("packing %q: %w", path, err)
	}
	return nil
}

// Fetch opens a part of the artifact.
func (p *Package) Fetch(_ context.Context, wanted ocispec.Descriptor) (io.ReadCloser, error) {
	if wanted.Digest == p.layer.Digest {
		return io.NopCloser(io.NewSectionReader(p.file, 0, p.layer.Size)), nil
	}
	if text, found := p.small[wanted.Digest]; found {
		return io.NopCloser(bytes.NewReader(text)), nil
	}
	return nil, fmt.Errorf("%s: %w", wanted.Digest, errdef.ErrNotFound)
}

// Exists tells whether the content is a part of the artifact.
func (p *Package) Exists(_ context.Context, wanted ocispec.Descriptor) (bool, error) {
	_, found := p.small[wanted.Digest]
	return found || wanted.Digest == p.layer.Digest, nil
}

// Resolve finds the artifact by its digest; it has no tags.
func (p *Package) Resolve(_ context.Context, reference string) (ocispec.Descriptor, error) {
	if reference != p.Digest() {
		return ocispec.Descriptor{}, fmt.Errorf("%s: %w", reference, errdef.ErrNotFound)
	}
	return p.root, nil
}

// Predecessors are none: nothing refers to an artifact that is not in a registry yet.
func (*Package) Predecessors(context.Context, ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	return nil, nil
}
