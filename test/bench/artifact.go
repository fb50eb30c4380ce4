package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/flux-autopilot/flux-operator/pkg/artifact"
	"github.com/flux-autopilot/flux-operator/test/testbed/cosign"
	"github.com/flux-autopilot/flux-operator/test/testbed/registry"
)

const (
	// fetches are fresh processes for each way to get the artifact.
	fetches = 7
	// artifactTag is the tag that is followed.
	artifactTag = "flux/distribution:latest"

	// largeFiles of largeFile bytes each make an artifact that no buffer of a client is as large as.
	largeFiles = 6
	largeFile  = 8 << 20
)

// published is a signed artifact in a registry of this run.
type published struct {
	hub    *registry.Server
	key    *cosign.Key
	digest string
	// largest is the size of its largest file.
	largest int64
}

// reference is the address of the artifact.
func (p *published) reference() string { return "oci://" + p.hub.Addr + "/" + artifactTag }

// close ends the registry.
func (p *published) close(ctx context.Context) error { return p.hub.Close(ctx) }

// publish packs a distribution, pushes it to a registry of its own and signs it.
func publish(ctx context.Context, dir string) (*published, error) {
	largest, err := largestFile(dir)
	if err != nil {
		return nil, err
	}
	hub, err := registry.Serve(ctx, registry.Options{})
	if err != nil {
		return nil, err
	}
	p := &published{hub: hub, largest: largest}
	if err := p.fill(ctx, dir); err != nil {
		return nil, errors.Join(err, p.close(ctx))
	}
	return p, nil
}

func (p *published) fill(ctx context.Context, dir string) error {
	ref, err := artifact.ParseReference(p.reference())
	if err != nil {
		return err
	}
	access := artifact.Access{PlainHTTP: true}
	if p.digest, err = artifact.Push(ctx, dir, ref, access, nil); err != nil {
		return err
	}
	if p.key, err = cosign.NewKey(); err != nil {
		return err
	}
	repository, err := access.Repository(ref)
	if err != nil {
		return err
	}
	return p.key.Sign(ctx, repository, p.digest)
}

func largestFile(dir string) (int64, error) {
	var largest int64
	err := filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			largest = max(largest, info.Size())
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("looking for the largest file of %q: %w", dir, err)
	}
	return largest, nil
}

// largeDistribution writes a distribution of large files that cannot be compressed.
func (b *bench) largeDistribution() (string, error) {
	dir := filepath.Join(b.dir, "large")
	release := filepath.Join(dir, "flux", b.distribution.release)
	if err := errors.Join(os.MkdirAll(release, 0o755), os.MkdirAll(filepath.Join(dir, "flux-images"), 0o755)); err != nil {
		return "", fmt.Errorf("making a large distribution: %w", err)
	}
	content := make([]byte, largeFile)
	for i := range largeFiles {
		_, _ = rand.Read(content) // never fails
		if err := os.WriteFile(filepath.Join(release, fmt.Sprintf("%d.yaml", i)), content, 0o600); err != nil {
			return "", fmt.Errorf("making a large distribution: %w", err)
		}
	}
	return dir, nil
}

// fetchLarge measures with an artifact of large files.
func (b *bench) fetchLarge(ctx context.Context) (p *published, runs fetchRuns, err error) {
	dir, err := b.largeDistribution()
	if err != nil {
		return nil, nil, err
	}
	if p, err = publish(ctx, dir); err != nil {
		return nil, nil, err
	}
	runs, err = b.fetchInTurn(ctx, p)
	return p, runs, errors.Join(err, p.close(context.WithoutCancel(ctx)))
}

// benchArtifact measures what the artifact costs while it stays the same, and when it is new.
func (b *bench) benchArtifact(ctx context.Context) (p Part, err error) {
	whole, err := publish(ctx, b.distribution.dir)
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, whole.close(context.WithoutCancel(ctx))) }()
	idle, err := b.watchChecks(ctx, whole)
	if err != nil {
		return p, err
	}
	runs, err := b.fetchInTurn(ctx, whole)
	if err != nil {
		return p, err
	}
	large, largeRuns, err := b.fetchLarge(ctx)
	if err != nil {
		return p, err
	}
	return Part{
		Title: "The distribution artifact",
		Method: fmt.Sprintf("The distribution is packed, signed and pushed to a registry on loopback, without TLS. A settled operator that follows its tag, and verifies by a key in a Secret, looks at it every %s for %s; what passes "+
			"between the two is counted, headers included. Then fresh processes get the artifact, %d in each way, in turn: by a pull into an empty cache, which resolves the tag, verifies the signature and unpacks; "+
			"by bare GETs of the same contents into files, which leave the archive packed; and by these GETs with an unpacking that checks and limits nothing. Cold is the first time in a process, warm the median of %d further ones.",
			checkInterval, checkTime, fetches, warmFetches),
		Figures: slices.Concat(idle.figures(), runs.figures(whole), largeRuns.largeFigures(large)),
		Notes: []string{
			"An hour has 6 checks with the default interval. Each of them opens a connection then, which TLS adds a handshake to.",
			"Requests to the API server during the checks: " + idle.asked.summary() + ". It is the Secret with the keys: a rotated one counts at the next check.",
			fmt.Sprintf("The distribution has %d releases; the large artifact consists of %d files of %.0f MiB that cannot be compressed.", len(b.distribution.catalog.Versions), largeFiles, inMiB(largeFile)),
		},
	}, nil
}
