package artifact

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"
)

// Mirror copies artifacts and images from registry to registry: whole, for all platforms, so that their digests stay, and with the signatures,
// attestations and SBOMs that belong to them.
//
// What the destination has is not copied again, so a copy that was interrupted goes on where it was. Copies may be made one after the other.
type Mirror struct {
	// Source and Destination say how the registries are reached.
	Source, Destination Access
	// Concurrency is how many blobs are on the way at the same time; 3 when it is zero.
	Concurrency int
	// Progress is told what has arrived since it was told last, by several goroutines at the same time; nil tells nobody.
	Progress func(Amount)

	held sync.Map // repository of the destination by digest of a blob
}

// Amount of content.
type Amount struct {
	// Blobs counts layers, configurations and manifests.
	Blobs int `json:"blobs"`
	// Bytes is their size.
	Bytes int64 `json:"bytes"`
}

// Plan is what one copy consists of.
type Plan struct {
	// From is the source; empty for a package.
	From Reference
	// To is the destination. Its tag is what the copy will be called there; without one it is found by its digest alone.
	To Reference
	// Digest of the artifact or image.
	Digest string
	// Attached counts the signatures, attestations and SBOMs that are copied with it.
	Attached int
	// Total is everything, Missing the part that the destination does not have.
	Total, Missing Amount
	// Kept are the tags of signatures at the destination that were left alone, because they hold others than those at the source. Copy sets it.
	Kept []string

	source *checkedSource
	target *mountingTarget
	root   ocispec.Descriptor
	// attachments are in an order in which each comes after what it belongs to.
	attachments []attachment
}

// attachment is a signature, an attestation or an SBOM.
type attachment struct {
	root ocispec.Descriptor
	// subject is what it refers to; it is found by asking for what refers to the subject.
	subject *ocispec.Descriptor
	// tag is how it is found in the older format of cosign; empty for one that refers to its subject.
	tag string
}

// Copy does what was planned. The tags of artifact and image are moved last: whoever watches them finds everything in place.
//
// Fails on content that is not what its digest says, and uploads none of it.
func (m *Mirror) Copy(ctx context.Context, plan *Plan) error {
	if err := m.copy(ctx, plan); err != nil {
		return fmt.Errorf("copying %s to %q: %w", plan.describe(), plan.To, err)
	}
	return nil
}

func (m *Mirror) copy(ctx context.Context, plan *Plan) error {
	options := m.options(plan)
	if err := oras.CopyGraph(ctx, plan.source, plan.target, plan.root, options); err != nil {
		return err
	}
	for _, a := range plan.attachments {
		if err := oras.CopyGraph(ctx, plan.source, plan.target, a.root, options); err != nil {
			return err
		}
	}
	listed := map[digest.Digest][]ocispec.Descriptor{}
	for _, a := range plan.attachments {
		if err := plan.attach(ctx, a, listed); err != nil {
			return err
		}
	}
	if plan.To.Tag == "" {
		return nil
	}
	return plan.tag(ctx, plan.root, plan.To.Tag)
}

// options has the progress of all blobs told, and blobs mounted that the destination has in another repository.
func (m *Mirror) options(plan *Plan) oras.CopyGraphOptions {
	plan.source.arrived = func(bytes int64) { m.tell(Amount{Bytes: bytes}) }
	return oras.CopyGraphOptions{
		Concurrency: m.Concurrency,
		MountFrom: func(_ context.Context, blob ocispec.Descriptor) ([]string, error) {
			if repository, found := m.held.Load(plan.To.Registry + "/" + blob.Digest.String()); found {
				return []string{repository.(string)}, nil //nolint:forcetypeassert // nothing else is stored
			}
			if plan.From.Registry == plan.To.Registry {
				return []string{plan.From.Repository}, nil
			}
			return nil, nil
		},
		PostCopy: func(_ context.Context, blob ocispec.Descriptor) error {
			amount := Amount{Blobs: 1}
			if isManifest(blob) { // the bytes of others were told while they were read
				amount.Bytes = blob.Size
			}
			m.tell(amount)
			m.remember(plan.To, blob)
			return nil
		},
		OnMounted: func(_ context.Context, blob ocispec.Descriptor) error {
			m.tell(Amount{Blobs: 1, Bytes: blob.Size})
			m.remember(plan.To, blob)
			return nil
		},
		OnCopySkipped: func(_ context.Context, blob ocispec.Descriptor) error {
			m.remember(plan.To, blob)
			return nil
		},
	}
}

// remember where a blob can be taken over from.
func (m *Mirror) remember(to Reference, blob ocispec.Descriptor) {
	if !isManifest(blob) {
		m.held.Store(to.Registry+"/"+blob.Digest.String(), to.Repository)
	}
}

func (m *Mirror) tell(amount Amount) {
	if m.Progress != nil {
		m.Progress(amount)
	}
}

// attach makes an attachment that was copied known as one of its subject. A copy that was interrupted may have left it unknown.
func (p *Plan) attach(ctx context.Context, a attachment, listed map[digest.Digest][]ocispec.Descriptor) error {
	if a.tag != "" {
		return p.tagAttachment(ctx, a)
	}
	known, asked := listed[a.subject.Digest]
	if !asked {
		var err error
		if known, err = p.target.Predecessors(ctx, *a.subject); err != nil {
			return fmt.Errorf("listing what refers to %s: %w", a.subject.Digest, err)
		}
		listed[a.subject.Digest] = known
	}
	if slices.ContainsFunc(known, func(one ocispec.Descriptor) bool { return one.Digest == a.root.Digest }) {
		return nil
	}
	return p.push(ctx, a.root, a.root.Digest.String())
}

// tagAttachment moves the tag when nothing is lost by it: signatures that were added at the destination stay.
func (p *Plan) tagAttachment(ctx context.Context, a attachment) error {
	current, err := p.target.Resolve(ctx, a.tag)
	if err != nil && !errors.Is(err, errdef.ErrNotFound) {
		return fmt.Errorf("resolving tag %q: %w", a.tag, err)
	}
	if err == nil && current.Digest != a.root.Digest {
		contained, err := p.contains(ctx, a.root, current)
		if err != nil {
			return err
		}
		if !contained {
			p.Kept = append(p.Kept, a.tag)
			return nil
		}
	}
	return p.tag(ctx, a.root, a.tag)
}

// contains tells whether every signature of a manifest at the destination is in that of the source, too.
func (p *Plan) contains(ctx context.Context, source, target ocispec.Descriptor) (bool, error) {
	if isIndex(target) || !isManifest(target) || target.Size > maxManifest {
		return false, nil
	}
	ours, err := layersOf(ctx, p.source, source)
	if err != nil {
		return false, err
	}
	theirs, err := layersOf(ctx, p.target, target)
	if err != nil {
		return false, err
	}
	for one := range theirs {
		if !ours[one] {
			return false, nil
		}
	}
	return true, nil
}

func layersOf(ctx context.Context, from content.Fetcher, manifest ocispec.Descriptor) (map[digest.Digest]bool, error) {
	text, err := content.FetchAll(ctx, from, manifest)
	if err != nil {
		return nil, fmt.Errorf("reading manifest %s: %w", manifest.Digest, err)
	}
	var d document
	if err := json.Unmarshal(text, &d); err != nil {
		return nil, fmt.Errorf("reading manifest %s: %w", manifest.Digest, err)
	}
	layers := map[digest.Digest]bool{}
	for _, layer := range d.Layers {
		layers[layer.Digest] = true
	}
	return layers, nil
}

// tag moves a tag of the destination, unless it is there.
func (p *Plan) tag(ctx context.Context, manifest ocispec.Descriptor, tag string) error {
	current, err := p.target.Resolve(ctx, tag)
	if err == nil && current.Digest == manifest.Digest {
		return nil
	}
	if err != nil && !errors.Is(err, errdef.ErrNotFound) {
		return fmt.Errorf("resolving tag %q: %w", tag, err)
	}
	return p.push(ctx, manifest, tag)
}

// push uploads a manifest under a name.
func (p *Plan) push(ctx context.Context, manifest ocispec.Descriptor, name string) error {
	text, err := p.source.manifest(ctx, manifest)
	if err != nil {
		return err
	}
	if err := p.target.PushReference(ctx, manifest, bytes.NewReader(text), name); err != nil {
		return fmt.Errorf("writing %q: %w", name, err)
	}
	return nil
}

func (p *Plan) describe() string {
	if p.From == (Reference{}) {
		return "artifact " + p.Digest
	}
	return fmt.Sprintf("%q", p.From)
}
