package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/flux-autopilot/flux-operator/distribution"
)

// openShiftVersions are those that the operator is offered on: from the one on whose Kubernetes is the oldest that is tested.
const openShiftVersions = "v4.19"

// openShiftKey is the annotation of the bundle, and the label of its image, that says so.
const openShiftKey = "com.redhat.openshift.versions"

// finish adds to a bundle what operator-sdk does not know.
func (o options) finish(root, bundle, dockerfile string) error {
	images, err := relatedImages(o.image)
	if err != nil {
		return err
	}
	release, err := readRelease(o.template, o.version)
	if err != nil {
		return err
	}
	additions, err := readAdditions(filepath.Join(root, "config", "manifests"))
	if err != nil {
		return err
	}
	csv, err := openCSV(filepath.Join(bundle, "manifests", packageName+".clusterserviceversion.yaml"))
	if err != nil {
		return err
	}
	for _, step := range []func() error{
		func() error { return csv.describe(additions, o.image) },
		func() error { return csv.describeFields(filepath.Join(bundle, "manifests")) },
		func() error { return csv.setImages(images) },
		func() error { return csv.setRelease(release) },
		func() error { return csv.confine(filepath.Join(bundle, "manifests")) },
		csv.save,
		func() error { return release.save(filepath.Join(bundle, "release-config.yaml")) },
		func() error {
			return appendLine(filepath.Join(bundle, "metadata", "annotations.yaml"), "\n  # Catalogs of OpenShift.\n  "+openShiftKey+": "+openShiftVersions)
		},
		func() error {
			return appendLine(dockerfile, "\n# Catalogs of OpenShift.\nLABEL "+openShiftKey+"="+openShiftVersions)
		},
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// relatedImage is an image that the operator is, or installs.
type relatedImage struct {
	name, image string
}

// variable is the environment variable that names the image to the operator.
func (i relatedImage) variable() string {
	return "RELATED_IMAGE_" + strings.ToUpper(strings.ReplaceAll(i.name, "-", "_"))
}

// relatedImages returns the operator's image, then those of the newest release of Flux, by digest alone: tools that mirror catalogs refuse a
// reference with a tag and a digest.
func relatedImages(operator string) ([]relatedImage, error) {
	catalog, err := distribution.Load()
	if err != nil {
		return nil, fmt.Errorf("reading the releases of Flux: %w", err)
	}
	newest := catalog.Releases[len(catalog.Releases)-1]
	variant := distribution.UpstreamAlpine
	images := []relatedImage{{packageName, operator}}
	for _, component := range newest.Components {
		digest := newest.Images[variant].Digests[component.Name]
		if digest == "" {
			return nil, fmt.Errorf("reading the images of Flux %s: the digest of %q is not known", newest.Version, component.Name)
		}
		images = append(images, relatedImage{component.Name, variant.Registry() + "/" + component.Name + "@" + digest})
	}
	return images, nil
}

// additions are what stands beside the base in files of its own.
type additions struct {
	created  string
	icon     []byte
	examples []map[string]any
}

func readAdditions(dir string) (additions, error) {
	icon, err := os.ReadFile(filepath.Join(dir, "icon.svg"))
	if err != nil {
		return additions{}, fmt.Errorf("reading the icon: %w", err)
	}
	base, err := openCSV(filepath.Join(dir, "bases", packageName+".clusterserviceversion.yaml"))
	if err != nil {
		return additions{}, err
	}
	// In the order in which they are offered: the console fills its form from the first of a kind. It creates what it offers, and whoever creates
	// an object with a part of spec.cluster is noted for the default of its type: none of them has one, so that OpenShift is found out.
	files := []string{
		filepath.Join(dir, "examples", "fluxinstance.yaml"),
		filepath.Join(dir, "examples", "fluxinstance-sync.yaml"),
		filepath.Join(dir, "examples", "fluxreport.yaml"),
	}
	examples := make([]map[string]any, 0, len(files))
	for _, file := range files {
		example, err := readYAML(file)
		if err != nil {
			return additions{}, err
		}
		examples = append(examples, example)
	}
	return additions{created: base.GetAnnotations()["createdAt"], icon: icon, examples: slices.Clip(examples)}, nil
}

// appendLine writes a line at the end of a file.
func appendLine(path, line string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("completing a file of the bundle: %w", err)
	}
	text := strings.TrimRight(string(content), "\n") + "\n" + line + "\n"
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return fmt.Errorf("completing a file of the bundle: %w", err)
	}
	return nil
}
