package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Image makes the image of the bundle in a folder, the one that bundle.Dockerfile describes: its files, and its annotations as labels. The same files
// give the same digest for ever: a catalog names published bundles by the digests of their files. So nothing is compressed, which every version of
// a library does in its own way.
func Image(dir string) (v1.Image, error) {
	b, err := Load(dir)
	if err != nil {
		return nil, err
	}
	content, err := archive(os.DirFS(dir), "manifests", "metadata", "tests")
	if err != nil {
		return nil, fmt.Errorf("packing the bundle %q: %w", dir, err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil },
		tarball.WithMediaType(types.OCILayer), tarball.WithCompressionLevel(gzip.NoCompression))
	if err != nil {
		return nil, fmt.Errorf("packing the bundle %q: %w", dir, err)
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err = mutate.AppendLayers(image, layer)
	if err != nil {
		return nil, fmt.Errorf("making the image of the bundle %q: %w", dir, err)
	}
	image, err = mutate.Config(image, v1.Config{Labels: b.Annotations})
	if err != nil {
		return nil, fmt.Errorf("labelling the image of the bundle %q: %w", dir, err)
	}
	return image, nil
}

// archive packs folders of a tree, with all times the same.
func archive(tree fs.FS, folders ...string) ([]byte, error) {
	var packed bytes.Buffer
	w := tar.NewWriter(&packed)
	for _, folder := range folders {
		err := fs.WalkDir(tree, folder, func(name string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return pack(w, tree, name, entry)
		})
		if err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return packed.Bytes(), nil
}

func pack(w *tar.Writer, tree fs.FS, name string, entry fs.DirEntry) error {
	header := &tar.Header{Name: name, Mode: 0o644, Typeflag: tar.TypeReg, ModTime: time.Unix(0, 0), Format: tar.FormatPAX}
	if entry.IsDir() {
		header.Name, header.Mode, header.Typeflag = name+"/", 0o755, tar.TypeDir
		return w.WriteHeader(header)
	}
	content, err := fs.ReadFile(tree, name)
	if err != nil {
		return err
	}
	header.Size = int64(len(content))
	if err := w.WriteHeader(header); err != nil {
		return err
	}
	_, err = w.Write(content)
	return err
}
