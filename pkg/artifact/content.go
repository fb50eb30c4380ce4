package artifact

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
)

// Content is something other than a distribution that is published as an artifact: some bytes with a type of their own.
type Content struct {
	// ArtifactType is that of the artifact, MediaType that of the bytes.
	ArtifactType, MediaType string
	// Data are the bytes.
	Data []byte
}

// PushContent uploads a content as an artifact and moves the tag of the reference there. It returns the digest.
func PushContent(ctx context.Context, what Content, ref Reference, access Access, annotations map[string]string) (string, error) {
	packed, err := what.pack(annotations)
	if err != nil {
		return "", fmt.Errorf("packing the content of artifact %q: %w", ref, err)
	}
	mirror := &Mirror{Destination: access}
	plan, err := mirror.PlanPackage(ctx, packed, ref)
	if err != nil {
		return "", err
	}
	return packed.Digest(), mirror.Copy(ctx, plan)
}

// pack makes the manifest. The package has no file to be closed.
func (c Content) pack(annotations map[string]string) (*Package, error) {
	packed := &Package{small: map[digest.Digest][]byte{
		ocispec.DescriptorEmptyJSON.Digest: ocispec.DescriptorEmptyJSON.Data,
	}}
	layer := ocispec.Descriptor{MediaType: c.MediaType, Digest: digest.FromBytes(c.Data), Size: int64(len(c.Data))}
	packed.small[layer.Digest] = c.Data
	config := ocispec.DescriptorEmptyJSON
	config.Data = nil
	var err error
	packed.root, err = packed.add(ocispec.MediaTypeImageManifest, ocispec.Manifest{
		Versioned:    specs.Versioned{SchemaVersion: 2},
		MediaType:    ocispec.MediaTypeImageManifest,
		ArtifactType: c.ArtifactType,
		Config:       config,
		Layers:       []ocispec.Descriptor{layer},
		Annotations:  annotations,
	})
	return packed, err
}

// PullContent downloads a content of a type from an artifact, no more than limit bytes of it, checked against its digest.
func PullContent(ctx context.Context, ref Reference, access Access, mediaType string, limit int64) ([]byte, error) {
	data, err := pullContent(ctx, ref, access, mediaType, limit)
	if err != nil {
		return nil, fmt.Errorf("pulling artifact %q: %w", ref, err)
	}
	return data, nil
}

func pullContent(ctx context.Context, ref Reference, access Access, mediaType string, limit int64) ([]byte, error) {
	repository, err := access.Repository(ref)
	if err != nil {
		return nil, err
	}
	name := ref.Digest
	if name == "" {
		name = ref.Tag
	}
	root, body, err := repository.FetchReference(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("fetching the manifest: %w", err)
	}
	defer body.Close()
	if root.MediaType != ocispec.MediaTypeImageManifest || root.Size > maxManifest {
		return nil, fmt.Errorf("it is of type %q with %d bytes, which is no manifest of such an artifact", shorten(root.MediaType), root.Size)
	}
	text, err := content.ReadAll(body, root)
	if err != nil {
		return nil, fmt.Errorf("fetching the manifest: %w", err)
	}
	var manifest document
	if err := json.Unmarshal(text, &manifest); err != nil {
		return nil, fmt.Errorf("reading the manifest: %w", err)
	}
	if len(manifest.Layers) != 1 || manifest.Layers[0].MediaType != mediaType {
		return nil, fmt.Errorf("it holds something else: one layer of type %s is needed", mediaType)
	}
	if size := manifest.Layers[0].Size; size < 0 || size > limit {
		return nil, fmt.Errorf("its content has %d bytes, at most %d are allowed", size, limit)
	}
	data, err := content.FetchAll(ctx, repository, manifest.Layers[0])
	if err != nil {
		return nil, fmt.Errorf("fetching the content: %w", err)
	}
	return data, nil
}
