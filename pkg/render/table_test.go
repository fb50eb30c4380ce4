package render

import (
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write the golden files anew")

const goldenDir = "testdata/settings"

// TestSettings is the golden table: every setting with every release of the distribution, down to the last byte. It also holds every set
// against what is true for all of them.
//
// The objects of the plain row stand in a file for each release, but for the definitions, of which there is a digest. Every other row
// has one file. It begins with the digest of all bytes for each release, which is what fails when anything at all changes, and goes
// on with what tells each object from that of the plain row, once for all releases in which that is the same.
func TestSettings(t *testing.T) {
	tree := generated(t)
	names := releases(t, tree)
	basis := map[string]*Set{}
	wanted := map[string]bool{}
	for _, row := range settings() {
		if wanted[row.name+".txt"] {
			t.Fatalf("there are two rows named %q", row.name)
		}
		wanted[row.name+".txt"] = true
		t.Run(row.name, func(t *testing.T) {
			sets, refusals := row.render(t, tree, names)
			if row.name == plain {
				basis = sets
				for _, release := range names {
					wanted[plain+"-"+release+".yaml"] = true
					compareGolden(t, plain+"-"+release+".yaml", withoutDefinitions(t, sets[release]))
				}
			}
			compareGolden(t, row.name+".txt", row.golden(names, sets, refusals, basis))
		})
	}
	entries, err := os.ReadDir(goldenDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if !wanted[entry.Name()] {
			t.Errorf("%s/%s belongs to no row: remove it", goldenDir, entry.Name())
		}
	}
}

// render renders the row for each release; what is refused has the reason instead of a set.
func (s setting) render(t *testing.T, tree fs.FS, names []string) (sets map[string]*Set, refusals map[string]string) {
	t.Helper()
	sets, refusals = map[string]*Set{}, map[string]string{}
	for _, release := range names {
		i := s.instance(t, tree, release)
		set, err := Render(tree, release, i)
		var field *FieldError
		switch {
		case errors.As(err, &field):
			refusals[release] = err.Error()
		case err != nil:
			t.Fatal(err)
		default:
			sets[release] = set
			checkSet(t, i, set)
			checkImages(t, tree, i, set)
		}
	}
	return sets, refusals
}

// golden is the row's file.
func (s setting) golden(names []string, sets map[string]*Set, refusals map[string]string, basis map[string]*Set) string {
	var file strings.Builder
	fmt.Fprintf(&file, "# %s\n", s.name)
	for line := range strings.Lines(strings.TrimSpace(s.spec)) {
		fmt.Fprintf(&file, "#   %s\n", strings.TrimRight(line, "\n"))
	}
	var effects []string
	of := map[string][]string{}
	for _, release := range names {
		found, digest := []string{"refused: " + refusals[release]}, "refused"
		if set := sets[release]; set != nil {
			found, digest = differences(basis[release], set), set.Revision.Digest
		}
		fmt.Fprintf(&file, "%s %s\n", release, digest)
		for _, effect := range found {
			effect = strings.ReplaceAll(effect, release, "VERSION")
			if of[effect] == nil {
				effects = append(effects, effect)
			}
			of[effect] = append(of[effect], release)
		}
	}
	if len(effects) == 0 {
		fmt.Fprintf(&file, "\nas %s\n", plain)
	}
	for _, effect := range effects {
		where := strings.Join(of[effect], " ")
		if len(of[effect]) == len(names) {
			where = "all"
		}
		fmt.Fprintf(&file, "\n## %s\n%s\n", where, effect)
	}
	return file.String()
}

// differences tells what is in a set and not in the basis, and the other way round, object by object and value by value. An object that
// the basis has not is told apart from the one in the set whose name it prolongs, as the Deployments of shards do.
func differences(basis, set *Set) []string {
	var found []string
	before, after := byRole(basis), byRole(set)
	for _, o := range basis.Objects {
		if after[role(o)] == nil {
			found = append(found, "- "+describe(o))
		}
	}
	for _, o := range set.Objects {
		if reflect.DeepEqual(before[role(o)], o) {
			continue
		}
		title, other := "~ "+describe(o), before[role(o)]
		if other == nil {
			title, other = "+ "+describe(o), originalOf(o, set)
			if other != nil {
				title += ", like " + other.GetName() + " but for"
			}
		}
		lines := compareValues(other, o)
		if before[role(o)] == nil || len(lines) > 0 {
			found = append(found, strings.Join(append([]string{title}, lines...), "\n    "))
		}
	}
	return found
}

// role is what an object is in an installation, whichever namespace that is in.
func role(o *unstructured.Unstructured) string {
	namespace := o.GetLabels()["app.kubernetes.io/instance"]
	return o.GetKind() + "/" + strings.TrimSuffix(strings.TrimSuffix(o.GetName(), namespace), "-")
}

func byRole(set *Set) map[string]*unstructured.Unstructured {
	objects := map[string]*unstructured.Unstructured{}
	for _, o := range set.Objects {
		objects[role(o)] = o
	}
	return objects
}

func originalOf(o *unstructured.Unstructured, set *Set) *unstructured.Unstructured {
	for _, other := range set.Objects {
		if other.GetKind() == o.GetKind() && strings.HasPrefix(o.GetName(), other.GetName()+"-") {
			return other
		}
	}
	return nil
}

// compareValues lists the values that only one of two objects has; the first may be missing.
func compareValues(before, after *unstructured.Unstructured) []string {
	count := map[string]int{}
	for _, line := range values(nil, "", after.Object) {
		count[line]++
	}
	if before != nil {
		for _, line := range values(nil, "", before.Object) {
			count[line]--
		}
	}
	var lines []string
	for line, surplus := range count {
		for ; surplus > 0; surplus-- {
			lines = append(lines, "+ "+line)
		}
		for ; surplus < 0; surplus++ {
			lines = append(lines, "- "+line)
		}
	}
	slices.SortFunc(lines, func(a, b string) int { return cmp.Or(strings.Compare(a[2:], b[2:]), strings.Compare(b, a)) })
	return lines
}

// values lists every value in an object with its path. Elements of lists go by their name where they have one, else by their content.
func values(lines []string, path string, value any) []string {
	switch value := value.(type) {
	case map[string]any:
		for key, field := range value {
			lines = values(lines, path+"."+key, field)
		}
		if len(value) > 0 {
			return lines
		}
	case []any:
		for _, item := range value {
			fields, _ := item.(map[string]any)
			if name, ok := fields["name"].(string); ok {
				lines = values(lines, path+"["+name+"]", item)
				continue
			}
			lines = append(lines, path+"[]: "+compact(item))
		}
		if len(value) > 0 {
			return lines
		}
	}
	return append(lines, path+": "+compact(value))
}

func compact(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// withoutDefinitions prints a set with a digest in the place of each definition.
func withoutDefinitions(t *testing.T, set *Set) string {
	t.Helper()
	var file strings.Builder
	for _, o := range set.Objects {
		text, err := yaml.Marshal(o.Object)
		if err != nil {
			t.Fatal(err)
		}
		if o.GetKind() == "CustomResourceDefinition" {
			digest, err := digestOf([]*unstructured.Unstructured{o})
			if err != nil {
				t.Fatal(err)
			}
			text = fmt.Appendf(nil, "# %s %s\n", describe(o), digest)
		}
		fmt.Fprintf(&file, "---\n%s", text)
	}
	return file.String()
}

func compareGolden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join(goldenDir, name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Errorf("%v; run make distribution and go test ./pkg/render -update, and read what it wrote", err)
		return
	}
	if string(want) != got {
		t.Errorf("%s changed; if that is meant, run go test ./pkg/render -update and read the change (-want +got):\n%s", path, gocmp.Diff(string(want), got))
	}
}
