package image_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/content/oci"

	"github.com/flux-autopilot/flux-operator/test/testbed/image"
)

func TestAttach(t *testing.T) {
	ctx, dir, ref := t.Context(), filepath.Join(t.TempDir(), "layout"), "localhost/app:v1"
	amd, arm := appImage(t, machineAMD64), appImage(t, machineARM64)
	index, err := image.Index(amd, arm)
	if err != nil {
		t.Fatal(err)
	}
	if err := image.SaveOCILayout(index, ref, dir); err != nil {
		t.Fatal(err)
	}
	a := image.Attachment{Name: "app.json", MediaType: "application/vnd.example+json", Content: []byte(`{"a":1}`)}
	first, err := image.Attach(ctx, dir, ref, "linux/arm64", a)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := image.Attach(ctx, dir, ref, "linux/arm64", a); err != nil || again != first {
		t.Errorf("attached again: %s, %v; want %s", again, err, first)
	}
	if _, err := image.Attach(ctx, dir, ref, "linux/s390x", a); err == nil {
		t.Error("attached to an image that is not there")
	}

	store, err := oci.NewFromFS(ctx, os.DirFS(dir))
	if err != nil {
		t.Fatal(err)
	}
	root, err := store.Resolve(ctx, ref)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(digestOf(t, index), root.Digest.String()); diff != "" {
		t.Errorf("the image is another one (-saved +found):\n%s", diff)
	}
	subject, err := store.Resolve(ctx, digestOf(t, arm))
	if err != nil {
		t.Fatal(err)
	}
	referrers, err := store.Predecessors(ctx, subject)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, referrer := range referrers {
		if referrer.Digest.String() != first {
			continue
		}
		found++
		raw, err := content.FetchAll(ctx, store, referrer)
		if err != nil {
			t.Fatal(err)
		}
		var manifest ocispec.Manifest
		if err := json.Unmarshal(raw, &manifest); err != nil {
			t.Fatal(err)
		}
		if manifest.ArtifactType != a.MediaType || manifest.Layers[0].Annotations[ocispec.AnnotationTitle] != a.Name {
			t.Errorf("got %s", raw)
		}
	}
	if found != 1 {
		t.Errorf("the image has %d such referrers, want 1", found)
	}
}
