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

// required are the releases that must be on both sides; others are compared when they happen to be.
var required = []string{"v2.2.3", "v2.3.0", "v2.6.4", "v2.8.8", "v2.9.4"}

// allowed lists every difference between what was released and what this project generates. An entry that matches
// nothing fails the test, so that the list does not outlive its reasons.
var allowed = []difference{
	{
		path:   "metadata.annotations.controller-gen.kubebuilder.io/version",
		kind:   "CustomResourceDefinition",
		reason: "names the tool, not the API: with it the manifests of a release would change with the tool",
	},
	{
		releases:  []string{"v2.2.3", "v2.3.0"},
		path:      "metadata.labels.app.kubernetes.io/part-of",
		kind:      "CustomResourceDefinition",
		generated: "flux",
		reason: "released is the label on the first definition of each file only, as if by accident: whoever looks for what belongs " +
			"to Flux by this label, the operator before anybody else, has to find all of them",
	},
	{
		releases:  []string{"v2.2.3"},
		path:      "spec.template.spec.containers[0].image",
		kind:      "Deployment",
		name:      "source-controller",
		generated: "fluxcd/source-controller:v1.2.4",
		reason: "the flux2 module of 2.2.3 and the image list of upstream-alpine have v1.2.4; v1.2.5 is what the vendor's variants have, " +
			"and their lists say so here, too",
	},
}

// difference describes one accepted kind of difference.
type difference struct {
	// releases are those that may differ, all of them when there are none.
	releases []string
	// kind is the kind of the objects that may differ.
	kind string
	// name is that of the object that may differ, of any of its kind when it is empty.
	name string
	// path is the field that may differ.
	path string
	// generated is the text that this project gives the field, anything when it is empty.
	generated string
	// reason says why the difference is right.
	reason string
}

func (d difference) covers(release string, f finding) bool {
	return (len(d.releases) == 0 || slices.Contains(d.releases, release)) &&
		d.kind == f.object.kind && (d.name == "" || d.name == f.object.name) &&
		d.path == f.path && (d.generated == "" || f.given == any(d.generated))
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
				i := slices.IndexFunc(allowed, func(d difference) bool { return d.covers(release, f) })
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
			t.Errorf("no %s differs in %s any more (releases %v): remove the entry", d.kind, d.path, d.releases)
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

func TestADifferenceCoversNoMoreThanItSays(t *testing.T) {
	base := finding{object: id{"file", "Thing", "a"}, path: "spec.text", released: "x", given: "y"}
	narrow := difference{releases: []string{"v1"}, kind: "Thing", name: "a", path: "spec.text", generated: "y"}
	wide := difference{kind: "Thing", path: "spec.text"}
	tests := map[string]struct {
		release      string
		change       func(*finding)
		narrow, wide bool
	}{
		"the same":        {"v1", func(*finding) {}, true, true},
		"another release": {"v2", func(*finding) {}, false, true},
		"another name":    {"v1", func(f *finding) { f.object.name = "b" }, false, true},
		"another value":   {"v1", func(f *finding) { f.given = nil }, false, true},
		"another kind":    {"v1", func(f *finding) { f.object.kind = "Other" }, false, false},
		"another path":    {"v1", func(f *finding) { f.path = "spec.other" }, false, false},
	}
	for name, test := range tests {
		f := base
		test.change(&f)
		if got := narrow.covers(test.release, f); got != test.narrow {
			t.Errorf("%s: the narrow difference covers it: %v", name, got)
		}
		if got := wide.covers(test.release, f); got != test.wide {
			t.Errorf("%s: the wide difference covers it: %v", name, got)
		}
	}
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
