package render

import (
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// TestShuffledReleases renders releases in another order and wants the same objects, but for that order: nothing may be found by where it
// stands. Each setting takes every third release, the next setting the ones beside these.
func TestShuffledReleases(t *testing.T) {
	t.Parallel()
	tree := generated(t)
	for seed, release := range releases(t, tree) {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			shuffled := shuffle(t, tree, release, uint64(seed))
			for at, row := range settings() {
				if (at+seed)%3 != 0 {
					continue
				}
				i := row.instance(t, tree, release)
				set, err := Render(tree, release, i)
				other, otherErr := Render(shuffled, release, i)
				if (err == nil) != (otherErr == nil) || err != nil && err.Error() != otherErr.Error() {
					t.Errorf("%s: %v, shuffled with seed %d: %v", row.name, err, seed, otherErr)
				}
				if err == nil && otherErr == nil && canonical(set) != canonical(other) {
					t.Errorf("%s: another order in the release, seed %d, changed more than the order:\n%s", row.name, seed, strings.Join(differences(set, other), "\n"))
				}
			}
		})
	}
}

// TestRenderAgain feeds what was rendered back as a release: what is as it should be stays so.
func TestRenderAgain(t *testing.T) {
	t.Parallel()
	tree := generated(t)
	names := releases(t, tree)
	for _, release := range []string{names[0], names[len(names)/2], names[len(names)-1]} {
		for _, row := range settings() {
			i := row.instance(t, tree, release)
			if i.Spec.Sharding != nil || i.Spec.Storage != nil || i.Spec.Sync != nil || i.Spec.Kustomize != nil {
				continue // these add objects, which a release that has them already would have twice
			}
			set, err := Render(tree, release, i)
			if err != nil {
				continue // refused, which TestSettings looks at
			}
			again, err := Render(rerelease(t, tree, release, set), release, i)
			if err != nil {
				t.Fatalf("%s: %v", row.name, err)
			}
			if canonical(set) != canonical(again) {
				t.Errorf("%s of %s: rendering what was rendered changed it:\n%s", row.name, release, strings.Join(differences(set, again), "\n"))
			}
		}
	}
}

// rerelease makes a release of a set: each Deployment in its file, everything else in that of the first. The shared objects are those of
// the release, because they have other names in the set.
func rerelease(t *testing.T, tree fs.FS, release string, set *Set) fstest.MapFS {
	t.Helper()
	files := filesOf(t, tree, release)
	inside := map[string][]any{}
	for _, image := range set.Images {
		inside[image.Name] = nil
	}
	for _, o := range set.Objects {
		switch o.GetKind() {
		case "Deployment":
			inside[o.GetName()] = append(inside[o.GetName()], o.Object)
		case "CustomResourceDefinition", "ServiceAccount", "Service":
			inside[set.Images[0].Name] = append(inside[set.Images[0].Name], o.Object)
		}
	}
	for component, documents := range inside {
		files[path.Join("flux", release, component+".yaml")] = &fstest.MapFile{Data: stream(t, documents)}
	}
	return files
}

// filesOf returns the files of one release in memory.
func filesOf(t *testing.T, tree fs.FS, release string) fstest.MapFS {
	t.Helper()
	files := fstest.MapFS{}
	for _, dir := range []string{"flux", "flux-images"} {
		names, err := fs.Glob(tree, path.Join(dir, release, "*.yaml"))
		if err != nil || len(names) == 0 {
			t.Fatalf("no files in %s of %s: %v", dir, release, err)
		}
		for _, name := range names {
			content, err := fs.ReadFile(tree, name)
			if err != nil {
				t.Fatal(err)
			}
			files[name] = &fstest.MapFile{Data: content}
		}
	}
	return files
}

// shuffle returns a release with its documents and all its lists whose order means nothing in another order.
func shuffle(t *testing.T, tree fs.FS, release string, seed uint64) fstest.MapFS {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 0))
	files := filesOf(t, tree, release)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		documents, err := parse(files[name].Data)
		if err != nil {
			t.Fatal(err)
		}
		var all []any
		for _, document := range documents {
			mix(document, func(list []any) {
				random.Shuffle(len(list), func(a, b int) { list[a], list[b] = list[b], list[a] })
			})
			all = append(all, document)
		}
		random.Shuffle(len(all), func(a, b int) { all[a], all[b] = all[b], all[a] })
		files[name].Data = stream(t, all)
	}
	return files
}

// unordered are the lists in which order has no meaning: arguments and versions, rules, and what goes by its name.
var unordered = []string{
	"args", "versions", "rules", "subjects", "volumes", "volumeMounts", "env", "ports", "images", "enum", "apiGroups", "resources", "verbs",
}

// mix lets a function reorder the unordered lists in an object, and goes through all of it in the same order each time.
func mix(value any, reorder func([]any)) {
	switch value := value.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(value)) {
			mix(value[key], reorder)
			if list, ok := value[key].([]any); ok && slices.Contains(unordered, key) {
				reorder(list)
			}
		}
	case []any:
		for _, item := range value {
			mix(item, reorder)
		}
	}
}

func stream(t *testing.T, documents []any) []byte {
	t.Helper()
	var content []byte
	for _, document := range documents {
		text, err := yaml.Marshal(document)
		if err != nil {
			t.Fatal(err)
		}
		content = append(append(content, "---\n"...), text...)
	}
	return content
}

// canonical writes a set with its unordered lists in one order.
func canonical(set *Set) string {
	var text strings.Builder
	for _, o := range set.Objects {
		text.WriteString(inOrder(o.Object) + "\n")
	}
	return text.String()
}

func inOrder(value any) string {
	switch value := value.(type) {
	case string:
		return strconv.Quote(value)
	case map[string]any:
		parts := make([]string, 0, len(value))
		for key, field := range value {
			list, ok := field.([]any)
			if ok && slices.Contains(unordered, key) {
				parts = append(parts, key+":{"+strings.Join(slices.Sorted(eachInOrder(list)), ",")+"}")
				continue
			}
			parts = append(parts, key+":"+inOrder(field))
		}
		slices.Sort(parts)
		return "{" + strings.Join(parts, ",") + "}"
	case []any:
		return "[" + strings.Join(slices.Collect(eachInOrder(value)), ",") + "]"
	}
	return fmt.Sprintf("%T %v", value, value)
}

func eachInOrder(list []any) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, item := range list {
			if !yield(inOrder(item)) {
				return
			}
		}
	}
}

// TestPropertiesCanFail: a set that is told apart by nothing but a value in a list is told apart.
func TestPropertiesCanFail(t *testing.T) {
	set, err := Render(fixture(), "v2.9.0", instance())
	if err != nil {
		t.Fatal(err)
	}
	other := &Set{}
	for _, o := range set.Objects {
		other.Objects = append(other.Objects, o.DeepCopy())
	}
	at := slices.IndexFunc(other.Objects, func(o *unstructured.Unstructured) bool { return o.GetKind() == "Deployment" })
	w, err := openWorkload(&object{Unstructured: other.Objects[at]})
	if err != nil {
		t.Fatal(err)
	}
	args, _ := listAt(w.manager, "args")
	args[0], args[1] = args[1], args[0]
	if canonical(set) != canonical(other) {
		t.Error("another order counts as another set")
	}
	args[0] = "--other"
	if canonical(set) == canonical(other) || len(differences(set, other)) != 1 {
		t.Errorf("another argument does not count, or not alone: %v", differences(set, other))
	}
}
