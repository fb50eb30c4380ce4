package distribution

import (
	"embed"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
	"sigs.k8s.io/yaml"
)

// DefaultControllerGen is the version of controller-gen that generates a release's CRDs unless the release names another.
const DefaultControllerGen = "v0.23.0"

//go:embed releases/*.yaml rules.yaml
var data embed.FS

// Catalog lists the Flux releases this project ships, oldest first.
type Catalog struct {
	Releases []Release
}

// Release is one released version of Flux.
type Release struct {
	// Version is the semantic version without the leading v, such as 2.9.4.
	Version string `json:"version"`
	// ControllerGen is the version of controller-gen whose output equals the released CRDs, v0.23.0 when the file is
	// silent.
	ControllerGen string `json:"controllerGen,omitempty"`
	// Components are the controllers of the release, in the order in which they are listed to users.
	Components []Component `json:"components"`
	// Images are the published image sets.
	Images map[Variant]ImageSet `json:"images"`

	rules map[rule]bool
}

// Component is one controller of a release.
type Component struct {
	// Name is the name of the controller, of its Deployment and of its image repository.
	Name string `json:"name"`
	// Version is the version of the controller, with the leading v, and its image tag unless an ImageSet has another.
	Version string `json:"version"`
	// APIVersion is the version of the Go module that holds the controller's API, Version when the file is silent.
	APIVersion string `json:"apiVersion,omitempty"`
}

// ImageSet is what is known of the images of one variant of a release.
type ImageSet struct {
	// Digests maps components to the digests of their images, in the form sha256:<64 hex digits>.
	Digests map[string]string `json:"digests,omitempty"`
	// Tags maps the components whose image was published under another tag than their version to that tag.
	Tags map[string]string `json:"tags,omitempty"`
	// Unpinned says why components are missing from Digests; it is empty when none is.
	Unpinned string `json:"unpinned,omitempty"`
}

// Load reads the embedded catalog; it fails when a release is malformed or incomplete.
func Load() (Catalog, error) {
	return load(data)
}

func load(files fs.FS) (Catalog, error) {
	ranges, err := readRules(files)
	if err != nil {
		return Catalog{}, err
	}
	paths, err := fs.Glob(files, "releases/*.yaml")
	if err != nil {
		return Catalog{}, fmt.Errorf("listing releases: %w", err)
	}
	var catalog Catalog
	for _, path := range paths {
		release, err := readRelease(files, path, ranges)
		if err != nil {
			return Catalog{}, fmt.Errorf("reading release %q: %w", path, err)
		}
		catalog.Releases = append(catalog.Releases, release)
	}
	slices.SortFunc(catalog.Releases, func(a, b Release) int {
		return semver.MustParse(a.Version).Compare(semver.MustParse(b.Version))
	})
	return catalog, nil
}

func readRelease(files fs.FS, path string, ranges ruleRanges) (Release, error) {
	content, err := fs.ReadFile(files, path)
	if err != nil {
		return Release{}, err
	}
	var release Release
	if err := yaml.UnmarshalStrict(content, &release); err != nil {
		return Release{}, err
	}
	if release.ControllerGen == "" {
		release.ControllerGen = DefaultControllerGen
	}
	for i := range release.Components {
		if component := &release.Components[i]; component.APIVersion == "" {
			component.APIVersion = component.Version
		}
	}
	if err := release.validate(); err != nil {
		return Release{}, err
	}
	if want := "releases/" + release.Version + ".yaml"; path != want {
		return Release{}, fmt.Errorf("the file of version %q is named %q", release.Version, want)
	}
	release.rules = ranges.holdingFor(semver.MustParse(release.Version))
	return release, nil
}

// Release returns the release of a version, with or without its leading v; the error lists the versions there are.
func (c Catalog) Release(version string) (Release, error) {
	var known []string
	for _, release := range c.Releases {
		if release.Version == strings.TrimPrefix(version, "v") {
			return release, nil
		}
		known = append(known, release.Version)
	}
	return Release{}, fmt.Errorf("finding release %q: not one of %s", version, strings.Join(known, ", "))
}

// Tag returns the version with its leading v, as the names of folders and Git tags have it.
func (r Release) Tag() string {
	return "v" + r.Version
}

// Component returns the component of a name and whether the release has it.
func (r Release) Component(name string) (Component, bool) {
	for _, component := range r.Components {
		if component.Name == name {
			return component, true
		}
	}
	return Component{}, false
}

// APIModule returns the path of the Go module that holds the component's API.
func (c Component) APIModule() string {
	path := "github.com/fluxcd/" + c.Name + "/api"
	// Go wants the major version in the path of a module from the second one on.
	if major := semver.MustParse(c.APIVersion).Major(); major > 1 {
		path = fmt.Sprintf("%s/v%d", path, major)
	}
	return path
}
