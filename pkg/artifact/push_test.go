package artifact_test

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/flux-autopilot/flux-operator/pkg/artifact"
)

// release is the smallest distribution.
var release = map[string]string{
	"flux/v2.9.4/rbac.yaml":                   "kind: ClusterRole\n",
	"flux/v2.9.4/source-controller.yaml":      "kind: Deployment\n",
	"flux/v2.10.0/rbac.yaml":                  "kind: Role\n",
	"flux-images/VERSION":                     "v2.10.0\n",
	"flux-images/v2.9.4/upstream-alpine.yaml": "images: []\n",
	"flux-vex/v2.9.json":                      "{}\n",
}

func writeFiles(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for path, content := range files {
		file := filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func pack(t *testing.T, dir string, annotations map[string]string) string {
	t.Helper()
	packed, err := artifact.Pack(dir, annotations)
	if err != nil {
		t.Fatal(err)
	}
	if err := packed.Close(); err != nil {
		t.Error(err)
	}
	return packed.Digest()
}

// TestSameContentSameDigest: times, modes and what is hidden make no difference, names, content and annotations do.
func TestSameContentSameDigest(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	want := pack(t, writeFiles(t, release), nil)

	other := writeFiles(t, release)
	for path := range release {
		file := filepath.Join(other, path)
		if err := errors.Join(os.Chmod(file, 0o755), os.Chtimes(file, time.Unix(1, 0), time.Unix(1e9, 5))); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Mkdir(filepath.Join(other, ".git"), 0o755), os.WriteFile(filepath.Join(other, ".git/HEAD"), nil, 0o600),
		os.WriteFile(filepath.Join(other, "flux/.DS_Store"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if got := pack(t, other, nil); got != want {
		t.Errorf("the same files make %s and %s", want, got)
	}
	if err := os.WriteFile(filepath.Join(other, "flux-images/VERSION"), []byte("v2.9.4\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := pack(t, other, nil); got == want {
		t.Error("another content makes the same digest")
	}
	annotated := pack(t, writeFiles(t, release), map[string]string{"b": "2", "a": "1"})
	if annotated == want || annotated != pack(t, writeFiles(t, release), map[string]string{"a": "1", "b": "2"}) {
		t.Error("the digest does not depend on the annotations alone")
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("files are left over: %v, %v", left, err)
	}
}

func TestPushAndPull(t *testing.T) {
	server := newRegistry(t)
	dir := writeFiles(t, release)
	annotations := map[string]string{"org.opencontainers.image.revision": "v2.10.0@sha1:abc"}
	digest, err := artifact.Push(t.Context(), dir, server.ref(t, "flux/manifests:v1"), server.access(), annotations)
	if err != nil {
		t.Fatal(err)
	}
	if want := pack(t, dir, annotations); digest != want {
		t.Errorf("pushed as %s, packed as %s", digest, want)
	}

	store, err := artifact.NewStore(t.TempDir(), artifact.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	source, err := artifact.NewSource(server.ref(t, "flux/manifests:v1"), server.access())
	if err != nil {
		t.Fatal(err)
	}
	resolved, err := source.Resolve(t.Context())
	if err != nil || resolved != digest {
		t.Fatalf("the tag stands for %q, %v, pushed was %q", resolved, err, digest)
	}
	pulled, err := store.Open(t.Context(), source, digest, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer pulled.Close()
	local, err := artifact.Builtin(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer local.Close()
	if diff := cmp.Diff(local.Versions, pulled.Versions); diff != "" {
		t.Errorf("releases (-pushed +pulled):\n%s", diff)
	}
	for path, want := range release {
		if strings.HasPrefix(path, "flux-vex/") {
			continue // for others; the operator unpacks what it reads
		}
		if got, err := fs.ReadFile(pulled.FS, path); err != nil || string(got) != want {
			t.Errorf("%s holds %q, %v", path, got, err)
		}
	}
}

// TestOthersCanReadIt: tools for images find what they expect.
func TestOthersCanReadIt(t *testing.T) {
	server := newRegistry(t)
	_, err := artifact.Push(t.Context(), writeFiles(t, release), server.ref(t, "manifests:v1"), server.access(), map[string]string{"org.opencontainers.image.source": "https://git"})
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(server.addr + "/manifests:v1")
	if err != nil {
		t.Fatal(err)
	}
	image, err := remote.Image(ref, remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(image); err != nil {
		t.Error(err)
	}
	manifest, err := image.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(manifest.Layers) != 1 || manifest.Layers[0].MediaType != "application/vnd.cncf.flux.content.v1.tar+gzip" ||
		manifest.Config.MediaType != "application/vnd.cncf.flux.config.v1+json" || manifest.Annotations["org.opencontainers.image.source"] != "https://git" ||
		len(manifest.Annotations) != 1 {
		t.Errorf("not an artifact of Flux: %+v", manifest)
	}
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	compressed, err := layers[0].Compressed()
	if err != nil {
		t.Fatal(err)
	}
	plain, err := gzip.NewReader(compressed)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for reader := tar.NewReader(plain); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, header.Name)
		if header.Uid != 0 || header.Uname != "" || header.ModTime.Unix() != 0 || header.Mode&0o777 != 0o755 && header.Mode != 0o644 {
			t.Errorf("%s is marked by where it came from: %+v", header.Name, header)
		}
	}
	want := []string{
		"flux/", "flux/v2.10.0/", "flux/v2.10.0/rbac.yaml", "flux/v2.9.4/", "flux/v2.9.4/rbac.yaml", "flux/v2.9.4/source-controller.yaml",
		"flux-images/", "flux-images/VERSION", "flux-images/v2.9.4/", "flux-images/v2.9.4/upstream-alpine.yaml", "flux-vex/", "flux-vex/v2.9.json",
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

func TestPushingAgainUploadsNothing(t *testing.T) {
	server := newRegistry(t)
	dir := writeFiles(t, release)
	for range 2 {
		server.writes.Store(0)
		if _, err := artifact.Push(t.Context(), dir, server.ref(t, "manifests:v1"), server.access(), nil); err != nil {
			t.Fatal(err)
		}
	}
	if n := server.writes.Load(); n != 0 {
		t.Errorf("%d requests changed something", n)
	}
}

func TestPackFails(t *testing.T) {
	linked := writeFiles(t, release)
	if err := os.Symlink("rbac.yaml", filepath.Join(linked, "flux/v2.9.4/link.yaml")); err != nil {
		t.Fatal(err)
	}
	large := writeFiles(t, release)
	if err := os.Truncate(filepath.Join(large, "flux-vex/v2.9.json"), artifact.DefaultLimits().File+1); err != nil {
		t.Fatal(err)
	}
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	for _, tt := range []struct{ reason, dir, want string }{
		{"no distribution", writeFiles(t, map[string]string{"flux/v2.9.4/rbac.yaml": ""}), "flux-images"},
		{"no folder", "absent", `"absent"`},
		{"a link", linked, "flux/v2.9.4/link.yaml"},
		{"a file that nobody would unpack", large, "flux-vex/v2.9.json"},
	} {
		if _, err := artifact.Pack(tt.dir, nil); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want an error with %q", tt.reason, err, tt.want)
		}
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("files are left over: %v, %v", left, err)
	}
}

func TestPushFails(t *testing.T) {
	server := newRegistry(t)
	dir := writeFiles(t, release)
	pinned := server.ref(t, "manifests:v1")
	pinned.Digest = pack(t, dir, nil)
	if _, err := artifact.Push(t.Context(), dir, pinned, server.access(), nil); err == nil || !strings.Contains(err.Error(), "remove the digest") {
		t.Errorf("a reference with a digest gives %v", err)
	}
	server.refuse.Store(1)
	if _, err := artifact.Push(t.Context(), dir, server.ref(t, "manifests:v1"), server.access(), nil); err == nil || !strings.Contains(err.Error(), "manifests:v1") {
		t.Errorf("a registry that refuses gives %v", err)
	}
}
