package image

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	orascontent "oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/content/oci"
)

// fixedCreation is the time of what is attached, as that of everything else.
const fixedCreation = "1970-01-01T00:00:00Z"

// Attachment is something that is said about an image.
type Attachment struct {
	// Name is its file name.
	Name string
	// MediaType is its type, and that of the artifact around it.
	MediaType string
	// Content are its bytes.
	Content []byte
}

// Attach adds something about the image for a platform (os/architecture) to the OCI layout that [SaveOCILayout] wrote, as an artifact that refers to
// that image. The image and its digest stay what they were. It returns the digest of the artifact.
func Attach(ctx context.Context, dir, ref, platform string, a Attachment) (string, error) {
	store, err := oci.NewWithContext(ctx, dir)
	if err != nil {
		return "", fmt.Errorf("opening image layout %q: %w", dir, err)
	}
	subject, err := find(ctx, store, ref, platform)
	if err != nil {
		return "", fmt.Errorf("attaching %q: %w", a.Name, err)
	}
	layer := orascontent.NewDescriptorFromBytes(a.MediaType, a.Content)
	layer.Annotations = map[string]string{ocispec.AnnotationTitle: a.Name}
	layer, err = put(ctx, store, layer, a.Content)
	if err != nil {
		return "", fmt.Errorf("attaching %q: %w", a.Name, err)
	}
	manifest, err := oras.PackManifest(ctx, store, oras.PackManifestVersion1_1, a.MediaType, oras.PackManifestOptions{
		Subject: &subject, Layers: []ocispec.Descriptor{layer}, ManifestAnnotations: map[string]string{ocispec.AnnotationCreated: fixedCreation},
	})
	if err != nil {
		return "", fmt.Errorf("attaching %q: %w", a.Name, err)
	}
	return manifest.Digest.String(), nil
}

// put stores bytes unless they are there.
func put(ctx context.Context, store *oci.Store, what ocispec.Descriptor, data []byte) (ocispec.Descriptor, error) {
	there, err := store.Exists(ctx, what)
	if err != nil || there {
		return what, err
	}
	return what, store.Push(ctx, what, bytes.NewReader(data))
}

// find returns the image for a platform in the index that a reference names.
func find(ctx context.Context, store *oci.Store, ref, platform string) (ocispec.Descriptor, error) {
	described, raw, err := oras.FetchBytes(ctx, store, ref, oras.DefaultFetchBytesOptions)
	if err != nil {
		return described, fmt.Errorf("reading %q: %w", ref, err)
	}
	var index ocispec.Index
	if err := json.Unmarshal(raw, &index); err != nil {
		return described, fmt.Errorf("reading %q: %w", ref, err)
	}
	for _, manifest := range index.Manifests {
		if p := manifest.Platform; p != nil && p.OS+"/"+p.Architecture == platform {
			return manifest, nil
		}
	}
	return described, fmt.Errorf("reading %q: it has no image for %q", ref, platform)
}
