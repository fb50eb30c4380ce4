package render

import (
	"fmt"
	"regexp"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

const (
	sourceGroup       = "source.toolkit.fluxcd.io"
	kustomizeGroup    = "kustomize.toolkit.fluxcd.io"
	gitRepositoryKind = "GitRepository"
	ociRepositoryKind = "OCIRepository"
	bucketKind        = "Bucket"
	kustomizationKind = "Kustomization"
	genericProvider   = "generic"

	defaultSyncInterval   = time.Minute
	kustomizationInterval = 10 * time.Minute
)

// addSync adds the source and the Kustomization that deploys it.
func (d *draft) addSync() error {
	sync := d.instance.Spec.Sync
	if sync == nil {
		return nil
	}
	for _, needed := range []v1.Component{v1.SourceController, v1.KustomizeController} {
		if !d.installed(needed) {
			return &FieldError{Field: "spec.sync", Problem: fmt.Sprintf("it needs %s, which is not installed", needed),
				Cure: "add it to spec.components or remove spec.sync"}
		}
	}
	source, err := d.syncSource(sync)
	if err != nil {
		return err
	}
	kustomization, err := d.syncKustomization(sync)
	if err != nil {
		return err
	}
	d.add(source)
	d.add(kustomization)
	return nil
}

func (d *draft) syncSource(sync *v1.Sync) (*unstructured.Unstructured, error) {
	kind, err := d.openKind(sourceGroup, sync.Kind)
	if err != nil {
		return nil, err
	}
	interval := defaultSyncInterval
	if sync.Interval != nil {
		interval = sync.Interval.Duration
	}
	spec := map[string]any{"interval": interval.String()}
	switch sync.Kind {
	case gitRepositoryKind:
		spec["url"], spec["ref"] = sync.URL, map[string]any{"name": sync.Ref}
	case ociRepositoryKind:
		spec["url"], spec["ref"] = sync.URL, map[string]any{"tag": sync.Ref}
	case bucketKind:
		spec["endpoint"], spec["bucketName"] = sync.URL, sync.Ref
	}
	if sync.PullSecret != "" {
		spec["secretRef"] = map[string]any{"name": sync.PullSecret}
	}
	if sync.Provider != "" {
		switch {
		case kind.allows("provider", sync.Provider):
			spec["provider"] = sync.Provider
		case sync.Provider != genericProvider: // generic is what a kind without the field does anyway
			return nil, &FieldError{Field: "spec.sync.provider",
				Problem: fmt.Sprintf("a %s of Flux %s does not know %q", sync.Kind, d.name, sync.Provider),
				Cure:    "choose another provider, or a newer release in spec.distribution.version"}
		}
	}
	for _, field := range [][2]string{{"url", "spec.sync.url"}, {"interval", "spec.sync.interval"}} {
		value, _ := spec[field[0]].(string)
		if pattern, fits := kind.fits(field[0], value); !fits {
			return nil, &FieldError{Field: field[1], Problem: fmt.Sprintf("kind %s of Flux %s does not take it", sync.Kind, d.name),
				Cure: "write it so that it matches " + pattern}
		}
	}
	return d.syncObject(kind, spec), nil
}

func (d *draft) syncKustomization(sync *v1.Sync) (*unstructured.Unstructured, error) {
	kind, err := d.openKind(kustomizeGroup, kustomizationKind)
	if err != nil {
		return nil, err
	}
	spec := map[string]any{
		"interval":  kustomizationInterval.String(),
		"path":      sync.Path,
		"prune":     true,
		"sourceRef": map[string]any{"kind": sync.Kind, "name": d.instance.SyncName()},
	}
	// Removing spec.sync, or Flux, must leave what was deployed running.
	if kind.allows("deletionPolicy", "Orphan") {
		spec["deletionPolicy"] = "Orphan"
	}
	if d.cluster.Multitenant {
		spec["serviceAccountName"] = string(v1.KustomizeController)
	}
	return d.syncObject(kind, spec), nil
}

func (d *draft) syncObject(kind *kindSchema, spec map[string]any) *unstructured.Unstructured {
	o := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	o.SetAPIVersion(kind.group + "/" + kind.version)
	o.SetKind(kind.kind)
	o.SetName(d.instance.SyncName())
	o.SetNamespace(d.instance.Namespace)
	return o
}

// kindSchema is what the release itself says of a kind, so that no table of versions is needed.
type kindSchema struct {
	group, kind, version string
	// fields are the schemas of the fields of spec.
	fields map[string]any
}

// openKind reads the storage version of a kind from its definition in the release.
func (d *draft) openKind(group, kind string) (*kindSchema, error) {
	crd, err := d.findCRD(group, kind)
	if err != nil {
		return nil, err
	}
	versions, err := mapsAt(crd.Object, "spec", "versions")
	if err != nil {
		return nil, d.broken(crd.file, fmt.Errorf("%s: %w", describe(crd.Unstructured), err))
	}
	at := slices.IndexFunc(versions, func(version map[string]any) bool { return version["storage"] == true })
	if at < 0 || textAt(versions[at], "name") == "" {
		return nil, d.broken(crd.file, fmt.Errorf("%s has no storage version", describe(crd.Unstructured)))
	}
	fields, err := mapAt(versions[at], "schema", "openAPIV3Schema", "properties", "spec", "properties")
	if err != nil {
		return nil, d.broken(crd.file, fmt.Errorf("%s: %w", describe(crd.Unstructured), err))
	}
	return &kindSchema{group: group, kind: kind, version: textAt(versions[at], "name"), fields: fields}, nil
}

// fits tells whether a text is of the form that the kind wants of the field, and which form that is. What the kind says nothing of fits.
func (k *kindSchema) fits(field, value string) (pattern string, fits bool) {
	schema, err := mapAt(k.fields, field)
	if err != nil {
		return "", true
	}
	pattern = textAt(schema, "pattern")
	expression, err := regexp.Compile(pattern)
	return pattern, err == nil && expression.MatchString(value)
}

// allows tells whether the kind has the field in its spec and the field takes the value.
func (k *kindSchema) allows(field, value string) bool {
	schema, err := mapAt(k.fields, field)
	if err != nil {
		return false
	}
	values, err := listAt(schema, "enum")
	return err == nil && (len(values) == 0 || slices.Contains(values, any(value)))
}
