package report

import (
	"encoding/json"
	"slices"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// Labels of definitions, and what they say.
const (
	partOfLabel    = "app.kubernetes.io/part-of"
	partOfFlux     = "flux"
	versionLabel   = "app.kubernetes.io/version"
	managedByLabel = "app.kubernetes.io/managed-by"
	bootstrapLabel = "kustomize.toolkit.fluxcd.io/name"
)

// ownDefinitions are the definitions of the operator's own kinds, which carry no label of Flux.
func ownDefinitions() []string {
	return []string{"fluxinstances." + v1.Group, "resourcesets." + v1.Group, "resourcesetinputproviders." + v1.Group}
}

// Definition is what is kept of a CustomResourceDefinition.
type Definition struct {
	// Name of the definition, such as kustomizations.kustomize.toolkit.fluxcd.io.
	Name string
	// Group of the objects.
	Group string
	// Kind of the objects.
	Kind string
	// Plural of the kind, as in addresses.
	Plural string
	// Version in which the objects are watched: the one in which they are stored, if it is served.
	Version string
	// Outdated are the versions that are deprecated, or that are not served any more.
	Outdated []string
	// Served are the versions that are served.
	Served []string
	// Labels are those that say what installed the definition, and which release it is of.
	Labels map[string]string

	uid         string
	established bool
}

// APIVersion is the group and version in which the objects are watched.
func (d *Definition) APIVersion() string { return d.Group + "/" + d.Version }

// isWatchable tells whether the API server serves the objects.
func (d *Definition) isWatchable() bool { return d.established && d.Version != "" }

// sameObjects tells whether a watch for one definition is good for the other.
func (d *Definition) sameObjects(other *Definition) bool {
	return d.uid == other.uid && d.Kind == other.Kind && d.Plural == other.Plural && d.Group == other.Group && d.Version == other.Version
}

// isOutdated tells whether nobody should write objects in a version.
func (d *Definition) isOutdated(version string) bool {
	return slices.Contains(d.Outdated, version) || !slices.Contains(d.Served, version)
}

// definitionWire are the fields of a CustomResourceDefinition that are read.
type definitionWire struct {
	Metadata struct {
		metadataWire

		Labels map[string]string `json:"labels"`
	} `json:"metadata"`
	Spec struct {
		Group string `json:"group"`
		Names struct {
			Kind   string `json:"kind"`
			Plural string `json:"plural"`
		} `json:"names"`
		Versions []struct {
			Name       string `json:"name"`
			Served     bool   `json:"served"`
			Storage    bool   `json:"storage"`
			Deprecated bool   `json:"deprecated"`
		} `json:"versions"`
	} `json:"spec"`
	Status struct {
		Conditions []conditionWire `json:"conditions"`
	} `json:"status"`
}

// readDefinition reads a definition from a stream.
func readDefinition(stream *json.Decoder) (*item[*Definition], error) {
	var wire definitionWire
	if err := decode(stream, &wire); err != nil {
		return nil, err
	}
	found := &Definition{
		Name: wire.Metadata.Name, Group: wire.Spec.Group, Kind: wire.Spec.Names.Kind, Plural: wire.Spec.Names.Plural,
		Labels: map[string]string{}, uid: wire.Metadata.UID,
	}
	for _, name := range []string{versionLabel, managedByLabel, bootstrapLabel} {
		if value, labelled := wire.Metadata.Labels[name]; labelled {
			found.Labels[name] = value
		}
	}
	for _, version := range wire.Spec.Versions {
		if !version.Served || version.Deprecated {
			found.Outdated = append(found.Outdated, version.Name)
		}
		if !version.Served {
			continue
		}
		found.Served = append(found.Served, version.Name)
		if version.Storage || found.Version == "" {
			found.Version = version.Name
		}
	}
	found.established = slices.ContainsFunc(wire.Status.Conditions, func(c conditionWire) bool {
		return c.Type == "Established" && c.Status == "True"
	})
	return itemOf(&wire.Metadata.metadataWire, found), nil
}
