package artifact

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"
)

// maxBlobs bounds what belongs to one artifact or image; the real ones have some hundred.
const maxBlobs = 10_000

// attachmentTags are the ends of the tags that the older format of cosign has for signatures, attestations and SBOMs.
var attachmentTags = []string{".sig", ".att", ".sbom"}

// Plan finds out what belongs to an artifact or an image and what of it the destination lacks. Nothing is changed.
func (m *Mirror) Plan(ctx context.Context, from, to Reference) (*Plan, error) {
	repository, err := m.Source.Repository(from)
	if err != nil {
		return nil, err
	}
	name := from.Digest
	if name == "" {
		name = from.Tag
	}
	return m.plan(ctx, repository, name, &Plan{From: from, To: to})
}

// PlanPackage finds out what of a package the destination lacks. Nothing is changed.
func (m *Mirror) PlanPackage(ctx context.Context, packed *Package, to Reference) (*Plan, error) {
	return m.plan(ctx, packed, packed.Digest(), &Plan{To: to})
}

func (m *Mirror) plan(ctx context.Context, source oras.ReadOnlyGraphTarget, name string, plan *Plan) (*Plan, error) {
	if plan.To.Digest != "" {
		return nil, fmt.Errorf("copying to %q: remove the digest, it comes from what is copied", plan.To)
	}
	target, err := m.Destination.Repository(plan.To)
	if err != nil {
		return nil, err
	}
	// Old lists of referrers are left to the registry's own clean-up: many registries allow nobody to delete.
	target.SkipReferrersGC = true
	plan.source = &checkedSource{ReadOnlyGraphTarget: source, manifests: map[digest.Digest][]byte{}}
	plan.target = &mountingTarget{target}
	plan.root, err = source.Resolve(ctx, name)
	if err == nil && !isManifest(plan.root) {
		err = fmt.Errorf("it is of type %q, which is neither an artifact nor an image", shorten(plan.root.MediaType))
	}
	if err != nil {
		return nil, fmt.Errorf("finding %q: %w", plan.From, err)
	}
	plan.Digest = plan.root.Digest.String()
	survey := &survey{plan: plan, seen: map[digest.Digest]bool{}, compared: map[digest.Digest]bool{}}
	if err := survey.run(ctx); err != nil {
		return nil, fmt.Errorf("planning to copy %s to %q: %w", plan.describe(), plan.To, err)
	}
	return plan, nil
}

// survey walks through everything that belongs to a plan.
type survey struct {
	plan *Plan
	// seen at the source, compared with the destination.
	seen, compared map[digest.Digest]bool
}

func (s *survey) run(ctx context.Context) error {
	// Attachments may have attachments, which join the queue.
	for queue := []ocispec.Descriptor{s.plan.root}; len(queue) > 0; queue = queue[1:] {
		known := len(s.plan.attachments)
		if err := s.visit(ctx, queue[0]); err != nil {
			return err
		}
		for _, found := range s.plan.attachments[known:] {
			queue = append(queue, found.root)
		}
	}
	s.plan.Attached = len(s.plan.attachments)
	return nil
}

// visit adds up what is below a node, and compares it with the destination.
func (s *survey) visit(ctx context.Context, node ocispec.Descriptor) error {
	if err := s.follow(ctx, node); err != nil {
		return err
	}
	return s.compare(ctx, node)
}

// follow reads what is below a node of the source, and what is attached to it.
func (s *survey) follow(ctx context.Context, node ocispec.Descriptor) error {
	if s.seen[node.Digest] {
		return nil
	}
	if len(s.seen) >= maxBlobs {
		return fmt.Errorf("it has more than %d blobs", maxBlobs)
	}
	s.seen[node.Digest] = true
	s.plan.Total.add(node)
	children, err := s.plan.children(ctx, node)
	if err != nil {
		return err
	}
	for _, child := range children {
		if err := s.follow(ctx, child); err != nil {
			return err
		}
	}
	if !isManifest(node) {
		return nil
	}
	return s.attachments(ctx, node)
}

// attachments finds what is attached to a manifest in both formats.
func (s *survey) attachments(ctx context.Context, node ocispec.Descriptor) error {
	referrers, err := s.plan.source.Predecessors(ctx, node)
	if err != nil {
		return fmt.Errorf("looking for what refers to %s: %w", node.Digest, err)
	}
	for _, referrer := range referrers {
		s.plan.attachments = append(s.plan.attachments, attachment{root: referrer, subject: &node})
	}
	for _, end := range attachmentTags {
		tag := strings.Replace(node.Digest.String(), ":", "-", 1) + end
		found, err := s.plan.source.Resolve(ctx, tag)
		if errors.Is(err, errdef.ErrNotFound) {
			continue
		}
		if err != nil {
			return fmt.Errorf("looking for tag %q: %w", tag, err)
		}
		s.plan.attachments = append(s.plan.attachments, attachment{root: found, tag: tag})
	}
	return nil
}

// compare adds up what the destination lacks. A manifest that is there has everything that is below it.
func (s *survey) compare(ctx context.Context, node ocispec.Descriptor) error {
	if s.compared[node.Digest] {
		return nil
	}
	s.compared[node.Digest] = true
	exists, err := s.plan.target.Exists(ctx, node)
	if err != nil {
		return fmt.Errorf("looking for %s at the destination: %w", node.Digest, err)
	}
	if exists {
		return nil
	}
	s.plan.Missing.add(node)
	children, err := s.plan.children(ctx, node)
	if err != nil {
		return err
	}
	for _, child := range children {
		if err := s.compare(ctx, child); err != nil {
			return err
		}
	}
	return nil
}

func (p *Plan) children(ctx context.Context, node ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	children, err := content.Successors(ctx, p.source, node)
	if err != nil {
		return nil, fmt.Errorf("reading manifest %s: %w", node.Digest, err)
	}
	return children, nil
}

func (a *Amount) add(node ocispec.Descriptor) {
	a.Blobs++
	a.Bytes += node.Size
}
