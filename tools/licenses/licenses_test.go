package licenses

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// write makes a tree of files.
func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// program is a program that links one module and requires another without linking it.
func program(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"app/go.mod": "module example.com/app\n\ngo 1.26\n\nrequire (\n\texample.com/one v0.0.0\n\texample.com/two v0.0.0\n)\n\n" +
			"replace (\n\texample.com/one => ../one\n\texample.com/two => ../two\n)\n",
		"app/main.go":      "package main\n\nimport _ \"example.com/one/sub\"\n\nfunc main() {}\n",
		"app/mainframe.go": "//go:build s390x\n\npackage main\n\nimport _ \"example.com/two\"\n",
		"app/LICENSE":      "ours",
		"one/go.mod":       "module example.com/one\n\ngo 1.26\n",
		"one/sub/sub.go":   "package sub\n",
		"one/LICENSE.txt":  "theirs",
		"one/NOTICE":       "notice",
		"one/license.go":   "package one\n",
		"two/go.mod":       "module example.com/two\n\ngo 1.26\n",
		"two/two.go":       "package two\n",
	})
	return filepath.Join(dir, "app")
}

func TestCollect(t *testing.T) {
	t.Setenv("GOFLAGS", "-mod=mod")
	out := t.TempDir()
	if err := Collect(t.Context(), Options{Dir: program(t), Package: ".", Arch: "amd64", Out: out}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{
		"go/LICENSE": true, "example.com/one/LICENSE.txt": true, "example.com/one/NOTICE": true, "example.com/one/license.go": false, "example.com/app/LICENSE": false, "example.com/two": false,
	} {
		if _, err := os.Stat(filepath.Join(out, filepath.FromSlash(name))); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAModuleWithoutLicenceIsRefused(t *testing.T) {
	t.Setenv("GOFLAGS", "-mod=mod")
	err := Collect(t.Context(), Options{Dir: program(t), Package: ".", Arch: "s390x", Out: t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), `the licence of "example.com/two"`) {
		t.Errorf("got %v", err)
	}
}
