package render

import (
	"bytes"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/version"
)

var update = flag.Bool("update", false, "write the golden files anew")

func fixture() fs.FS { return os.DirFS("testdata/distribution") }

func readInstance(tb testing.TB, path string) *v1.FluxInstance {
	tb.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	instance := &v1.FluxInstance{}
	if err := yaml.UnmarshalStrict(content, instance); err != nil {
		tb.Fatalf("reading %s: %v", path, err)
	}
	return instance
}

// TestGolden compares all bytes that would be applied: what a golden file does not show does not happen.
func TestGolden(t *testing.T) {
	cases, err := filepath.Glob("testdata/*/instance.yaml")
	if err != nil || len(cases) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, path := range cases {
		dir := filepath.Dir(path)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			instance := readInstance(t, path)
			release, err := version.Select(instance.Spec.Distribution.Version, []string{"v2.5.0", "v2.9.0"})
			if err != nil {
				t.Fatal(err)
			}
			set, err := Render(fixture(), release, instance)
			if err != nil {
				t.Fatal(err)
			}
			got, err := set.YAML()
			if err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join(dir, "golden.yaml")
			if *update {
				if err := os.WriteFile(golden, got, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(want, got) {
				t.Errorf("the objects changed; if that is meant, run with -update (-want +got):\n%s", cmp.Diff(string(want), string(got)))
			}
		})
	}
}
