package site

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/flux-autopilot/flux-operator/test/testbed"
	"github.com/flux-autopilot/flux-operator/tools"
)

// pushImages puts the controllers of the wanted Flux releases and both versions of the sample app into the cluster's registry. Programs are
// built once for the machine, images once for a cluster's name.
func (s *Site) pushImages(ctx context.Context, source string, opts Options) error {
	known := testbed.FluxImages()
	releases := opts.Flux
	if len(releases) == 0 {
		releases = slices.Sorted(maps.Keys(known))
	}
	names := []string{"sampleapp@1.0.0", "sampleapp@2.0.0"}
	for _, release := range releases {
		controllers, ok := known[release]
		if !ok {
			return fmt.Errorf("pushing images of Flux %q: binaries exist for %q", release, slices.Sorted(maps.Keys(known)))
		}
		names = append(names, controllers...)
	}
	if _, err := s.Cluster.Push(ctx, names...); err != nil {
		return err
	}
	for _, release := range opts.StandIns {
		if err := s.Cluster.PushStandIns(ctx, os.DirFS(source), release); err != nil {
			return err
		}
	}
	digests, err := s.Cluster.Digests()
	s.Images = digests
	return err
}

// distribution returns the folder of the generated distribution.
func distribution() (string, error) {
	root, err := tools.Root()
	if err != nil {
		return "", err
	}
	dir := cmp.Or(os.Getenv("DISTRIBUTION_DIR"), filepath.Join(root, "dist", "distribution"))
	if _, err := os.Stat(filepath.Join(dir, "flux")); err != nil {
		return "", fmt.Errorf("finding the distribution: %w; generate it with: make distribution", err)
	}
	return dir, nil
}

// pinDistribution writes the distribution with the digests of the images that were really pushed.
func (s *Site) pinDistribution(source string) error {
	s.Distribution = filepath.Join(s.Cluster.Dir, "distribution")
	if err := os.RemoveAll(s.Distribution); err != nil {
		return fmt.Errorf("removing an earlier test distribution: %w", err)
	}
	return testbed.TestDistribution(os.DirFS(source), s.Distribution, s.Images)
}
