package main

import (
	"archive/tar"
	"compress/gzip"
	"os"
	"path/filepath"
	"testing"
)

// packed writes an archive with one file of the given name.
func packed(t *testing.T, name string) string {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "bundle.tar.gz"))
	if err != nil {
		t.Fatal(err)
	}
	compressed := gzip.NewWriter(file)
	w := tar.NewWriter(compressed)
	if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o600, Size: 3}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("one")); err != nil {
		t.Fatal(err)
	}
	for _, closer := range []interface{ Close() error }{w, compressed, file} {
		if err := closer.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return file.Name()
}

func TestUnpacks(t *testing.T) {
	dir := t.TempDir()
	if err := run([]string{"tar", "xvzf", packed(t, "manifests/a.yaml"), "-C", dir}); err != nil {
		t.Fatal(err)
	}
	if content, err := os.ReadFile(filepath.Join(dir, "manifests", "a.yaml")); err != nil || string(content) != "one" {
		t.Errorf("got %q, %v", content, err)
	}
}

func TestRefuses(t *testing.T) {
	dir := t.TempDir()
	for _, args := range [][]string{
		nil,
		{"tar", "xf", packed(t, "a"), "-C", dir},
		{"tar", "xvzf", filepath.Join(dir, "none"), "-C", dir},
		{"tar", "xvzf", packed(t, "a"), "-C", filepath.Join(dir, "none")},
		{"tar", "xvzf", packed(t, "../outside"), "-C", dir},
	} {
		if err := run(args); err == nil {
			t.Errorf("%q: no error", args)
		}
	}
}
