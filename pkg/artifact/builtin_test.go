package artifact

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func distribution(t *testing.T, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, file := range files {
		path := filepath.Join(dir, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestBuiltin(t *testing.T) {
	dir := distribution(t,
		"flux/v2.9.4/rbac.yaml", "flux/v2.10.0/rbac.yaml", "flux/v2.8.8/rbac.yaml", "flux/README", "flux/lost+found/x",
		"flux-images/VERSION", "flux-images/v2.9.4/upstream-alpine.yaml")
	catalog, err := Builtin(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"v2.8.8", "v2.9.4", "v2.10.0"}, catalog.Versions); diff != "" {
		t.Errorf("versions (-want +got):\n%s", diff)
	}
	if catalog.Digest != "" {
		t.Errorf("the built-in distribution has the digest %q", catalog.Digest)
	}
	content, err := fs.ReadFile(catalog.FS, "flux/v2.9.4/rbac.yaml")
	if err != nil || string(content) != "flux/v2.9.4/rbac.yaml" {
		t.Errorf("a file reads as %q, %v", content, err)
	}
}

func TestNothingOutsideIsReachable(t *testing.T) {
	outside := distribution(t, "secret")
	dir := distribution(t, "flux/v2.9.4/rbac.yaml", "flux-images/VERSION")
	if err := os.Symlink(filepath.Join(outside, "secret"), filepath.Join(dir, "flux/v2.9.4/link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("rbac.yaml", filepath.Join(dir, "flux/v2.9.4/inside")); err != nil {
		t.Fatal(err)
	}
	catalog, err := Builtin(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"flux/v2.9.4/link", "../" + filepath.Base(outside) + "/secret", filepath.Join(outside, "secret")} {
		if content, err := fs.ReadFile(catalog.FS, path); err == nil {
			t.Errorf("%q reads as %q", path, content)
		}
	}
	if _, err := fs.ReadFile(catalog.FS, "flux/v2.9.4/inside"); err != nil {
		t.Errorf("a link that stays inside: %v", err)
	}
}

func TestBuiltinFails(t *testing.T) {
	crowded := []string{"flux-images/VERSION"}
	for i := range maxEntries + 1 {
		crowded = append(crowded, fmt.Sprintf("flux/v0.0.%d/x", i))
	}
	for _, tt := range []struct{ reason, dir, want string }{
		{"no folder", filepath.Join(t.TempDir(), "absent"), "absent"},
		{"an empty folder", t.TempDir(), imagesDir},
		{"no releases folder", distribution(t, "flux-images/VERSION"), `"flux"`},
		{"no release", distribution(t, "flux/README", "flux-images/VERSION"), "no release"},
		{"a file for a folder", distribution(t, "flux", "flux-images/VERSION"), `"flux"`},
		{"no images", distribution(t, "flux/v2.9.4/rbac.yaml"), imagesDir},
		{"far too many releases", distribution(t, crowded...), "more than"},
	} {
		_, err := Builtin(tt.dir)
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), tt.dir) {
			t.Errorf("%s: %v, want an error with %q and the folder", tt.reason, err, tt.want)
		}
	}
}
