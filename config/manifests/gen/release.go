package main

import (
	"fmt"
	"os"
	"path/filepath"

	"sigs.k8s.io/yaml"
)

// templateFile is the template of the catalog, which says what every version replaces.
var templateFile = filepath.Join("catalog", "catalog-templates", "stable.yaml")

// release is what the catalog's template says of a version.
type release struct {
	Replaces  string `json:"replaces,omitempty"`
	SkipRange string `json:"skipRange,omitempty"`
}

// readRelease finds a version in the channel of the template.
func readRelease(path, version string) (release, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return release{}, fmt.Errorf("reading the template of the catalog: %w", err)
	}
	var template struct {
		Entries []struct {
			Schema  string `json:"schema"`
			Name    string `json:"name"`
			Entries []struct {
				Name string `json:"name"`
				release
			} `json:"entries"`
		} `json:"entries"`
	}
	if err := yaml.Unmarshal(content, &template); err != nil {
		return release{}, fmt.Errorf("parsing %q: %w", path, err)
	}
	wanted := packageName + ".v" + version
	for _, block := range template.Entries {
		if block.Schema != "olm.channel" || block.Name != channel {
			continue
		}
		for _, entry := range block.Entries {
			if entry.Name == wanted {
				return entry.release, nil
			}
		}
	}
	return release{}, fmt.Errorf("finding %q in %q: the channel %q has no such entry; add it and say what it replaces", wanted, path, channel)
}

// save writes how the pipeline of the community catalogs adds the version to its own template.
func (r release) save(path string) error {
	type addition struct {
		TemplateName string   `json:"template_name"` //nolint:tagliatelle // the pipeline calls it so
		Channels     []string `json:"channels"`
		release
	}
	return writeYAML(path, map[string][]addition{
		"catalog_templates": {{filepath.Base(templateFile), []string{channel}, r}},
	})
}
