package image_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/flux-autopilot/flux-operator/test/testbed/image"
	"github.com/flux-autopilot/flux-operator/test/testbed/registry"
)

func appImage(t *testing.T, machine uint16) v1.Image {
	t.Helper()
	return mustImage(t, image.Binary{Path: pauseBinary(t, "app", machine)}, image.Options{})
}

func serve(t *testing.T, opts registry.Options) string {
	t.Helper()
	s, err := registry.Serve(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	return s.Addr
}

func TestPush(t *testing.T) {
	host := serve(t, registry.Options{User: "user", Password: "secret"})
	login := remote.WithAuth(&authn.Basic{Username: "user", Password: "secret"})
	amd, arm := appImage(t, machineAMD64), appImage(t, machineARM64)
	index, err := image.Index(arm, amd)
	if err != nil {
		t.Fatal(err)
	}

	if _, err := image.Push(t.Context(), amd, host+"/team/app:one"); err == nil {
		t.Error("pushed without a login")
	}
	digest, err := image.Push(t.Context(), amd, host+"/team/app:one", login)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(digestOf(t, amd), digest); diff != "" {
		t.Errorf("digest (-image +pushed):\n%s", diff)
	}
	if _, err := image.Push(t.Context(), index, host+"/team/app:multi", login); err != nil {
		t.Fatal(err)
	}

	// A node asks for its own platform and must get exactly that image.
	for platform, want := range map[string]v1.Image{"amd64": amd, "arm64": arm} {
		ref, err := name.ParseReference(host + "/team/app:multi")
		if err != nil {
			t.Fatal(err)
		}
		pulled, err := remote.Image(ref, login, remote.WithPlatform(v1.Platform{OS: "linux", Architecture: platform}))
		if err != nil {
			t.Fatal(err)
		}
		if err := validate.Image(pulled); err != nil {
			t.Errorf("validating %s: %v", platform, err)
		}
		if diff := cmp.Diff(digestOf(t, want), digestOf(t, pulled)); diff != "" {
			t.Errorf("digest of %s (-pushed +pulled):\n%s", platform, diff)
		}
	}
}

func TestPushRefuses(t *testing.T) {
	img := appImage(t, machineAMD64)
	for _, ref := range []string{"", "app", "app:v1", "127.0.0.1:1/app", "127.0.0.1:1/APP:v1"} {
		if _, err := image.Push(t.Context(), img, ref); err == nil {
			t.Errorf("reference %q was accepted", ref)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := image.Push(ctx, img, serve(t, registry.Options{})+"/app:v1"); err == nil {
		t.Error("pushed after the context ended")
	}
}

func TestIndex(t *testing.T) {
	amd, arm := appImage(t, machineAMD64), appImage(t, machineARM64)
	one, err := image.Index(amd, arm)
	if err != nil {
		t.Fatal(err)
	}
	other, err := image.Index(arm, amd)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(digestOf(t, one), digestOf(t, other)); diff != "" {
		t.Errorf("the order matters:\n%s", diff)
	}
	if err := validate.Index(one); err != nil {
		t.Errorf("validating index: %v", err)
	}
	if _, err := image.Index(amd, amd); err == nil {
		t.Error("two images for one platform were joined")
	}
}

func TestSaveDockerArchive(t *testing.T) {
	img, file := appImage(t, machineAMD64), filepath.Join(t.TempDir(), "image.tar")
	const ref = "localhost/app:v1"
	var first []byte
	for range 2 {
		if err := image.SaveDockerArchive(img, ref, file); err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if first != nil && string(first) != string(content) {
			t.Error("the same image gives another archive")
		}
		first = content
	}

	tag, err := name.NewTag(ref)
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := tarball.ImageFromPath(file, &tag)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(loaded); err != nil {
		t.Errorf("validating archive: %v", err)
	}
	want, err := img.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	got, err := loaded.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("image (-saved +loaded):\n%s", diff)
	}
	if err := image.SaveDockerArchive(img, ref, filepath.Join(file, "x")); err == nil {
		t.Error("saved below a file")
	}
}

func TestSaveOCILayout(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "layout")
	img := appImage(t, machineAMD64)
	index, err := image.Index(img, appImage(t, machineARM64))
	if err != nil {
		t.Fatal(err)
	}
	if err := image.SaveOCILayout(index, "localhost/app:v1", dir); err != nil {
		t.Fatal(err)
	}
	blobs := countBlobs(t, dir)
	if err := image.SaveOCILayout(img, "localhost/app:v2", dir); err != nil {
		t.Fatal(err)
	}
	if left := countBlobs(t, dir); left >= blobs {
		t.Errorf("%d blobs after saving a smaller image, %d before", left, blobs)
	}

	root, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(root); err != nil {
		t.Errorf("validating layout: %v", err)
	}
	manifest, err := root.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, m := range manifest.Manifests {
		got[m.Annotations["org.opencontainers.image.ref.name"]] = m.Digest.String()
	}
	if diff := cmp.Diff(map[string]string{"localhost/app:v2": digestOf(t, img)}, got); diff != "" {
		t.Errorf("images in the layout (-want +got):\n%s", diff)
	}
}

func countBlobs(t *testing.T, dir string) int {
	t.Helper()
	blobs, err := filepath.Glob(filepath.Join(dir, "blobs", "sha256", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return len(blobs)
}

func TestSaveOCILayoutKeepsOtherFolders(t *testing.T) {
	dir := t.TempDir()
	precious := filepath.Join(dir, "precious.json")
	if err := os.WriteFile(precious, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := image.SaveOCILayout(appImage(t, machineAMD64), "localhost/app:v1", dir); err == nil {
		t.Error("a folder with other files was replaced")
	}
	if _, err := os.Stat(precious); err != nil {
		t.Errorf("the other file: %v", err)
	}
}
