package conformance

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// required are the releases that must have been generated; others are compared when both sides have them.
var required = []string{"v2.8.8", "v2.9.4"}

// allowed lists every difference between what was released and what this project generates. An entry that matches
// nothing fails the test, so that the list does not outlive its reasons.
var allowed = []difference{
	{
		path:   "metadata.annotations.controller-gen.kubebuilder.io/version",
		kind:   "CustomResourceDefinition",
		reason: "names the tool, not the API: with it the manifests of a release would change with the tool",
	},
}

// difference describes one accepted kind of difference.
type difference struct {
	// kind is the kind of the objects that may differ.
	kind string
	// path is the field that may differ.
	path string
	// reason says why the difference is right.
	reason string
}

func (d difference) covers(f finding) bool {
	return d.kind == f.object.kind && d.path == f.path
}

// directories returns the released and the generated distribution.
func directories(t *testing.T) (released, generated string) {
	t.Helper()
	released = os.Getenv("FLUX_RELEASES_DIR")
	if released == "" {
		t.Skip("FLUX_RELEASES_DIR is not set: there are no released manifests to compare with")
	}
	generated = os.Getenv("DISTRIBUTION_DIR")
	if generated == "" {
		generated = filepath.Join("..", "..", "dist", "distribution")
	}
	for _, folder := range []string{filepath.Join(released, "flux"), filepath.Join(generated, "flux")} {
		if _, err := os.Stat(folder); err != nil {
			t.Fatalf("looking for manifests (FLUX_RELEASES_DIR, DISTRIBUTION_DIR; make distribution generates the latter): %v", err)
		}
	}
	return released, generated
}

// releases returns the releases that both sides have.
func releases(t *testing.T, released, generated string) []string {
	t.Helper()
	theirs := folders(t, filepath.Join(released, "flux"))
	ours := folders(t, filepath.Join(generated, "flux"))
	both := slices.DeleteFunc(slices.Clone(theirs), func(name string) bool { return !slices.Contains(ours, name) })
	for _, name := range required {
		if !slices.Contains(both, name) {
			t.Errorf("release %s is missing: released are %v, generated are %v", name, theirs, ours)
		}
	}
	return both
}

func folders(t *testing.T, root string) []string {
	t.Helper()
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatalf("listing releases: %v", err)
	}
	var names []string
	for _, entry := range entries {
		if entry.IsDir() {
			names = append(names, entry.Name())
		}
	}
	return names
}

func TestManifestsEqualReleasedOnes(t *testing.T) {
	released, generated := directories(t)
	used := make([]bool, len(allowed))
	for _, release := range releases(t, released, generated) {
		t.Run(release, func(t *testing.T) {
			want := readFolder(t, filepath.Join(released, "flux", release))
			got := readFolder(t, filepath.Join(generated, "flux", release))
			findings := compareFolders(want, got)
			findings = slices.DeleteFunc(findings, func(f finding) bool {
				i := slices.IndexFunc(allowed, func(d difference) bool { return d.covers(f) })
				if i >= 0 {
					used[i] = true
				}
				return i >= 0
			})
			for _, f := range findings {
				t.Error(f)
			}
			t.Logf("%d objects compared", len(want.objects))
		})
	}
	for i, d := range allowed {
		if !used[i] {
			t.Errorf("no %s differs in %s any more: remove the entry", d.kind, d.path)
		}
	}
}

func TestObjectsComeInTheReleasedOrder(t *testing.T) {
	released, generated := directories(t)
	for _, release := range releases(t, released, generated) {
		want := readFolder(t, filepath.Join(released, "flux", release)).order
		got := readFolder(t, filepath.Join(generated, "flux", release)).order
		if !slices.Equal(want, got) {
			t.Errorf("order of objects in %s:\nreleased:  %v\ngenerated: %v", release, want, got)
		}
	}
}

func TestImagesEqualReleasedOnes(t *testing.T) {
	released, generated := directories(t)
	for _, release := range releases(t, released, generated) {
		t.Run(release, func(t *testing.T) {
			want := readFolder(t, filepath.Join(released, "flux-images", release))
			got := readFolder(t, filepath.Join(generated, "flux-images", release))
			for _, f := range compareFolders(want, got) {
				t.Error(f)
			}
		})
	}
}

func TestVersionFileNamesTheNewestRelease(t *testing.T) {
	released, generated := directories(t)
	want, err := os.ReadFile(filepath.Join(released, "flux-images", "VERSION"))
	if err != nil {
		t.Fatalf("reading the released version: %v", err)
	}
	got, err := os.ReadFile(filepath.Join(generated, "flux-images", "VERSION"))
	if err != nil {
		t.Fatalf("reading the generated version: %v", err)
	}
	if string(want) != string(got) {
		t.Errorf("flux-images/VERSION: released %q, generated %q", want, got)
	}
}

// readFolder reads all YAML files of a folder.
func readFolder(t *testing.T, folder string) tree {
	t.Helper()
	read := tree{objects: map[id]any{}}
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		if filepath.Ext(path) != ".yaml" {
			return errors.New("not a YAML file: " + path)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return read.add(strings.TrimSuffix(filepath.Base(path), ".yaml"), content)
	})
	if err != nil {
		t.Fatalf("reading %q: %v", folder, err)
	}
	return read
}

func TestCompareFindsEveryKindOfDifference(t *testing.T) {
	const base = "apiVersion: v1\nkind: Thing\nmetadata:\n  name: a\nspec:\n  list: [1, 2]\n  text: x\n"
	tests := map[string]struct{ got, want string }{
		"equal":   {base, ""},
		"changed": {strings.ReplaceAll(base, "text: x", "text: y"), "spec.text"},
		"absent":  {strings.ReplaceAll(base, "  text: x\n", ""), "spec.text"},
		"added":   {base + "  more: 1\n", "spec.more"},
		"element": {strings.ReplaceAll(base, "[1, 2]", "[1, 3]"), "spec.list[1]"},
		"shorter": {strings.ReplaceAll(base, "[1, 2]", "[1]"), "spec.list"},
		"map":     {base + "  map: {a: {b: 1}}\n", "spec.map.a.b"},
		"empty":   {base + "  map: {}\n", "spec.map"},
		"object":  {strings.ReplaceAll(base, "name: a", "name: b"), "*"},
	}
	for name, test := range tests {
		want, got := tree{objects: map[id]any{}}, tree{objects: map[id]any{}}
		if err := errors.Join(want.add("file", []byte(base)), got.add("file", []byte(test.got))); err != nil {
			t.Fatal(err)
		}
		var paths []string
		for _, f := range compareFolders(want, got) {
			paths = append(paths, f.path)
		}
		slices.SortFunc(paths, cmp.Compare)
		if found := fmt.Sprint(slices.Compact(paths)); found != fmt.Sprintf("[%s]", test.want) {
			t.Errorf("%s: found %s, want %q", name, found, test.want)
		}
	}
}
