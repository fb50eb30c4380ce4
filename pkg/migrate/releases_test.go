package migrate_test

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/flux-autopilot/flux-operator/pkg/migrate"
)

// releases are the releases of the distribution, from the oldest to the newest.
func releases() []string {
	return []string{"v2.2.3", "v2.3.0", "v2.4.0", "v2.5.1", "v2.6.4", "v2.7.5", "v2.8.8", "v2.9.4"}
}

// failer is a test of either kind.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// definitionsOf returns the definitions that a release brings, as they are applied.
func definitionsOf(tb failer, release string) []*unstructured.Unstructured {
	tb.Helper()
	return slices.DeleteFunc(objectsOf(tb, release), func(obj *unstructured.Unstructured) bool { return obj.GetKind() != "CustomResourceDefinition" })
}

// objectsOf returns everything that a release brings.
func objectsOf(tb failer, release string) []*unstructured.Unstructured {
	tb.Helper()
	dir := filepath.Join(cmp.Or(os.Getenv("DISTRIBUTION_DIR"), "../../dist/distribution"), "flux", release)
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil || len(files) == 0 {
		tb.Fatalf("there is no release in %s to test with (%v); run make distribution", dir, err)
	}
	var found []*unstructured.Unstructured
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			tb.Fatalf("%v", err)
		}
		for decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(content), 4096); ; {
			obj := &unstructured.Unstructured{}
			if err := decoder.Decode(&obj.Object); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				tb.Fatalf("%s: %v", file, err)
			}
			found = append(found, obj)
		}
	}
	return found
}

// releasesSince returns the releases after one, with their definitions.
func releasesSince(tb failer, after string) []migrate.Release {
	tb.Helper()
	var later []migrate.Release
	for _, release := range releases() {
		if release > after {
			later = append(later, migrate.Release{Version: release, Definitions: read(tb, definitionsOf(tb, release))})
		}
	}
	return later
}

func read(tb failer, objects []*unstructured.Unstructured) []migrate.Definition {
	tb.Helper()
	definitions, err := migrate.Definitions(objects)
	if err != nil {
		tb.Fatalf("%v", err)
	}
	return definitions
}

// asApplied returns definitions as a cluster has them that knew no other release.
func asApplied(definitions []migrate.Definition) []migrate.Definition {
	for i := range definitions {
		definitions[i].Stored = []string{storageOf(definitions[i])}
	}
	return definitions
}

func storageOf(definition migrate.Definition) string {
	i := slices.IndexFunc(definition.Versions, func(v migrate.Version) bool { return v.Storage })
	return definition.Versions[i].Name
}

// TestPathsOfReleases is the table of docs/adr/0015-migrate-before-apply.md.
func TestPathsOfReleases(t *testing.T) {
	want := map[string][]string{
		"v2.2.3": {"v2.6.4", "v2.8.8", "v2.9.4"},
		"v2.3.0": {"v2.7.5", "v2.9.4"},
		"v2.4.0": {"v2.7.5", "v2.9.4"},
		"v2.5.1": {"v2.7.5", "v2.9.4"},
		"v2.6.4": {"v2.8.8", "v2.9.4"},
		"v2.7.5": {"v2.9.4"},
		"v2.8.8": {"v2.9.4"},
	}
	got := map[string][]string{}
	for from := range want {
		live := asApplied(read(t, definitionsOf(t, from)))
		path, err := migrate.Path(live, releasesSince(t, from))
		if err != nil {
			t.Errorf("%s: %v", from, err)
		}
		got[from] = path
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("paths to the newest release (-want +got):\n%s", diff)
	}
}

// TestMovesBetweenReleases says of each move how many definitions need a step before it, and how many would strand what is stored.
func TestMovesBetweenReleases(t *testing.T) {
	want := map[string][]string{
		//         v2.3.0  v2.4.0  v2.5.1  v2.6.4  v2.7.5       v2.8.8       v2.9.4
		"v2.2.3": {"free", "free", "free", "free", "strands 1", "strands 6", "strands 8"},
		"v2.3.0": {"free", "free", "free", "12 steps", "strands 2", "strands 5"},
		"v2.4.0": {"free", "free", "12 steps", "strands 1", "strands 4"},
		"v2.5.1": {"free", "12 steps", "strands 1", "strands 4"},
		"v2.6.4": {"12 steps", "13 steps", "strands 3"},
		"v2.7.5": {"7 steps", "13 steps"},
		"v2.8.8": {"6 steps"},
	}
	got := map[string][]string{}
	for from := range want {
		live := asApplied(read(t, definitionsOf(t, from)))
		for _, release := range releasesSince(t, from) {
			steps, err := migrate.Plan(live, release.Definitions)
			move := strconv.Itoa(len(steps)) + " steps"
			if len(steps) == 0 {
				move = "free"
			}
			if refusals, ok := err.(interface{ Unwrap() []error }); ok {
				move = "strands " + strconv.Itoa(len(refusals.Unwrap()))
			}
			got[from] = append(got[from], move)
		}
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("moves (-want +got):\n%s", diff)
	}
}

// TestMovesAfterUnfinishedMigrations has every version that any release stored still stored, as in a cluster that was never migrated.
func TestMovesAfterUnfinishedMigrations(t *testing.T) {
	live := read(t, definitionsOf(t, "v2.6.4"))
	for i := range live {
		for _, version := range live[i].Versions {
			live[i].Stored = append(live[i].Stored, version.Name)
		}
	}
	steps, err := migrate.Plan(live, read(t, definitionsOf(t, "v2.8.8")))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	got := map[string]string{}
	for _, definition := range live {
		want[definition.Name] = storageOf(definition)
	}
	for _, step := range steps {
		if step.Rewrite {
			got[step.Definition.Name] = step.To
		}
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("rewritten (-want +got):\n%s", diff)
	}
}
