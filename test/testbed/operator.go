package testbed

import (
	"context"
	"fmt"
	"os"
)

// operatorTag is the version of an operator that is built from the working tree.
const operatorTag = "v0.0.0-testbed"

// PushOperator builds the operator from the working tree with the given distribution folder inside, pushes its image and those of the
// given Flux versions, and returns the operator's image reference, good in any manifest of the cluster. The distribution in
// the image pins the controllers to the images that were pushed.
func (c *Cluster) PushOperator(ctx context.Context, distribution string, fluxVersions ...string) (string, error) {
	for _, version := range fluxVersions {
		names, ok := FluxImages()[version]
		if !ok {
			return "", fmt.Errorf("pushing Flux %q: its controllers are not among the pinned tools", version)
		}
		if _, err := c.Push(ctx, names...); err != nil {
			return "", err
		}
	}
	digests, err := c.Digests()
	if err != nil {
		return "", err
	}
	dir := c.DistributionDir()
	if err := os.RemoveAll(dir); err != nil {
		return "", fmt.Errorf("replacing the test distribution: %w", err)
	}
	if err := TestDistribution(os.DirFS(distribution), dir, digests); err != nil {
		return "", err
	}
	img := OperatorImage(operatorTag, os.DirFS(dir))
	c.sayf("image %s", img.name())
	digest, err := c.PushImage(ctx, img)
	if err != nil {
		return "", err
	}
	return "ghcr.io/" + img.Repository + "@" + digest, nil
}

// DistributionDir is the folder of the test distribution that [Cluster.PushOperator] made, for an operator that runs on this machine.
func (c *Cluster) DistributionDir() string { return c.config.file("distribution") }
