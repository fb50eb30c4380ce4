package image

import (
	"compress/gzip"
	"context"
	"fmt"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// rebuildFile is the file that tells an image from those with the same program.
const rebuildFile = "/etc/build"

// Rebuild pushes an image again as if it had been built anew: the same program, and one small layer more that holds the mark, hence another
// digest, which it returns. References are as for [Push].
func Rebuild(ctx context.Context, from, to, mark string) (string, error) {
	reference, err := name.ParseReference(from, name.StrictValidation)
	if err != nil {
		return "", fmt.Errorf("parsing image reference: %w", err)
	}
	img, err := remote.Image(reference, remote.WithContext(ctx))
	if err != nil {
		return "", fmt.Errorf("reading image %q: %w", from, err)
	}
	layer, err := layerOf([]entry{{path: rebuildFile, mode: 0o644, open: memoryFile(mark)}}, gzip.BestSpeed)
	if err != nil {
		return "", fmt.Errorf("rebuilding image %q: %w", from, err)
	}
	img, err = mutate.Append(img, mutate.Addendum{
		Layer: layer, History: v1.History{Created: v1.Time{Time: epoch}, CreatedBy: "mkimage", Comment: "rebuild"},
	})
	if err != nil {
		return "", fmt.Errorf("rebuilding image %q: %w", from, err)
	}
	return Push(ctx, img, to)
}
