package bundle

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/flux-autopilot/flux-operator/test/testbed/image"
	"github.com/flux-autopilot/flux-operator/test/testbed/registry"
)

// policy lets opm read images from the registry of a run, and from nowhere else.
const policy = `{"default":[{"type":"reject"}],"transports":{"docker":{"%s":[{"type":"insecureAcceptAnything"}]}}}`

// Renderer makes file-based catalogs out of a template and bundles on disk.
type Renderer struct {
	// OPM is the path of opm.
	OPM string
	// Bundles are folders with bundles, by the image reference that the template has for them.
	Bundles map[string]string
	// Released is the folder of the bundles that were published before, each in a folder named after its version, the tag of its image without
	// the v. Before the first release there is none. Optional.
	Released string
}

// Render returns the catalog that a template describes. The bundles are published in a registry that lives as long as the call, and appear in the
// catalog under their own names and by digest.
func (r Renderer) Render(ctx context.Context, template string) ([]byte, error) {
	source, err := os.ReadFile(template)
	if err != nil {
		return nil, fmt.Errorf("reading the template of the catalog: %w", err)
	}
	ctx, stop := context.WithCancel(ctx) // ends the registry
	defer stop()
	server, err := registry.Serve(ctx, registry.Options{})
	if err != nil {
		return nil, err
	}
	return r.render(ctx, source, server.Addr)
}

func (r Renderer) render(ctx context.Context, source []byte, addr string) ([]byte, error) {
	folders, err := r.folders(source)
	if err != nil {
		return nil, err
	}
	text, names := string(source), []string{}
	for name, dir := range folders {
		local, pinned, err := publish(ctx, name, dir, addr)
		if err != nil {
			return nil, err
		}
		text = strings.ReplaceAll(text, "image: "+name+"\n", "image: "+local+"\n")
		names = append(names, local, pinned)
	}
	rendered, err := r.run(ctx, text, addr)
	if err != nil {
		return nil, err
	}
	return []byte(strings.NewReplacer(names...).Replace(string(rendered))), nil
}

// folders returns the folder of each bundle that the template names. opm reads nothing but the registry of the run: what is in none of them cannot
// be in the catalog.
func (r Renderer) folders(template []byte) (map[string]string, error) {
	var parsed struct {
		Entries []struct {
			Schema string `json:"schema"`
			Image  string `json:"image"`
		} `json:"entries"`
	}
	if err := yaml.Unmarshal(template, &parsed); err != nil {
		return nil, fmt.Errorf("reading the template of the catalog: %w", err)
	}
	released, err := r.released()
	if err != nil {
		return nil, err
	}
	folders, given := map[string]string{}, maps.Clone(r.Bundles)
	for _, entry := range parsed.Entries {
		if entry.Schema != "olm.bundle" {
			continue
		}
		version := versionIn(entry.Image)
		before, isReleased := released[version]
		dir, isGiven := given[entry.Image]
		switch {
		case isReleased && isGiven:
			return nil, fmt.Errorf("publishing the bundle %q: %q is released and cannot be made anew; begin the next version", entry.Image, before)
		case !isReleased && !isGiven:
			return nil, fmt.Errorf("publishing the bundle %q: the template names it and nobody has it; keep the bundle that was released in %q",
				entry.Image, filepath.Join(cmp.Or(r.Released, "the folder of released bundles"), version))
		}
		folders[entry.Image] = cmp.Or(before, dir)
		delete(released, version)
		delete(given, entry.Image)
	}
	if left := slices.Sorted(maps.Keys(given)); len(left) > 0 {
		return nil, fmt.Errorf("publishing the bundle %q: the template does not have it", left[0])
	}
	if left := slices.Sorted(maps.Keys(released)); len(left) > 0 {
		return nil, fmt.Errorf("publishing the bundle in %q: the template does not have the version %q", released[left[0]], left[0])
	}
	return folders, nil
}

// released are the folders of the bundles that were published before, by version.
func (r Renderer) released() (map[string]string, error) {
	if r.Released == "" {
		return map[string]string{}, nil
	}
	entries, err := os.ReadDir(r.Released)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading the bundles that were released: %w", err)
	}
	found := map[string]string{}
	for _, entry := range entries {
		found[entry.Name()] = filepath.Join(r.Released, entry.Name())
	}
	return found, nil
}

// versionIn reads the version in the tag of a bundle's image.
func versionIn(image string) string {
	_, tag, _ := strings.Cut(image[strings.LastIndex(image, "/")+1:], ":")
	return strings.TrimPrefix(tag, "v")
}

// publish puts a bundle into the registry of the run and returns its reference there, and the one by digest under its own name.
func publish(ctx context.Context, name, dir, addr string) (local, pinned string, err error) {
	made, err := Image(dir)
	if err != nil {
		return "", "", err
	}
	host, rest, found := strings.Cut(name, "/")
	repository, tag, tagged := strings.Cut(rest, ":")
	if !found || !tagged || strings.Contains(tag, "@") {
		return "", "", fmt.Errorf("publishing the bundle %q: its name is not host/path:tag", name)
	}
	local = addr + "/" + rest
	digest, err := image.Push(ctx, made, local)
	if err != nil {
		return "", "", err
	}
	return local, host + "/" + repository + "@" + digest, nil
}

// run renders the template in a home of its own, where opm finds its policy and leaves its cache.
func (r Renderer) run(ctx context.Context, template, addr string) ([]byte, error) {
	home, err := os.MkdirTemp("", "opm-*")
	if err != nil {
		return nil, fmt.Errorf("making a home for opm: %w", err)
	}
	defer os.RemoveAll(home)
	if err := os.MkdirAll(filepath.Join(home, ".config", "containers"), 0o755); err != nil {
		return nil, fmt.Errorf("making a home for opm: %w", err)
	}
	if err := os.WriteFile(filepath.Join(home, ".config", "containers", "policy.json"), fmt.Appendf(nil, policy, addr), 0o644); err != nil {
		return nil, fmt.Errorf("writing the policy of opm: %w", err)
	}
	cmd := exec.CommandContext(ctx, r.OPM, "alpha", "render-template", "basic", "--use-http", "--migrate-level=bundle-object-to-csv-metadata", "--output=yaml", "-")
	cmd.Env = append(os.Environ(), "HOME="+home)
	cmd.Stdin = strings.NewReader(template)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	rendered, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("rendering the template of the catalog: %w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	return rendered, nil
}

// ValidateCatalog runs opm's own validation on the catalog in a folder.
func ValidateCatalog(ctx context.Context, opm, dir string) error {
	if output, err := exec.CommandContext(ctx, opm, "validate", dir).CombinedOutput(); err != nil {
		return fmt.Errorf("validating the catalog %q: %w: %s", dir, err, bytes.TrimSpace(output))
	}
	return nil
}
