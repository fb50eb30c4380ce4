package distribution

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"

	"github.com/Masterminds/semver/v3"
)

var digestPattern = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// validate reports everything that is wrong with a release as it was read from its file.
func (r Release) validate() error {
	var errs []error
	if _, err := semver.StrictNewVersion(r.Version); err != nil {
		errs = append(errs, fmt.Errorf("parsing version %q: %w", r.Version, err))
	}
	if len(r.Components) == 0 {
		errs = append(errs, errors.New("the release has no components"))
	}
	errs = append(errs, vVersion("controllerGen", r.ControllerGen))
	seen := map[string]bool{}
	for _, component := range r.Components {
		if seen[component.Name] {
			errs = append(errs, fmt.Errorf("component %q is listed twice", component.Name))
		}
		seen[component.Name] = true
		errs = append(errs, component.validate())
	}
	return errors.Join(append(errs, r.validateImages())...)
}

func (c Component) validate() error {
	_, err := workloadOf(c.Name)
	return errors.Join(err,
		vVersion(c.Name+" version", c.Version),
		vVersion(c.Name+" apiVersion", c.APIVersion))
}

func vVersion(field, version string) error {
	if len(version) == 0 || version[0] != 'v' {
		return fmt.Errorf("parsing %s %q: no leading v", field, version)
	}
	if _, err := semver.StrictNewVersion(version[1:]); err != nil {
		return fmt.Errorf("parsing %s %q: %w", field, version, err)
	}
	return nil
}

func (r Release) validateImages() error {
	var errs []error
	for _, variant := range slices.Sorted(maps.Keys(r.Images)) {
		if variant.Registry() == "" {
			errs = append(errs, fmt.Errorf("variant %q is unknown", variant))
			continue
		}
		if err := r.validateImageSet(r.Images[variant]); err != nil {
			errs = append(errs, fmt.Errorf("checking images %q: %w", variant, err))
		}
	}
	for _, variant := range Variants() {
		if _, ok := r.Images[variant]; !ok && !variant.optional() {
			errs = append(errs, fmt.Errorf("images %q are missing", variant))
		}
	}
	return errors.Join(errs...)
}

func (r Release) validateImageSet(images ImageSet) error {
	var errs []error
	pinned := 0
	for _, name := range slices.Sorted(maps.Keys(images.Digests)) {
		if _, ok := r.Component(name); !ok {
			errs = append(errs, fmt.Errorf("%q is not a component of the release", name))
			continue
		}
		if digest := images.Digests[name]; !digestPattern.MatchString(digest) {
			errs = append(errs, fmt.Errorf("digest %q of %q is malformed", digest, name))
		}
		pinned++
	}
	for _, name := range slices.Sorted(maps.Keys(images.Tags)) {
		if _, ok := r.Component(name); !ok {
			errs = append(errs, fmt.Errorf("tagged %q is not a component of the release", name))
		}
		errs = append(errs, vVersion(name+" tag", images.Tags[name]))
	}
	switch missing := len(r.Components) - pinned; {
	case missing > 0 && images.Unpinned == "":
		errs = append(errs, fmt.Errorf("%d components have neither a digest nor a reason in unpinned", missing))
	case missing <= 0 && images.Unpinned != "":
		errs = append(errs, errors.New("unpinned is set although every component has a digest"))
	}
	return errors.Join(errs...)
}
