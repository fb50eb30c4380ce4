package testbed

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/flux-autopilot/flux-operator/test/testbed/image"
	"github.com/flux-autopilot/flux-operator/tools"
)

// caBundle is where Debian keeps the certificates that a controller trusts; an image works without.
const caBundle = "/etc/ssl/certs/ca-certificates.crt"

// Image says what an image is made of and what it is called.
type Image struct {
	// Repository is the path in the registry, for example "fluxcd/source-controller".
	Repository string
	// Tag is the version, for example "v1.9.4".
	Tag string
	// Tool is the program as [tools.Build] knows it; exactly one of Tool and Package is set.
	Tool string
	// Package is the program as a package of this project, for example "./test/testbed/cmd/pause".
	Package string
	// LinkFlags are given to the linker, for a program that comes from Package.
	LinkFlags []string
	// Entrypoint is the program's path in the image; empty means /usr/local/bin/ and its name.
	Entrypoint string
	// Args are passed to it when the container gives none.
	Args []string
	// Options say what surrounds the program.
	Options image.Options
}

// name is the reference without the registry.
func (i Image) name() string { return i.Repository + ":" + i.Tag }

func pauseImage() Image {
	return Image{Repository: "testbed/pause", Tag: "1", Package: "./test/testbed/cmd/pause"}
}

func corednsImage() Image {
	return Image{Repository: "testbed/coredns", Tag: "v1.15.0", Tool: "coredns"}
}

// Images are the images that [Cluster.Push] knows by name. A controller has its release's own repository and tag.
func Images() map[string]Image {
	all := map[string]Image{"pause": pauseImage(), "coredns": corednsImage()}
	for _, version := range []string{"1.0.0", "2.0.0"} {
		all["sampleapp@"+version] = Image{
			Repository: "testbed/sampleapp", Tag: version, Package: "./test/testbed/cmd/sampleapp",
			LinkFlags: []string{"-X", "main.version=" + version},
		}
	}
	for _, tool := range tools.Names() {
		controller, _, _ := strings.Cut(tool, "@")
		if !strings.HasSuffix(controller, "-controller") {
			continue
		}
		all[tool] = Image{Repository: "fluxcd/" + controller, Tool: tool, Options: controllerOptions()}
	}
	const watcher = "source-watcher"
	all[watcher+"@2.2.2"] = Image{Repository: "fluxcd/" + watcher, Tool: watcher, Options: controllerOptions()}
	// There is no program of 2.2.3, so the one of 2.2.2 stands in for it.
	all[watcher] = Image{Repository: "fluxcd/" + watcher, Tag: "v2.2.3", Tool: watcher, Options: controllerOptions()}
	return all
}

// controllerOptions are what the released images of Flux controllers have around the program.
func controllerOptions() image.Options {
	opts := image.Options{
		User: "65534:65534", Env: []string{"GNUPGHOME=/tmp"},
		Dirs: map[string]fs.FileMode{"/tmp": 0o777 | fs.ModeSticky, "/data": 0o777},
	}
	if _, err := os.Stat(caBundle); err == nil {
		opts.CABundle = caBundle
	}
	return opts
}

// FluxImages are the names of the images of the Flux controllers that have binaries, by Flux version.
func FluxImages() map[string][]string {
	return map[string][]string{
		"2.9.4": {"source-controller", "kustomize-controller", "helm-controller", "notification-controller", "source-watcher"},
		"2.9.2": {"source-controller@1.9.3", "kustomize-controller@1.9.3", "helm-controller@1.6.2", "notification-controller@1.9.2", "source-watcher@2.2.2"},
	}
}

// Push builds the named images and pushes them to the cluster's registry, those excepted that are there already and have
// not changed. It returns their digests by reference without the registry, for example "fluxcd/source-controller:v1.9.4".
func (c *Cluster) Push(ctx context.Context, names ...string) (map[string]string, error) {
	known := Images()
	digests := map[string]string{}
	for i, short := range names {
		img, ok := known[short]
		if !ok {
			return nil, fmt.Errorf("pushing image %q: known are %s", short, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
		}
		if img.Tag == "" {
			version, err := tools.Version(img.Tool)
			if err != nil {
				return nil, err
			}
			img.Tag = version
		}
		c.sayf("image %s (%d of %d)", img.name(), i+1, len(names))
		digest, err := c.PushImage(ctx, img)
		if err != nil {
			return nil, err
		}
		digests[img.name()] = digest
	}
	return digests, nil
}

// pushed is what is known of an image in the registry.
type pushed struct {
	// Source identifies the program it was made of.
	Source string `json:"source"`
	Digest string `json:"digest"`
}

// PushImage builds one image, pushes it unless the same is there, and returns its digest.
func (c *Cluster) PushImage(ctx context.Context, img Image) (string, error) {
	binary, err := c.Program(ctx, img)
	if err != nil {
		return "", err
	}
	source, err := fingerprint(binary, img)
	if err != nil {
		return "", err
	}
	known, err := c.pushedImages()
	if err != nil {
		return "", err
	}
	ref := c.Servers.Registry + "/" + img.name()
	// Files of the caller are not part of the fingerprint, so an image with them is made anew.
	if p := known[img.name()]; p.Source == source && len(img.Options.Files) == 0 && present(ctx, ref, p.Digest) {
		return p.Digest, nil
	}
	made, err := image.FromBinary(image.Binary{Path: binary, Entrypoint: img.Entrypoint, Args: img.Args}, img.Options)
	if err != nil {
		return "", err
	}
	digest, err := image.Push(ctx, made, ref)
	if err != nil {
		return "", err
	}
	known[img.name()] = pushed{Source: source, Digest: digest}
	return digest, writeJSON(c.config.file("images.json"), known)
}

// Digests returns the digests of all images that were pushed to the cluster's registry, by reference without the registry.
func (c *Cluster) Digests() (map[string]string, error) {
	known, err := c.pushedImages()
	if err != nil {
		return nil, err
	}
	digests := make(map[string]string, len(known))
	for ref, p := range known {
		digests[ref] = p.Digest
	}
	return digests, nil
}

func (c *Cluster) pushedImages() (map[string]pushed, error) {
	known := map[string]pushed{}
	err := readJSON(c.config.file("images.json"), &known)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return known, nil
}

// present says whether the registry has the image; when in doubt the image is pushed again.
func present(ctx context.Context, ref, digest string) bool {
	parsed, err := name.ParseReference(ref)
	if err != nil {
		return false
	}
	found, err := remote.Head(parsed, remote.WithContext(ctx))
	return err == nil && found.Digest.String() == digest
}

// Program builds the program of an image and returns its path.
func (c *Cluster) Program(ctx context.Context, img Image) (string, error) {
	if img.Tool != "" {
		paths, err := tools.Build(ctx, img.Tool)
		return paths[img.Tool], err
	}
	path := c.config.file("bin", strings.ReplaceAll(img.name(), "/", "-"), filepath.Base(img.Repository))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", fmt.Errorf("building %q: %w", img.Package, err)
	}
	return path, buildPackage(ctx, img.Package, path, img.LinkFlags)
}

// buildPackage compiles a program of this project for a container or a sandbox: static and the same on every machine.
func buildPackage(ctx context.Context, pkg, out string, linkFlags []string) error {
	root, err := tools.Root()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false",
		"-ldflags="+strings.Join(append([]string{"-s", "-w"}, linkFlags...), " "), "-o", out, pkg)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off", "GOTOOLCHAIN=local")
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building %q: %w: %s", pkg, err, strings.TrimSpace(string(output)))
	}
	return nil
}

// fingerprint identifies what an image is made of but for the caller's files.
func fingerprint(binary string, img Image) (string, error) {
	file, err := os.Open(binary)
	if err != nil {
		return "", fmt.Errorf("reading %q: %w", binary, err)
	}
	defer file.Close()
	h := sha256.New()
	if _, err := io.Copy(h, file); err != nil {
		return "", fmt.Errorf("reading %q: %w", binary, err)
	}
	fmt.Fprintf(h, "%v %v %v %v %v %v %v", img.Entrypoint, img.Args, img.Options.User, img.Options.Env, img.Options.Dirs, img.Options.Labels, img.Options.CABundle)
	return hex.EncodeToString(h.Sum(nil)), nil
}
