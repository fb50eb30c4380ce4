package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestCopiesWithMode(t *testing.T) {
	from, to := filepath.Join(t.TempDir(), "from"), filepath.Join(t.TempDir(), "to")
	if err := os.WriteFile(from, []byte("program"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := run([]string{"-Rv", from, to}); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(to)
	if err != nil || string(content) != "program" {
		t.Errorf("got %q, %v", content, err)
	}
	if info, err := os.Stat(to); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("got %v, %v", info.Mode(), err)
	}
}

func TestRefuses(t *testing.T) {
	dir := t.TempDir()
	for _, args := range [][]string{nil, {"-Rv", "one"}, {filepath.Join(dir, "none"), filepath.Join(dir, "to")}, {dir, filepath.Join(dir, "to")}} {
		if err := run(args); err == nil {
			t.Errorf("%q: no error", args)
		}
	}
}
