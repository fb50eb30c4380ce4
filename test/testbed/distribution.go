package testbed

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"
)

// digestFiles are the files of a distribution that pin the images which the testbed builds itself.
const digestFiles = "flux-images/*/upstream-alpine.yaml"

// imageList is the content of such a file.
type imageList struct {
	Images []imagePin `json:"images"`
}

type imagePin struct {
	Name   string `json:"name"`
	NewTag string `json:"newTag"`
	Digest string `json:"digest"`
}

// TestDistribution copies a distribution to the folder dst, which must be absent or empty, and pins the images that were pushed to the
// digests they were pushed with. Digests are by reference without the registry, as [Cluster.Digests] returns them; an image that is
// not among them keeps the digest of its release. It fails when no image of the distribution was pushed.
func TestDistribution(src fs.FS, dst string, digests map[string]string) error {
	if err := os.MkdirAll(dst, 0o755); err != nil {
		return fmt.Errorf("making the test distribution: %w", err)
	}
	files, err := fs.Glob(src, digestFiles)
	if err != nil {
		return fmt.Errorf("making the test distribution: %w", err)
	}
	pinned := map[string][]byte{}
	total := 0
	for _, file := range files {
		data, err := fs.ReadFile(src, file)
		if err != nil {
			return fmt.Errorf("making the test distribution: %w", err)
		}
		changed, count, err := repin(data, digests)
		if err != nil {
			return fmt.Errorf("pinning the images of %q: %w", file, err)
		}
		pinned[file] = changed
		total += count
	}
	if total == 0 {
		return fmt.Errorf("making the test distribution: none of its images was pushed (%d files, %d digests)", len(files), len(digests))
	}
	if err := os.CopyFS(dst, without{FS: src, files: pinned}); err != nil {
		return fmt.Errorf("making the test distribution: %w", err)
	}
	for file, data := range pinned {
		if err := os.WriteFile(filepath.Join(dst, filepath.FromSlash(file)), data, 0o644); err != nil {
			return fmt.Errorf("making the test distribution: %w", err)
		}
	}
	return nil
}

// repin replaces the digests that are known and says how many.
func repin(data []byte, digests map[string]string) ([]byte, int, error) {
	var list imageList
	if err := yaml.UnmarshalStrict(data, &list); err != nil {
		return nil, 0, err
	}
	count := 0
	for i, pin := range list.Images {
		if digest, ok := digests[withoutRegistry(pin.Name)+":"+pin.NewTag]; ok {
			list.Images[i].Digest = digest
			count++
		}
	}
	out, err := yaml.Marshal(list)
	return out, count, err
}

// withoutRegistry cuts the registry off an image's name: the first part, when it looks like a host.
func withoutRegistry(name string) string {
	first, rest, found := strings.Cut(name, "/")
	if found && (strings.ContainsAny(first, ".:") || first == "localhost") {
		return rest
	}
	return name
}

// without hides files from a listing, so that they are not copied before they are written anew.
type without struct {
	fs.FS

	files map[string][]byte
}

// ReadDir lists a folder without the hidden files.
func (w without) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(w.FS, name)
	var shown []fs.DirEntry
	for _, entry := range entries {
		if _, hidden := w.files[path.Join(name, entry.Name())]; !hidden {
			shown = append(shown, entry)
		}
	}
	return shown, err
}
