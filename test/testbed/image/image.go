// Package image makes reproducible OCI images from one static binary, without a container engine and without a base image.
package image

import (
	"compress/gzip"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	// DefaultUser is a user without rights anywhere, written as numbers so that a kubelet can check runAsNonRoot.
	DefaultUser = "65532:65532"

	binaries    = "/usr/local/bin"
	defaultPath = "PATH=/usr/local/bin:/usr/bin:/bin"
)

// epoch is the time of everything in an image: a real one would change the digest with every build.
var epoch = time.Unix(0, 0).UTC()

// Binary is the program of an image.
type Binary struct {
	// Path is the file on disk: a statically linked ELF executable.
	Path string
	// Entrypoint is its absolute path in the image; empty means /usr/local/bin/ and the base name of Path.
	Entrypoint string
	// Args are passed to it when the container gives none.
	Args []string
}

// Options says what surrounds the binary.
type Options struct {
	// CABundle is a PEM file on disk that becomes the system's trusted certificates; empty means none.
	CABundle string
	// Files maps absolute folders of the image to what they hold. Files are owned by root with mode 0644, or 0755 when
	// anybody may execute them, whatever their mode on disk. Symbolic links and special files are errors.
	Files map[string]fs.FS
	// Dirs are further empty folders and their modes, for mount points and writable places; owned by root.
	Dirs map[string]fs.FileMode
	// User is the user, or user:group, of the process; empty means DefaultUser.
	User string
	// Env is a list of NAME=value; a PATH is added when there is none.
	Env []string
	// Labels become labels of the image.
	Labels map[string]string
	// Platform is checked against the binary; the zero value takes that of the binary.
	Platform v1.Platform
	// CompressionLevel is that of gzip, 1 to 9; zero means 1, the fastest.
	CompressionLevel int
}

// FromBinary makes an image FROM scratch in up to three layers: base (folders, /etc/passwd, certificates), files, binary
// on top. The same input gives the same digest with the same Go release, whose gzip decides the compressed bytes. The
// files are read again when the image is pushed or saved and must not change in between.
func FromBinary(binary Binary, opts Options) (v1.Image, error) {
	img, err := fromBinary(binary, opts)
	if err != nil {
		return nil, fmt.Errorf("making image of %q: %w", binary.Path, err)
	}
	return img, nil
}

func fromBinary(binary Binary, opts Options) (v1.Image, error) {
	if binary.Entrypoint == "" {
		binary.Entrypoint = path.Join(binaries, filepath.Base(binary.Path))
	}
	if !path.IsAbs(binary.Entrypoint) || path.Clean(binary.Entrypoint) != binary.Entrypoint || binary.Entrypoint == "/" {
		return nil, fmt.Errorf("checking entrypoint %q: want a clean absolute path of a file", binary.Entrypoint)
	}
	platform, err := platformOf(binary.Path)
	if err != nil {
		return nil, err
	}
	if wanted := opts.Platform; wanted.OS+wanted.Architecture != "" && !platform.Satisfies(wanted) {
		return nil, fmt.Errorf("checking platform: the binary is for %s, wanted %s", platform, wanted)
	}

	additions, err := layersOf(binary, opts)
	if err != nil {
		return nil, err
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err = mutate.Append(img, additions...)
	if err != nil {
		return nil, fmt.Errorf("adding layers: %w", err)
	}
	return configure(img, platform, v1.Config{
		User:       orDefault(opts.User, DefaultUser),
		Entrypoint: []string{binary.Entrypoint},
		Cmd:        binary.Args,
		Env:        withPath(opts.Env),
		Labels:     opts.Labels,
		WorkingDir: "/",
	})
}

// layersOf puts what changes least at the bottom, so that a new binary is one new layer.
func layersOf(binary Binary, opts Options) ([]mutate.Addendum, error) {
	t := newTree()
	if err := t.addBase(binary, opts); err != nil {
		return nil, err
	}
	base := t.take()
	for _, at := range sortedKeys(opts.Files) {
		if err := t.addFiles(at, opts.Files[at]); err != nil {
			return nil, fmt.Errorf("adding files at %q: %w", at, err)
		}
	}
	files := t.take()
	if err := t.addFile(binary.Entrypoint, 0o755, diskFile(binary.Path)); err != nil {
		return nil, err
	}

	level := opts.CompressionLevel
	if level == 0 {
		level = gzip.BestSpeed
	}
	var additions []mutate.Addendum
	for _, part := range []struct {
		name    string
		entries []entry
	}{{"base", base}, {"files", files}, {"binary", t.take()}} {
		if len(part.entries) == 0 {
			continue
		}
		layer, err := layerOf(part.entries, level)
		if err != nil {
			return nil, fmt.Errorf("writing layer %q: %w", part.name, err)
		}
		additions = append(additions, mutate.Addendum{
			Layer:   layer,
			History: v1.History{Created: v1.Time{Time: epoch}, CreatedBy: "mkimage", Comment: part.name},
		})
	}
	return additions, nil
}

func configure(img v1.Image, platform v1.Platform, config v1.Config) (v1.Image, error) {
	file, err := img.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("reading image configuration: %w", err)
	}
	file = file.DeepCopy()
	file.Created = v1.Time{Time: epoch}
	file.OS, file.Architecture = platform.OS, platform.Architecture
	file.Config = config
	img, err = mutate.ConfigFile(img, file)
	if err != nil {
		return nil, fmt.Errorf("writing image configuration: %w", err)
	}
	return img, nil
}

func orDefault(value, fallback string) string {
	if value == "" {
		return fallback
	}
	return value
}

func withPath(env []string) []string {
	for _, variable := range env {
		if strings.HasPrefix(variable, "PATH=") {
			return env
		}
	}
	return append([]string{defaultPath}, env...)
}
