package image

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// referenceName is the annotation by which tools find an image in an OCI layout.
const referenceName = "org.opencontainers.image.ref.name"

// Index joins images of different platforms under one digest, whatever order they come in.
func Index(images ...v1.Image) (v1.ImageIndex, error) {
	additions := make([]mutate.IndexAddendum, 0, len(images))
	for _, img := range images {
		config, err := img.ConfigFile()
		if err != nil {
			return nil, fmt.Errorf("reading image configuration: %w", err)
		}
		additions = append(additions, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: config.Platform()}})
	}
	slices.SortFunc(additions, func(a, b mutate.IndexAddendum) int {
		return cmp.Compare(a.Platform.String(), b.Platform.String())
	})
	for i := 1; i < len(additions); i++ {
		if additions[i].Platform.Equals(*additions[i-1].Platform) {
			return nil, fmt.Errorf("joining images: two are for %s", additions[i].Platform)
		}
	}
	return mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), additions...), nil
}

// Push sends an image or an index to a registry and returns its digest. The reference is host/path:tag, host included.
// Registries on loopback, private addresses and *.local may speak plain HTTP. Without options nobody is logged in.
func Push(ctx context.Context, what mutate.Appendable, ref string, options ...remote.Option) (string, error) {
	reference, err := name.ParseReference(ref, name.StrictValidation)
	if err != nil {
		return "", fmt.Errorf("parsing image reference: %w", err)
	}
	options = append([]remote.Option{remote.WithContext(ctx)}, options...)
	switch thing := what.(type) {
	case v1.Image:
		err = remote.Write(reference, thing, options...)
	case v1.ImageIndex:
		err = remote.WriteIndex(reference, thing, options...)
	default:
		err = fmt.Errorf("%T is neither an image nor an index", what)
	}
	if err != nil {
		return "", fmt.Errorf("pushing image %q: %w", ref, err)
	}
	digest, err := what.Digest()
	if err != nil {
		return "", fmt.Errorf("reading digest of %q: %w", ref, err)
	}
	return digest.String(), nil
}

// SaveDockerArchive writes a tar file that "docker load", "podman load" and "ctr images import" read. It replaces an
// existing file only when it is complete.
func SaveDockerArchive(img v1.Image, ref, file string) error {
	reference, err := name.ParseReference(ref, name.StrictValidation)
	if err != nil {
		return fmt.Errorf("parsing image reference: %w", err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+"-*")
	if err != nil {
		return fmt.Errorf("saving image %q: %w", ref, err)
	}
	defer os.Remove(tmp.Name())
	err = tarball.Write(reference, img, tmp)
	if err := errors.Join(err, tmp.Chmod(0o644), tmp.Close()); err != nil {
		return fmt.Errorf("saving image %q: %w", ref, err)
	}
	if err := os.Rename(tmp.Name(), file); err != nil {
		return fmt.Errorf("saving image %q: %w", ref, err)
	}
	return nil
}

// SaveOCILayout writes an image or an index as an OCI image layout. It replaces an existing layout, but no other folder
// that holds something.
func SaveOCILayout(what mutate.Appendable, ref, dir string) error {
	if err := checkReplaceable(dir); err != nil {
		return err
	}
	parent := filepath.Dir(filepath.Clean(dir))
	tmp, err := os.MkdirTemp(parent, "."+filepath.Base(dir)+"-*")
	if err != nil {
		return fmt.Errorf("saving image layout %q: %w", dir, err)
	}
	defer os.RemoveAll(tmp)
	if err := writeLayout(what, ref, tmp); err != nil {
		return fmt.Errorf("saving image layout %q: %w", dir, err)
	}
	if err := errors.Join(os.Chmod(tmp, 0o755), os.RemoveAll(dir), os.Rename(tmp, dir)); err != nil {
		return fmt.Errorf("saving image layout %q: %w", dir, err)
	}
	return nil
}

// checkReplaceable keeps a mistyped path from deleting somebody's folder.
func checkReplaceable(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) || (err == nil && len(entries) == 0) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("saving image layout %q: %w", dir, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "oci-layout")); err != nil {
		return fmt.Errorf("saving image layout %q: the folder holds something else: %w", dir, err)
	}
	return nil
}

func writeLayout(what mutate.Appendable, ref, dir string) error {
	target, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	annotations := layout.WithAnnotations(map[string]string{referenceName: ref})
	switch thing := what.(type) {
	case v1.Image:
		return target.AppendImage(thing, annotations)
	case v1.ImageIndex:
		return target.AppendIndex(thing, annotations)
	default:
		return fmt.Errorf("%T is neither an image nor an index", what)
	}
}
