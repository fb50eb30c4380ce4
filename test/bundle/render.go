package bundle

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

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
	text, names := string(source), []string{}
	for name, dir := range r.Bundles {
		if !strings.Contains(text, "image: "+name+"\n") {
			return nil, fmt.Errorf("publishing the bundle %q: the template does not have it", name)
		}
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
