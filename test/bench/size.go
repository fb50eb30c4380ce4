package bench

import (
	"context"
	"fmt"
	"io/fs"
	"os"

	registry "github.com/google/go-containerregistry/pkg/v1"

	"github.com/flux-autopilot/flux-operator/test/testbed/image"
)

// compression is the level of gzip that make image uses.
const compression = 6

// benchSize measures what is shipped.
func (b *bench) benchSize(context.Context) (Part, error) {
	info, err := os.Stat(b.operator)
	if err != nil {
		return Part{}, fmt.Errorf("reading the size of the binary: %w", err)
	}
	img, err := image.FromBinary(
		image.Binary{Path: b.operator, Entrypoint: "/flux-operator"},
		image.Options{Files: map[string]fs.FS{"/data": os.DirFS(b.distribution.dir)}, CompressionLevel: compression},
	)
	if err != nil {
		return Part{}, err
	}
	size, err := compressed(img)
	if err != nil {
		return Part{}, err
	}
	return Part{
		Title:  "Size",
		Method: "The binary as `make build` links it, and the image as `make image` makes it: compressed layers, distribution included.",
		Figures: []Figure{
			measured("binary", mebibytes, sample{inMiB(info.Size())}),
			measured("image, compressed", mebibytes, sample{inMiB(size)}),
		},
		Notes: []string{fmt.Sprintf("The distribution in the image holds %d releases of Flux.", len(b.distribution.catalog.Versions))},
	}, nil
}

// compressed adds up what a registry stores of an image.
func compressed(img registry.Image) (int64, error) {
	manifest, err := img.Manifest()
	if err != nil {
		return 0, fmt.Errorf("reading the image's manifest: %w", err)
	}
	size := manifest.Config.Size
	for _, layer := range manifest.Layers {
		size += layer.Size
	}
	return size, nil
}
