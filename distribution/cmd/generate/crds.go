package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"

	"github.com/flux-autopilot/flux-operator/distribution"
)

// crdSource generates the CRDs of releases, or takes them from its cache.
type crdSource struct {
	modules    string
	cache      string
	generators []string
	// toolchain is the version of Go, which reads the API modules.
	toolchain string
	messages  io.Writer
}

func newCRDSource(ctx context.Context, c config, messages io.Writer) (crdSource, error) {
	toolchain, err := exec.CommandContext(ctx, "go", "env", "GOVERSION").Output()
	if err != nil {
		return crdSource{}, fmt.Errorf("asking for the version of Go: %w", err)
	}
	return crdSource{
		modules: c.modules, cache: c.cache, generators: c.generators,
		toolchain: string(bytes.TrimSpace(toolchain)), messages: messages,
	}, nil
}

// crds returns the CRDs of every component of the release.
func (s crdSource) crds(ctx context.Context, release distribution.Release) (distribution.CRDs, error) {
	entry, err := s.entry(release)
	if err != nil {
		return nil, err
	}
	if isDir(entry) {
		s.sayf(release, "CRDs from the cache")
		return read(entry, release)
	}
	generator, err := findGenerator(s.generators, release.ControllerGen)
	if err != nil {
		return nil, err
	}
	if err := s.fill(ctx, release, generator, entry); err != nil {
		return nil, err
	}
	return read(entry, release)
}

// missingGenerators returns the tools, by their names in package tools, that have to write CRDs which the cache lacks.
func (s crdSource) missingGenerators(releases []distribution.Release) ([]string, error) {
	var missing []string
	for _, release := range releases {
		entry, err := s.entry(release)
		if err != nil {
			return nil, err
		}
		if name := toolName(release.ControllerGen); !isDir(entry) && !slices.Contains(missing, name) {
			missing = append(missing, name)
		}
	}
	return missing, nil
}

// toolName returns the name by which package tools knows a version of controller-gen.
func toolName(version string) string {
	if version == distribution.DefaultControllerGen {
		return "controller-gen"
	}
	parsed := semver.MustParse(version)
	return fmt.Sprintf("controller-gen@%d.%d", parsed.Major(), parsed.Minor())
}

func (s crdSource) module(release distribution.Release) string {
	return filepath.Join(s.modules, "flux-apis-"+release.Version)
}

func (s crdSource) sayf(release distribution.Release, format string, args ...any) {
	fmt.Fprintf(s.messages, "flux %s: %s\n", release.Version, fmt.Sprintf(format, args...))
}

// fill generates the CRDs next to the cache entry and moves them there at the end, so that an entry is whole or absent.
func (s crdSource) fill(ctx context.Context, release distribution.Release, generator, entry string) error {
	module := s.module(release)
	if err := os.MkdirAll(s.cache, 0o755); err != nil {
		return err
	}
	staging, err := os.MkdirTemp(s.cache, ".new-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(staging)

	s.sayf(release, "fetching API modules")
	if err := command(ctx, module, "go", "list", "-deps", "./..."); err != nil {
		return err
	}
	for i, component := range release.Components {
		s.sayf(release, "generating CRDs of %s (%d/%d)", component.Name, i+1, len(release.Components))
		output, err := os.MkdirTemp(staging, ".crds-*")
		if err != nil {
			return err
		}
		err = command(ctx, module, generator, "crd", "paths="+component.APIModule()+"/...", "output:crd:dir="+output)
		if err != nil {
			return err
		}
		if err := concatenate(output, filepath.Join(staging, component.Name+".yaml")); err != nil {
			return err
		}
		if err := os.RemoveAll(output); err != nil {
			return err
		}
	}
	// Another run may have been faster with the same entry.
	if err := os.Rename(staging, entry); err != nil && !isDir(entry) {
		return err
	}
	return nil
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// concatenate joins the documents of a folder, in the order of their file names.
func concatenate(folder, target string) error {
	paths, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil {
		return err
	}
	var all bytes.Buffer
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		all.WriteString("---\n")
		all.Write(content)
	}
	return os.WriteFile(target, all.Bytes(), 0o644)
}

func read(folder string, release distribution.Release) (distribution.CRDs, error) {
	crds := distribution.CRDs{}
	for _, component := range release.Components {
		path := filepath.Join(folder, component.Name+".yaml")
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		if crds[component.Name], err = distribution.ReadCRDs(content); err != nil {
			return nil, fmt.Errorf("reading %q: %w", path, err)
		}
	}
	return crds, nil
}

// entry returns the folder in the cache that holds the CRDs of the release or will hold them. Its name covers everything
// that they depend on.
func (s crdSource) entry(release distribution.Release) (string, error) {
	hash := sha256.New()
	fmt.Fprintf(hash, "%s %s\n", s.toolchain, release.ControllerGen)
	for _, component := range release.Components {
		fmt.Fprintln(hash, component.Name, component.APIModule())
	}
	for _, name := range []string{"go.mod", "go.sum"} {
		content, err := os.ReadFile(filepath.Join(s.module(release), name))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(hash, "%s %d\n", name, len(content))
		hash.Write(content)
	}
	return filepath.Join(s.cache, hex.EncodeToString(hash.Sum(nil))[:32]), nil
}

// findGenerator returns the absolute path of the binary that was built from the wanted version of controller-gen.
func findGenerator(paths []string, version string) (string, error) {
	var found []string
	for _, path := range paths {
		path, err := exec.LookPath(path)
		if err != nil {
			return "", fmt.Errorf("finding controller-gen: %w", err)
		}
		info, err := buildinfo.ReadFile(path)
		if err != nil {
			return "", fmt.Errorf("reading the version of %q: %w", path, err)
		}
		if info.Main.Path == "sigs.k8s.io/controller-tools" && info.Main.Version == version {
			return filepath.Abs(path)
		}
		found = append(found, path+" ("+info.Main.Path+" "+info.Main.Version+")")
	}
	return "", fmt.Errorf("finding controller-gen %s: there is only %s", version, strings.Join(found, ", "))
}

// command runs a program in a folder; what it printed is part of the error.
func command(ctx context.Context, folder, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = folder
	// The checked-in go.mod decides, whatever the caller's settings are.
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=readonly", "GOWORK=off")
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("running %s %s: %w\n%s", filepath.Base(name), strings.Join(args, " "), err, bytes.TrimSpace(output))
	}
	return nil
}
