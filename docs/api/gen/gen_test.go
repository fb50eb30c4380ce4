package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// root is the top of the repository, seen from this package.
var root = filepath.Join("..", "..", "..")

// yamlBlock finds the YAML examples of a page.
var yamlBlock = regexp.MustCompile("(?s)```yaml\n(.*?)```")

// TestPagesAreFresh holds the pages against the CRDs and the Go source of the API.
func TestPagesAreFresh(t *testing.T) {
	for page, text := range readPages(t) {
		fresh, err := refresh(root, page, text)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(text, fresh); diff != "" {
			t.Errorf("%s is stale: run make generate\n-is, +would be:\n%s", page, diff)
		}
		if twice, err := refresh(root, page, fresh); err != nil || twice != fresh {
			t.Errorf("%s: generating twice gives another page (%v)", page, err)
		}
	}
}

// TestExamplesAreInstances reads every example, and the sample that the README shows, as strictly as the API server does.
func TestExamplesAreInstances(t *testing.T) {
	sample, err := os.ReadFile(filepath.Join(root, "config", "samples", "fluxcd_v1_fluxinstance.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	examples := []string{string(sample)}
	for _, text := range readPages(t) {
		for _, block := range yamlBlock.FindAllStringSubmatch(text, -1) {
			examples = append(examples, block[1])
		}
	}
	instances := 0
	for _, example := range examples {
		if !strings.Contains(example, "kind: FluxInstance\n") {
			continue
		}
		instances++
		instance := &v1.FluxInstance{}
		if err := yaml.UnmarshalStrict([]byte(example), instance); err != nil {
			t.Errorf("an example is no FluxInstance: %v\n%s", err, example)
		}
		if instance.Name != v1.DefaultInstanceName || instance.Spec.Distribution.Version == "" || instance.Spec.Distribution.Registry == "" {
			t.Errorf("an example leaves out what is required:\n%s", example)
		}
	}
	if instances < 2 {
		t.Errorf("found %d FluxInstances in the sample and the pages: the test looks in the wrong place", instances)
	}
}

// TestRefresh shows what an instruction that cannot be carried out is answered with.
func TestRefresh(t *testing.T) {
	cases := map[string]struct{ page, want string }{
		"NoEnd":           {"<!-- generated: fields spec -->\ntext", "a generated marker has no <!-- end --> behind it"},
		"UnknownField":    {"<!-- generated: fields nothing -->\n<!-- end -->", `"fields nothing": FluxInstance has no field "nothing"`},
		"UnknownFile":     {"<!-- generated: constants no.go * -->\n<!-- end -->", `"constants no.go *": v1 has no file no.go`},
		"NoSuchConstants": {"<!-- generated: constants conditions.go X* -->\n<!-- end -->", `"constants conditions.go X*": no constant of conditions.go matches "X*"`},
		"NoSense":         {"<!-- generated: everything -->\n<!-- end -->", `"everything": unknown instruction: want "fields FIELD" or "constants FILE PATTERN"`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := refresh(root, "fluxinstance.md", tc.page)
			if err == nil || err.Error() != tc.want {
				t.Errorf("refresh(...): want %q, got %v", tc.want, err)
			}
		})
	}
}

func readPages(t *testing.T) map[string]string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(root, "docs", "api", "v1", "*.md"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("finding pages: %d found, %v", len(paths), err)
	}
	pages := map[string]string{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		pages[path] = string(text)
	}
	return pages
}
