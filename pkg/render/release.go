package render

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// Files every release has besides one for each component.
const (
	rolesFile    = "rbac.yaml"
	policiesFile = "policies.yaml"
)

// homeNamespace is the namespace the released manifests are written for.
const homeNamespace = "flux-system"

// object is an object of the set with what is known of its origin.
type object struct {
	*unstructured.Unstructured
	// file is where in the distribution it comes from; empty for objects of our own.
	file string
	// component it belongs to; empty for the shared ones.
	component v1.Component
	// releaseName is its name before a suffix was added; patches may name it by either.
	releaseName string
	// shard it belongs to; empty for the main set.
	shard string
	// bytes is its size where it was copied or patched, else 0.
	bytes int
}

// maxReleaseBytes bounds the files of a release together.
const maxReleaseBytes = 2 << 20

// release is what of a Flux release is asked for, parsed.
type release struct {
	tree    fs.FS
	name    string
	version *semver.Version
	objects []*object
	// read is how many bytes the files have.
	read int
}

// load reads the files of the release that the instance needs.
func load(tree fs.FS, name string, instance *v1.FluxInstance) (*release, error) {
	version, err := semver.NewVersion(name)
	if err != nil || strings.ContainsAny(name, `/\`) {
		return nil, &ReleaseError{Release: name, Err: errors.Join(errors.New("its name is not a version"), err)}
	}
	r := &release{tree: tree, name: name, version: version}
	if _, err := fs.Stat(tree, path.Join("flux", name)); err != nil {
		return nil, r.broken("", err)
	}
	if err := r.loadComponents(instance.Components()); err != nil {
		return nil, err
	}
	if err := r.loadFile(rolesFile, ""); err != nil {
		return nil, err
	}
	if instance.Cluster().NetworkPolicy {
		if err := r.loadFile(policiesFile, ""); err != nil {
			return nil, err
		}
	}
	return r, r.checkUnique()
}

func (r *release) loadComponents(components []v1.Component) error {
	for i, component := range components {
		field := fmt.Sprintf("spec.components[%d]", i)
		if !slices.Contains(knownComponents(), component) {
			return &FieldError{Field: field, Problem: fmt.Sprintf("%q is no Flux controller", component),
				Cure: "choose from " + join(knownComponents())}
		}
		if slices.Contains(components[:i], component) {
			return &FieldError{Field: field, Problem: fmt.Sprintf("%q is named twice", component), Cure: "name each controller once"}
		}
		err := r.loadFile(string(component)+".yaml", component)
		if errors.Is(err, fs.ErrNotExist) {
			return &FieldError{Field: field, Problem: fmt.Sprintf("Flux %s has no %s", r.name, component),
				Cure: "remove it or choose a release that has it in spec.distribution.version"}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *release) loadFile(file string, component v1.Component) error {
	full := path.Join("flux", r.name, file)
	content, err := readBounded(r.tree, full)
	if err != nil {
		return r.broken(full, err)
	}
	if r.read += len(content); r.read > maxReleaseBytes {
		return r.broken(full, fmt.Errorf("it makes the release larger than %d bytes", maxReleaseBytes))
	}
	documents, err := parse(content)
	if err != nil {
		return r.broken(full, err)
	}
	for _, document := range documents {
		o := &object{Unstructured: &unstructured.Unstructured{Object: document}, file: full, component: component}
		if err := checkShape(o.Unstructured); err != nil {
			return r.broken(full, err)
		}
		o.releaseName = o.GetName()
		r.objects = append(r.objects, o)
	}
	return nil
}

func (r *release) broken(file string, err error) error {
	return &ReleaseError{Release: r.name, File: file, Err: err}
}

// checkUnique refuses a release that has one object twice: which of the two would win is nobody's decision.
func (r *release) checkUnique() error {
	seen := map[string]*object{}
	for _, o := range r.objects {
		if first, found := seen[identity(o.Unstructured)]; found {
			return r.broken(o.file, fmt.Errorf("it repeats %s of %s", describe(o.Unstructured), first.file))
		}
		seen[identity(o.Unstructured)] = o
	}
	return nil
}

// atLeast tells whether the release is of this minor or a later one, pre-releases of the minor included.
func (r *release) atLeast(major, minor uint64) bool {
	return r.version.Major() > major || r.version.Major() == major && r.version.Minor() >= minor
}

// checkShape makes sure of what everything after it relies on.
func checkShape(o *unstructured.Unstructured) error {
	switch {
	case o.GetAPIVersion() == "" || o.GetKind() == "":
		return errors.New("a document has no apiVersion or no kind")
	case o.GetName() == "":
		return fmt.Errorf("a %s has no metadata.name", o.GetKind())
	}
	for _, field := range []string{"labels", "annotations"} {
		if _, _, err := unstructured.NestedStringMap(o.Object, "metadata", field); err != nil {
			return fmt.Errorf("%s: %w", describe(o), err)
		}
	}
	return nil
}

func readBounded(tree fs.FS, name string) ([]byte, error) {
	info, err := fs.Stat(tree, name) // before it is opened: opening a pipe waits until somebody writes
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	if info.Size() > maxFileBytes {
		return nil, fmt.Errorf("it is larger than %d bytes", maxFileBytes)
	}
	file, err := tree.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // nothing was written, so closing cannot lose anything
	content := make([]byte, info.Size())
	if _, err := io.ReadFull(file, content); err != nil {
		return nil, err
	}
	return content, nil
}

func knownComponents() []v1.Component {
	return []v1.Component{
		v1.SourceController, v1.KustomizeController, v1.HelmController, v1.NotificationController,
		v1.ImageReflectorController, v1.ImageAutomationController, v1.SourceWatcher,
	}
}

// identity is what makes two objects the same in a cluster, whatever their API version.
func identity(o *unstructured.Unstructured) string {
	gvk := o.GroupVersionKind()
	return strings.Join([]string{gvk.Group, gvk.Kind, o.GetNamespace(), o.GetName()}, "/")
}

// describe names an object for a reader.
func describe(o *unstructured.Unstructured) string {
	return fmt.Sprintf("%s %q", o.GetKind(), o.GetName())
}

func join[T ~string](values []T) string {
	texts := make([]string, 0, len(values))
	for _, value := range values {
		texts = append(texts, string(value))
	}
	return strings.Join(texts, ", ")
}
