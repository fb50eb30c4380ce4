package main

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/flux-autopilot/flux-operator/pkg/artifact"
)

// image is that of one controller.
type image struct {
	component string
	from      artifact.Reference
}

// imageList is flux-images/<release>/<variant>.yaml.
type imageList struct {
	Images []struct {
		Name   string `json:"name"`
		NewTag string `json:"newTag"`
		Digest string `json:"digest"`
	} `json:"images"`
}

// imageChoice says which images of a release are meant.
type imageChoice struct {
	variant string
	// components are all where none is named.
	components []string
	// registry to take the images from instead of the one in the list.
	registry string
}

// of reads the images of a release.
func (c imageChoice) of(tree fs.FS, release string) ([]image, error) {
	list, err := readImages(tree, release, c.variant)
	if err != nil {
		return nil, err
	}
	var images []image
	var known []string
	for _, entry := range list.Images {
		component := path.Base(entry.Name)
		known = append(known, component)
		if len(c.components) > 0 && !slices.Contains(c.components, component) {
			continue
		}
		name := entry.Name
		if c.registry != "" {
			name = strings.TrimRight(c.registry, "/") + "/" + component
		}
		address := scheme + fullName(name) + ":" + entry.NewTag
		if entry.Digest != "" {
			address += "@" + entry.Digest
		}
		from, err := artifact.ParseReference(address)
		if err != nil {
			return nil, fmt.Errorf("reading the images of Flux %s: %w", release, err)
		}
		images = append(images, image{component, from})
	}
	for _, wanted := range c.components {
		if !slices.Contains(known, wanted) {
			return nil, fmt.Errorf("--components: Flux %s has no %q; there are %s", release, wanted, strings.Join(known, ", "))
		}
	}
	return images, nil
}

func readImages(tree fs.FS, release, variant string) (*imageList, error) {
	name := path.Join("flux-images", release, variant+".yaml")
	file, err := tree.Open(name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) {
		return nil, fmt.Errorf("--variant: Flux %s has no images of variant %q; there are %s", release, variant, variants(tree, release))
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // nothing was written, so closing cannot lose anything
	content, err := readBounded(name, file, maxFile)
	if err != nil {
		return nil, err
	}
	list := &imageList{}
	if err := yaml.UnmarshalStrict(content, list); err != nil {
		return nil, fmt.Errorf("reading %q: %w", name, err)
	}
	if len(list.Images) == 0 {
		return nil, fmt.Errorf("reading %q: it names no images", name)
	}
	return list, nil
}

// variants lists those that the distribution has of a release.
func variants(tree fs.FS, release string) string {
	files, err := fs.Glob(tree, path.Join("flux-images", release, "*.yaml"))
	if err != nil || len(files) == 0 {
		return "none"
	}
	for i, file := range files {
		files[i] = strings.TrimSuffix(path.Base(file), ".yaml")
	}
	return strings.Join(files, ", ")
}

// fullName writes out the registry that container runtimes add to short names.
func fullName(repository string) string {
	host, _, _ := strings.Cut(repository, "/")
	if strings.ContainsAny(host, ".:") || host == "localhost" {
		return repository
	}
	return "docker.io/" + repository
}
