package bundle

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// Catalog is what a file-based catalog says of one package.
type Catalog struct {
	// DefaultChannel is the one that a Subscription without a channel follows.
	DefaultChannel string
	// Channels are the versions in each channel, by channel and name.
	Channels map[string]map[string]Entry
	// Bundles are the images of the bundles, by name.
	Bundles map[string]string
	// Inline are the bundles whose manifests stand in the catalog as a whole.
	Inline []string
}

// Entry is a version in a channel, and from which ones it can be reached.
type Entry struct {
	// Name of the bundle.
	Name string `json:"name"`
	// Replaces is the version before it.
	Replaces string `json:"replaces"`
	// Skips are versions that lead to it as well.
	Skips []string `json:"skips"`
	// SkipRange is a range of them.
	SkipRange string `json:"skipRange"`
}

// ReadCatalog reads a file-based catalog, or a template of one.
func ReadCatalog(r io.Reader) (*Catalog, error) {
	c := &Catalog{Channels: map[string]map[string]Entry{}, Bundles: map[string]string{}}
	decoder := yaml.NewYAMLOrJSONDecoder(r, 4096)
	for {
		var block struct {
			Schema         string  `json:"schema"`
			Name           string  `json:"name"`
			Image          string  `json:"image"`
			DefaultChannel string  `json:"defaultChannel"`
			Entries        []Entry `json:"entries"`
			Properties     []struct {
				Type string `json:"type"`
			} `json:"properties"`
		}
		err := decoder.Decode(&block)
		if errors.Is(err, io.EOF) {
			return c, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading a catalog: %w", err)
		}
		switch block.Schema {
		case "olm.package":
			c.DefaultChannel = block.DefaultChannel
		case "olm.channel":
			if err := c.addChannel(block.Name, block.Entries); err != nil {
				return nil, err
			}
		case "olm.bundle":
			c.Bundles[block.Name] = block.Image
			for _, property := range block.Properties {
				if property.Type == "olm.bundle.object" {
					c.Inline = append(c.Inline, block.Name)
				}
			}
		}
	}
}

func (c *Catalog) addChannel(name string, entries []Entry) error {
	c.Channels[name] = map[string]Entry{}
	for _, entry := range entries {
		if _, repeated := c.Channels[name][entry.Name]; repeated {
			return fmt.Errorf("reading the channel %q: %q is there twice", name, entry.Name)
		}
		c.Channels[name][entry.Name] = entry
	}
	return nil
}

// Check returns a sentence for each way in which the catalog would strand somebody: every version must have a bundle and lead to the newest of its channel.
func (c *Catalog) Check() []string {
	var f findings
	_, known := c.Channels[c.DefaultChannel]
	f.wantf(known, "the default channel %q is not there", c.DefaultChannel)
	for _, channel := range slices.Sorted(maps.Keys(c.Channels)) {
		f = append(f, c.checkChannel(channel)...)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Bundles)) {
		inChannel := slices.ContainsFunc(slices.Collect(maps.Values(c.Channels)), func(entries map[string]Entry) bool {
			_, found := entries[name]
			return found
		})
		f.wantf(inChannel, "%s is in no channel", name)
		f.wantf(c.Bundles[name] != "", "%s has no image", name)
		f.wantf(!slices.Contains(c.Inline, name), "%s has its manifests in the catalog, which is refused since OpenShift 4.17", name)
	}
	return f
}

func (c *Catalog) checkChannel(channel string) []string {
	var f findings
	entries := c.Channels[channel]
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		entry := entries[name]
		_, hasBundle := c.Bundles[name]
		f.wantf(hasBundle, "channel %s: %s has no bundle", channel, name)
		_, before := entries[entry.Replaces]
		f.wantf(entry.Replaces == "" || before, "channel %s: %s replaces %s, which is not there", channel, name, entry.Replaces)
		f.wantf(entry.Replaces != name, "channel %s: %s replaces itself", channel, name)
		_, err := versionOf(name)
		f.wantf(err == nil, "channel %s: %v", channel, err)
	}
	heads := headsOf(entries)
	if len(heads) != 1 {
		return append(f, fmt.Sprintf("channel %s: there is not one newest version but %d: %v", channel, len(heads), heads))
	}
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		f.wantf(reaches(entries, name, heads[0]), "channel %s: %s does not lead to %s", channel, name, heads[0])
	}
	return f
}

// headsOf are the versions that no other one replaces or skips.
func headsOf(entries map[string]Entry) []string {
	var heads []string
	for name := range entries {
		passed := slices.ContainsFunc(slices.Collect(maps.Values(entries)), func(newer Entry) bool { return newer.follows(name) })
		if !passed {
			heads = append(heads, name)
		}
	}
	slices.Sort(heads)
	return heads
}

// reaches walks from version to version, one upgrade at a time.
func reaches(entries map[string]Entry, from, head string) bool {
	seen := map[string]bool{from: true}
	queue := []string{from}
	for len(queue) > 0 {
		name := queue[0]
		queue = queue[1:]
		if name == head {
			return true
		}
		for next, entry := range entries {
			if !seen[next] && entry.follows(name) {
				seen[next] = true
				queue = append(queue, next)
			}
		}
	}
	return false
}

// follows tells whether the version can be reached from another one in one step.
func (e Entry) follows(name string) bool {
	if name == e.Name {
		return false
	}
	if e.Replaces == name || slices.Contains(e.Skips, name) {
		return true
	}
	within, err := semver.NewConstraint(e.SkipRange)
	version, versionErr := versionOf(name)
	return e.SkipRange != "" && err == nil && versionErr == nil && within.Check(version)
}

// versionOf reads the version out of the name of a bundle.
func versionOf(name string) (*semver.Version, error) {
	_, number, found := strings.Cut(name, ".v")
	version, err := semver.StrictNewVersion(number)
	if !found || err != nil {
		return nil, fmt.Errorf("%q is not the name of a package, .v and a version", name)
	}
	return version, nil
}
