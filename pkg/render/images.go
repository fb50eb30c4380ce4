package render

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// image is what a variant says of a controller. The digest is empty where the distribution says the image, but has no digest of it
// on record; that such an image runs unpinned shows in Set.Unpinned and in the status.
type image struct {
	tag, digest string
}

func (i image) String() string {
	if i.digest == "" {
		return i.tag
	}
	return i.tag + "@" + i.digest
}

// imagePath is one element of the path of a repository.
const imagePath = `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`

var (
	imageTag        = regexp.MustCompile(`^\w[\w.-]{0,127}$`)
	imageDigest     = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	imageRepository = regexp.MustCompile(`^(([a-zA-Z0-9.-]+|\[[0-9a-fA-F:]+\])(:[0-9]+)?/)?` + imagePath + `(/` + imagePath + `)*$`)
)

// publishedRegistry is where Flux publishes its images.
const publishedRegistry = "ghcr.io/fluxcd"

// RelatedImages say where the images of the controllers are that came with the operator: by digest, as its bundle lists them. A catalog that was
// rebuilt for a closed network names its own registry there.
type RelatedImages map[v1.Component]string

// repository of a controller's image in the registry that the instance asks for. Asking for the one that Flux publishes in means the same image from
// where the bundle says, when that is the very image of the release; another registry is the user's choice.
func (r RelatedImages) repository(registry string, component v1.Component, digest string) string {
	related, relatedDigest, _ := strings.Cut(r[component], "@")
	if registry == publishedRegistry && digest != "" && digest == relatedDigest && imageRepository.MatchString(related) {
		return related
	}
	return registry + "/" + string(component)
}

// setImages pins the image of each controller to the digest that the variant of the release has for it, in the wanted registry.
func (d *draft) setImages() error {
	registry := strings.TrimRight(d.instance.Spec.Distribution.Registry, "/")
	if !imageRepository.MatchString(registry + "/" + string(v1.SourceController)) {
		return &FieldError{Field: "spec.distribution.registry", Problem: fmt.Sprintf("%q is no registry", registry),
			Cure: "write it without scheme, like ghcr.io/fluxcd"}
	}
	variant, err := d.variant(registry)
	if err != nil {
		return err
	}
	images, err := d.loadImages(variant)
	if err != nil {
		return err
	}
	for _, w := range d.workloads {
		pinned, found := images[string(w.component)]
		if !found {
			return &FieldError{Field: "spec.distribution.variant",
				Problem: fmt.Sprintf("Flux %s has no image of %s in variant %q", d.name, w.component, variant), Cure: d.variantCure()}
		}
		w.manager["image"] = d.platform.Images.repository(registry, w.component, pinned.digest) + ":" + pinned.String()
	}
	d.releaseImages, err = d.readImages()
	return err
}

// variant is the one asked for or the one published in that registry.
func (d *draft) variant(registry string) (string, error) {
	wanted := d.instance.Spec.Distribution.Variant
	if wanted != "" {
		return wanted, oneOf("spec.distribution.variant", wanted, knownVariants()...)
	}
	switch registry {
	case "fluxcd", "ghcr.io/fluxcd":
		return "upstream-alpine", nil
	case "ghcr.io/controlplaneio-fluxcd/alpine":
		return "enterprise-alpine", nil
	case "ghcr.io/controlplaneio-fluxcd/distroless", "709825985650.dkr.ecr.us-east-1.amazonaws.com/controlplane/fluxcd":
		return "enterprise-distroless", nil
	case "ghcr.io/controlplaneio-fluxcd/distroless-fips":
		return "enterprise-distroless-fips", nil
	}
	return "", &FieldError{Field: "spec.distribution.variant",
		Problem: fmt.Sprintf("it cannot be guessed from the registry %q", registry), Cure: d.variantCure()}
}

func knownVariants() []string {
	return []string{"upstream-alpine", "enterprise-alpine", "enterprise-distroless", "enterprise-distroless-fips"}
}

func (d *draft) variantFile(variant string) string {
	return path.Join("flux-images", d.name, variant+".yaml")
}

// variantCure says which variants there are to choose from.
func (d *draft) variantCure() string {
	variants := slices.DeleteFunc(knownVariants(), func(variant string) bool {
		_, err := fs.Stat(d.tree, d.variantFile(variant))
		return err != nil
	})
	if len(variants) == 0 {
		return "the distribution has no images of this release: choose another release in spec.distribution.version"
	}
	return "set it to the variant that the registry holds a copy of: " + join(variants)
}

// loadImages reads the images of a variant by component.
func (d *draft) loadImages(variant string) (map[string]image, error) {
	file := d.variantFile(variant)
	content, err := readBounded(d.tree, file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &FieldError{Field: "spec.distribution.variant",
			Problem: fmt.Sprintf("Flux %s has no images of variant %q", d.name, variant), Cure: d.variantCure()}
	}
	if err != nil {
		return nil, d.broken(file, err)
	}
	documents, err := parse(content)
	if err != nil {
		return nil, d.broken(file, err)
	}
	images := map[string]image{}
	for _, document := range documents {
		if err := readVariant(document, images); err != nil {
			return nil, d.broken(file, err)
		}
	}
	return images, nil
}

func readVariant(document map[string]any, images map[string]image) error {
	entries, err := mapsAt(document, "images")
	if err != nil {
		return err
	}
	for _, entry := range entries {
		name := path.Base(textAt(entry, "name"))
		digest, hasDigest := entry["digest"]
		found := image{tag: textAt(entry, "newTag"), digest: textAt(entry, "digest")}
		if !imageTag.MatchString(found.tag) || hasDigest && !imageDigest.MatchString(found.digest) {
			return fmt.Errorf("the image %q has no valid tag and digest: %v and %v", name, entry["newTag"], digest)
		}
		if _, repeated := images[name]; repeated {
			return fmt.Errorf("the image %q is there twice", name)
		}
		images[name] = found
	}
	return nil
}

// readImages reads what the controllers of the main set will run from their Deployments; one that a patch removed is left out.
func (d *draft) readImages() ([]v1.ComponentImage, error) {
	var images []v1.ComponentImage
	for _, component := range d.instance.Components() {
		at := slices.IndexFunc(d.objects, func(o *object) bool { return o.runs(component) && o.shard == "" })
		if at < 0 {
			continue
		}
		image, err := d.objects[at].readImage()
		if err != nil {
			return nil, err
		}
		images = append(images, image)
	}
	return images, nil
}

// runs tells whether the object is a Deployment of the controller.
func (o *object) runs(component v1.Component) bool {
	return o.GetKind() == "Deployment" && o.component == component
}

// readImage reads what the controller of a Deployment will run.
func (o *object) readImage() (v1.ComponentImage, error) {
	w, err := openWorkload(o)
	if err != nil {
		return v1.ComponentImage{}, err
	}
	image, err := parseImage(textAt(w.manager, "image"))
	if err != nil {
		return image, fmt.Errorf("%s, container %q: %w", describe(w.Unstructured), managerContainer, err)
	}
	image.Name = string(o.component)
	return image, nil
}

// parseImage takes an image reference apart; Docker Hub gets its full name, so that one image has one spelling in the status.
func parseImage(reference string) (v1.ComponentImage, error) {
	rest, digest, hasDigest := strings.Cut(reference, "@")
	repository, tag := rest, ""
	colon := strings.LastIndex(rest, ":")
	hasTag := colon > strings.LastIndex(rest, "/")
	if hasTag {
		repository, tag = rest[:colon], rest[colon+1:]
	}
	switch {
	case !imageRepository.MatchString(repository),
		hasTag && !imageTag.MatchString(tag),
		hasDigest && !imageDigest.MatchString(digest):
		return v1.ComponentImage{}, fmt.Errorf("%q is no image reference", reference)
	case tag == "" && digest == "":
		tag = "latest"
	}
	return v1.ComponentImage{Repository: fullRepository(repository), Tag: tag, Digest: digest}, nil
}

func fullRepository(repository string) string {
	const hub = "index.docker.io"
	host, name, found := strings.Cut(repository, "/")
	isHost := strings.ContainsAny(host, ".:") || host == "localhost"
	switch {
	case !found:
		return hub + "/library/" + repository
	case !isHost:
		return hub + "/" + repository
	case host == "docker.io" && strings.Contains(name, "/"):
		return hub + "/" + name
	case host == "docker.io":
		return hub + "/library/" + name
	}
	return repository
}
