package testbed

import (
	"context"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/flux-autopilot/flux-operator/tools"
)

// sameVersions is the first minor whose definitions have all the API versions that the programs of the newest release ask for.
const sameVersions = "v2.6"

// StandIns are images for the controllers of a release of a distribution that have no programs of their own, under the names of that
// release. Since 2.6 the newest program stands in where there is one, which works with the release's own definitions. For every other
// controller there is a program that is healthy and does nothing.
func StandIns(distribution fs.FS, release string) ([]Image, error) {
	data, err := fs.ReadFile(distribution, path.Join("flux-images", release, path.Base(digestFiles)))
	if err != nil {
		return nil, fmt.Errorf("finding stand-ins for Flux %q: %w", release, err)
	}
	var list imageList
	if err := yaml.UnmarshalStrict(data, &list); err != nil {
		return nil, fmt.Errorf("finding stand-ins for Flux %q: %w", release, err)
	}
	own := FluxImages()[strings.TrimPrefix(release, "v")]
	var images []Image
	for _, pin := range list.Images {
		controller := path.Base(pin.Name)
		hasOwn := slices.ContainsFunc(own, func(name string) bool { return name == controller || strings.HasPrefix(name, controller+"@") })
		if hasOwn {
			continue
		}
		img := Image{Repository: withoutRegistry(pin.Name), Tag: pin.NewTag, Package: "./test/testbed/cmd/placeholder", Options: controllerOptions()}
		if release >= sameVersions && slices.Contains(tools.Names(), controller) {
			img.Package, img.Tool = "", controller
		}
		images = append(images, img)
	}
	return images, nil
}

// PushStandIns builds and pushes the images of [StandIns].
func (c *Cluster) PushStandIns(ctx context.Context, distribution fs.FS, release string) error {
	images, err := StandIns(distribution, release)
	if err != nil {
		return err
	}
	for _, img := range images {
		c.sayf("image %s, which stands in", img.name())
		if _, err := c.PushImage(ctx, img); err != nil {
			return err
		}
	}
	return nil
}
