// Package licenses collects the licence texts of all modules that are linked into a program, which travel with it.
package licenses

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
)

// texts are the names of files with a licence, or with what a licence asks to be handed on.
var texts = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|copyright|patents)([.-].*)?$`)

// standard is the folder of the texts of Go itself.
const standard = "go"

// Options say which program is meant and where the texts go.
type Options struct {
	// Dir is the folder of the module that the program belongs to.
	Dir string
	// Package is its main package, as go build takes it.
	Package string
	// Arch is the architecture it is built for; modules differ.
	Arch string
	// Out is the folder to write: the texts of each module below its path.
	Out string
}

// Collect writes the licence texts of all modules that are linked into a program, those of Go among them. A module without any is an error, for nobody
// may hand it on.
func Collect(ctx context.Context, o Options) error {
	modules, err := linked(ctx, o)
	if err != nil {
		return err
	}
	for _, module := range slices.Sorted(maps.Keys(modules)) {
		found, err := copyTexts(modules[module], filepath.Join(o.Out, filepath.FromSlash(module)))
		if err != nil {
			return fmt.Errorf("collecting the licence of %q: %w", module, err)
		}
		if found == 0 {
			return fmt.Errorf("collecting the licence of %q: %q has none", module, modules[module])
		}
	}
	return nil
}

// linked returns the folders of the modules whose packages are linked, by their path, without the program's own.
func linked(ctx context.Context, o Options) (map[string]string, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-deps", "-json=Standard,Module", o.Package)
	cmd.Dir = o.Dir
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+o.Arch, "CGO_ENABLED=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	listed, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("listing the modules of %q: %w: %s", o.Package, err, bytes.TrimSpace(stderr.Bytes()))
	}
	root, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("asking go where it is: %w", err)
	}
	modules := map[string]string{standard: string(bytes.TrimSpace(root))}
	for decoder := json.NewDecoder(bytes.NewReader(listed)); ; {
		var pkg struct {
			Module *struct {
				Path string `json:"path"`
				Dir  string `json:"dir"`
				Main bool   `json:"main"`
			} `json:"module"` // the names are matched whatever their case
		}
		if err := decoder.Decode(&pkg); errors.Is(err, io.EOF) {
			return modules, nil
		} else if err != nil {
			return nil, fmt.Errorf("reading the modules of %q: %w", o.Package, err)
		}
		if pkg.Module != nil && !pkg.Module.Main {
			modules[pkg.Module.Path] = pkg.Module.Dir
		}
	}
}

// copyTexts copies the texts in a folder and returns how many there are.
func copyTexts(from, to string) (int, error) {
	entries, err := os.ReadDir(from)
	if err != nil {
		return 0, err
	}
	found := 0
	for _, entry := range entries {
		isCode := filepath.Ext(entry.Name()) == ".go"
		if !entry.Type().IsRegular() || isCode || !texts.MatchString(entry.Name()) {
			continue
		}
		content, err := os.ReadFile(filepath.Join(from, entry.Name()))
		if err != nil {
			return found, err
		}
		if err := os.MkdirAll(to, 0o755); err != nil {
			return found, err
		}
		if err := os.WriteFile(filepath.Join(to, entry.Name()), content, 0o644); err != nil {
			return found, err
		}
		found++
	}
	return found, nil
}
