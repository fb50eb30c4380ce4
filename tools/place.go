package tools

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const projectModule = "github.com/flux-autopilot/flux-operator"

// Root returns the folder of this project's main module, found upwards from the working directory.
// The environment variable FLUX_OPERATOR_SOURCE, when set, names it directly.
func Root() (string, error) {
	if dir := os.Getenv("FLUX_OPERATOR_SOURCE"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("finding the source of this project: %w", err)
	}
	for start := dir; ; {
		mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && moduleOf(mod) == projectModule {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("finding the source of this project: %q is not inside it; run this from the checkout", start)
		}
		dir = parent
	}
}

// moduleOf returns the path in the module line of go.mod content, or nothing.
func moduleOf(mod []byte) string {
	for line := range strings.Lines(string(mod)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "module "); ok {
			return strings.TrimSpace(path)
		}
	}
	return ""
}

// CacheDir returns a folder of this project outside any checkout, ${XDG_CACHE_HOME:-$HOME/.cache}/flux-operator/<parts>, and makes it.
func CacheDir(parts ...string) (string, error) {
	base := os.Getenv("XDG_CACHE_HOME")
	if base == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("finding the cache folder: %w", err)
		}
		base = filepath.Join(home, ".cache")
	}
	dir := filepath.Join(append([]string{base, "flux-operator"}, parts...)...)
	if !filepath.IsAbs(dir) {
		return "", errors.New("finding the cache folder: XDG_CACHE_HOME is not an absolute path")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("making the cache folder: %w", err)
	}
	return dir, nil
}

// ModuleDir returns the folder in the module cache that holds the source of a module at the version a family pins,
// downloading it when it is not there.
func ModuleDir(ctx context.Context, family, module string) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(root, "tools", family)
	if out, err := goCommand(ctx, dir, "mod", "download", module).CombinedOutput(); err != nil {
		return "", fmt.Errorf("downloading module %q of family %q: %w: %s", module, family, err, tail(string(out), 500))
	}
	out, err := goCommand(ctx, dir, "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		return "", fmt.Errorf("finding module %q of family %q: %w", module, family, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// Version returns the version that is pinned for the named tool, for example "v1.36.3" for "kubelet".
func Version(name string) (string, error) {
	bin, err := find(name)
	if err != nil {
		return "", err
	}
	root, err := Root()
	if err != nil {
		return "", err
	}
	mod, err := os.ReadFile(filepath.Join(root, "tools", bin.family, "go.mod"))
	if err != nil {
		return "", fmt.Errorf("reading the version of tool %q: %w", name, err)
	}
	return required(mod, bin.module)
}
