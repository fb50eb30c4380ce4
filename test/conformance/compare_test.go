package conformance

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"
)

// id names a document: its file without extension, and its kind and name if it is an object.
type id struct{ file, kind, name string }

func (i id) String() string {
	return strings.TrimRight(i.file+"/"+i.kind+"/"+i.name, "/")
}

// tree holds the documents of one folder.
type tree struct {
	objects map[id]any
	order   []id
}

// finding is one field that differs; the path * stands for the whole document.
type finding struct {
	object          id
	path            string
	released, given any
}

func (f finding) String() string {
	return fmt.Sprintf("%s: %s: released %s, generated %s", f.object, f.path, shown(f.released), shown(f.given))
}

// shown shortens what would flood the report.
func shown(value any) string {
	if value == nil {
		return "nothing"
	}
	text := fmt.Sprintf("%v", value)
	if len(text) > 200 {
		text = text[:200] + "…"
	}
	return text
}

// add reads the documents of one file.
func (t *tree) add(file string, content []byte) error {
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(content)))
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("splitting %q: %w", file, err)
		}
		var object map[string]any
		if err := yaml.Unmarshal(document, &object); err != nil {
			return fmt.Errorf("parsing %q: %w", file, err)
		}
		if object == nil {
			continue
		}
		key := id{file: file}
		if kind, ok := object["kind"].(string); ok {
			metadata, _ := object["metadata"].(map[string]any)
			key.kind, key.name = kind, fmt.Sprint(metadata["name"])
		}
		if _, ok := t.objects[key]; ok {
			return fmt.Errorf("reading %q: %s is there twice", file, key)
		}
		if t.objects[key], err = canonical(object); err != nil {
			return fmt.Errorf("reading %s: %w", key, err)
		}
		t.order = append(t.order, key)
	}
}

// canonical writes values that mean the same in the same way (the quantities 1 and 1000m for example) by a detour over
// the typed object, if there is a type. A field that the type does not have is an error.
func canonical(object map[string]any) (any, error) {
	text := func(key string) string { value, _ := object[key].(string); return value }
	kind := schema.FromAPIVersionAndKind(text("apiVersion"), text("kind"))
	typed, err := scheme.Scheme.New(kind)
	if runtime.IsNotRegisteredError(err) || runtime.IsMissingKind(err) || runtime.IsMissingVersion(err) {
		return object, nil
	}
	if err != nil {
		return nil, err
	}
	content, err := yaml.Marshal(object)
	if err != nil {
		return nil, err
	}
	if err := yaml.UnmarshalStrict(content, typed); err != nil {
		return nil, err
	}
	if content, err = yaml.Marshal(typed); err != nil {
		return nil, err
	}
	var again map[string]any
	err = yaml.Unmarshal(content, &again)
	return again, err
}

// compareFolders returns all differences, sorted by document and path.
func compareFolders(released, generated tree) []finding {
	keys := map[id]bool{}
	for key := range released.objects {
		keys[key] = true
	}
	for key := range generated.objects {
		keys[key] = true
	}
	sorted := slices.SortedFunc(maps.Keys(keys), func(a, b id) int { return strings.Compare(a.String(), b.String()) })
	var findings []finding
	for _, key := range sorted {
		want, isReleased := released.objects[key]
		got, isGenerated := generated.objects[key]
		switch {
		case !isGenerated:
			findings = append(findings, finding{object: key, path: "*", released: "the object"})
		case !isReleased:
			findings = append(findings, finding{object: key, path: "*", given: "the object"})
		default:
			findings = append(findings, compare(key, "", want, got)...)
		}
	}
	return findings
}

func compare(object id, path string, want, got any) []finding {
	wantMap, wantIsMap := want.(map[string]any)
	gotMap, gotIsMap := got.(map[string]any)
	// A missing map is reported by its fields, but an empty one means something: think of emptyDir.
	if wantIsMap && gotIsMap || len(wantMap) > 0 && got == nil || len(gotMap) > 0 && want == nil {
		return compareMaps(object, path, wantMap, gotMap)
	}
	wantList, wantIsList := want.([]any)
	gotList, gotIsList := got.([]any)
	if wantIsList && gotIsList && len(wantList) == len(gotList) {
		var findings []finding
		for i := range wantList {
			findings = append(findings, compare(object, fmt.Sprintf("%s[%d]", path, i), wantList[i], gotList[i])...)
		}
		return findings
	}
	if reflect.DeepEqual(want, got) {
		return nil
	}
	return []finding{{object: object, path: path, released: want, given: got}}
}

func compareMaps(object id, path string, want, got map[string]any) []finding {
	keys := map[string]bool{}
	for key := range want {
		keys[key] = true
	}
	for key := range got {
		keys[key] = true
	}
	var findings []finding
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		findings = append(findings, compare(object, strings.TrimPrefix(path+"."+key, "."), want[key], got[key])...)
	}
	return findings
}
