package olm

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/flux-autopilot/flux-operator/test/bundle"
	"github.com/flux-autopilot/flux-operator/test/testbed"
	"github.com/flux-autopilot/flux-operator/test/testbed/image"
	"github.com/flux-autopilot/flux-operator/tools"
)

const (
	// Package is what the operator is called in catalogs.
	Package = "flux-operator"
	// Channel is the one channel.
	Channel = "stable"

	publishedHost    = "ghcr.io"
	bundleRepository = "flux-autopilot/flux-operator-bundle"
)

// Version is a version of the operator in a catalog.
type Version struct {
	// Number is the version, without a leading v.
	Number string
	// Replaces is the number of the version before it, if any.
	Replaces string
	// Image of the operator.
	Image string
}

// Name is the name of its ClusterServiceVersion.
func (v Version) Name() string { return Package + ".v" + v.Number }

// bundleImage is the name by which a catalog has its bundle.
func (v Version) bundleImage() string {
	return publishedHost + "/" + bundleRepository + ":v" + v.Number
}

// entry is a line of a channel.
type entry struct {
	Name      string `json:"name"`
	Replaces  string `json:"replaces,omitempty"`
	SkipRange string `json:"skipRange,omitempty"`
}

func (v Version) entry() entry {
	e := entry{Name: v.Name()}
	if v.Replaces != "" {
		e.Replaces, e.SkipRange = Version{Number: v.Replaces}.Name(), ">=0.0.1 <"+v.Number
	}
	return e
}

// Generate makes the bundles of versions with the project's own generator. Images that the testbed has with other digests than the released ones
// are named by those, as in the distribution of the site.
func (m *Manager) Generate(ctx context.Context, versions ...Version) error {
	template, err := m.writeTemplate("all", versions)
	if err != nil {
		return err
	}
	built, err := tools.Build(ctx, "operator-sdk")
	if err != nil {
		return err
	}
	root, err := tools.Root()
	if err != nil {
		return err
	}
	pins, err := pins(m.site.Shipped, m.site.Distribution)
	if err != nil {
		return err
	}
	for _, v := range versions {
		m.sayf("bundle of version %s", v.Number)
		cmd := exec.CommandContext(ctx, "go", "run", "./config/manifests/gen", "--operator-sdk", built["operator-sdk"],
			"--template", template, "--version", v.Number, "--image", v.Image, "--out", m.bundle(v))
		cmd.Dir = root
		if output, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("generating the bundle of %q: %w: %s", v.Number, err, output)
		}
		if err := repin(filepath.Join(m.bundle(v), "manifests", Package+".clusterserviceversion.yaml"), pins); err != nil {
			return err
		}
	}
	return nil
}

// bundle is the folder of a version's bundle.
func (m *Manager) bundle(v Version) string { return m.file("bundles", v.Number, "bundle") }

// writeTemplate writes the template of a catalog with the given versions.
func (m *Manager) writeTemplate(name string, versions []Version) (string, error) {
	entries := make([]entry, 0, len(versions))
	for _, v := range versions {
		entries = append(entries, v.entry())
	}
	blocks := []any{
		map[string]any{"schema": "olm.package", "name": Package, "defaultChannel": Channel},
		map[string]any{"schema": "olm.channel", "package": Package, "name": Channel, "entries": entries},
	}
	for _, v := range versions {
		blocks = append(blocks, map[string]any{"schema": "olm.bundle", "image": v.bundleImage()})
	}
	content, err := yaml.Marshal(map[string]any{"schema": "olm.template.basic", "entries": blocks})
	if err != nil {
		return "", fmt.Errorf("writing the template of a catalog: %w", err)
	}
	path := m.file("templates", name+".yaml")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", fmt.Errorf("writing the template of a catalog: %w", err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		return "", fmt.Errorf("writing the template of a catalog: %w", err)
	}
	return path, nil
}

// PushBundle publishes the image of a version's bundle.
func (m *Manager) PushBundle(ctx context.Context, v Version) error {
	made, err := bundle.Image(m.bundle(v))
	if err != nil {
		return err
	}
	_, err = image.Push(ctx, made, m.site.Cluster.Servers.Registry+"/"+bundleRepository+":v"+v.Number)
	return err
}

// PushCatalog publishes the image of a catalog with the given versions and returns its reference.
func (m *Manager) PushCatalog(ctx context.Context, tag string, versions ...Version) (string, error) {
	template, err := m.writeTemplate(tag, versions)
	if err != nil {
		return "", err
	}
	renderer := bundle.Renderer{OPM: m.opm, Bundles: map[string]string{}}
	for _, v := range versions {
		renderer.Bundles[v.bundleImage()] = m.bundle(v)
	}
	rendered, err := renderer.Render(ctx, template)
	if err != nil {
		return "", err
	}
	dir, err := m.folder("catalogs", tag)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Join(dir, Package), 0o755); err != nil {
		return "", fmt.Errorf("writing the catalog %q: %w", tag, err)
	}
	if err := os.WriteFile(filepath.Join(dir, Package, "catalog.yaml"), rendered, 0o644); err != nil {
		return "", fmt.Errorf("writing the catalog %q: %w", tag, err)
	}
	opts := options("/configs", os.DirFS(dir))
	opts.Files[programs] = m.probe
	img := testbed.Image{
		Repository: "flux-autopilot/flux-operator-catalog", Tag: tag, Tool: "opm", Entrypoint: programs + "/opm", Args: []string{"serve", "/configs"}, Options: opts,
	}
	m.sayf("image %s:%s", img.Repository, tag)
	digest, err := m.site.Cluster.PushImage(ctx, img)
	return publishedHost + "/" + img.Repository + "@" + digest, err
}

// pins are the digests that the distribution of a site has in place of those of the released one.
func pins(shipped, site string) (*strings.Replacer, error) {
	files, err := filepath.Glob(filepath.Join(shipped, "flux-images", "*", "*.yaml"))
	if err != nil {
		return nil, fmt.Errorf("listing the images of the distribution: %w", err)
	}
	var pairs []string
	for _, file := range files {
		before, err := digests(file)
		if err != nil {
			return nil, err
		}
		after, err := digests(filepath.Join(site, strings.TrimPrefix(file, shipped)))
		if err != nil {
			return nil, err
		}
		for name, digest := range before {
			pairs = append(pairs, digest, after[name])
		}
	}
	return strings.NewReplacer(pairs...), nil
}

// digests are those of the images that a file of the distribution pins, by name.
func digests(file string) (map[string]string, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading the images of the distribution: %w", err)
	}
	var list struct {
		Images []struct {
			Name   string `json:"name"`
			Digest string `json:"digest"`
		} `json:"images"`
	}
	if err := yaml.Unmarshal(content, &list); err != nil {
		return nil, fmt.Errorf("parsing the images of %q: %w", file, err)
	}
	found := map[string]string{}
	for _, image := range list.Images {
		if image.Digest != "" {
			found[image.Name] = image.Digest
		}
	}
	return found, nil
}

// repin replaces digests in a file.
func repin(path string, pins *strings.Replacer) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("pinning the images of a bundle: %w", err)
	}
	if err := os.WriteFile(path, []byte(pins.Replace(string(content))), 0o644); err != nil {
		return fmt.Errorf("pinning the images of a bundle: %w", err)
	}
	return nil
}
