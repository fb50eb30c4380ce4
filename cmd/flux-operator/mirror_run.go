package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/flux-autopilot/flux-operator/pkg/artifact"
	"github.com/flux-autopilot/flux-operator/pkg/version"
)

func (m *mirror) run(ctx context.Context, dest string, out, warnings io.Writer) error {
	if err := errors.Join(checkOutput(m.output, outputText, outputJSON), checkTimeout(m.timeout)); err != nil {
		return err
	}
	if m.concurrency < 1 {
		return fmt.Errorf("--concurrency: %d blobs at a time copy nothing; write 1 or more", m.concurrency)
	}
	dest, err := destination(dest)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, m.timeout, fmt.Errorf("the mirror was not complete within --timeout %s; run the command again to go on", m.timeout))
	defer cancel()
	source, err := m.open(ctx)
	if err != nil {
		return inTime(ctx, err)
	}
	defer source.Close()
	job := &mirrorJob{mirror: m, dest: dest, catalog: source, warnings: warnings}
	if err := job.run(ctx); err != nil {
		return inTime(ctx, err)
	}
	if m.output == outputJSON {
		return writeJSON(out, job.report())
	}
	return job.report().write(out)
}

// destination is a registry with an optional path.
func destination(dest string) (string, error) {
	full := fullName(strings.TrimRight(strings.TrimPrefix(dest, scheme), "/"))
	if _, err := artifact.ParseReference(scheme + full + "/" + publishedAs); err != nil {
		return "", fmt.Errorf("DEST: %q is no registry with an optional path, such as registry.example.com/flux: %w", dest, err)
	}
	return full, nil
}

// open opens the distribution that is mirrored.
func (m *mirror) open(ctx context.Context) (*catalog, error) {
	from := origin{address: m.artifact, verifyKey: m.verifyKey, registry: registryFlags{caFile: m.caFile, insecure: m.sourceInsecure}}
	if m.artifact != "" {
		return from.pull(ctx)
	}
	if strings.HasPrefix(m.distribution, scheme) {
		return nil, fmt.Errorf("--distribution: %q is no folder; write --artifact %[1]s", m.distribution)
	}
	from.address = m.distribution
	return from.open(ctx)
}

// mirrorJob is one run of the command.
type mirrorJob struct {
	*mirror

	dest     string
	catalog  *catalog
	warnings io.Writer

	// releases that are mirrored.
	releases []string
	// plans are in the order in which they are carried out: the artifact comes after its images.
	plans []*artifact.Plan
}

func (j *mirrorJob) run(ctx context.Context) error {
	images, err := j.choose()
	if err != nil {
		return err
	}
	source, target := registryFlags{j.caFile, j.sourceInsecure}, registryFlags{j.caFile, j.destInsecure}
	engine := &artifact.Mirror{Concurrency: j.concurrency}
	if engine.Source, err = source.access(); err != nil {
		return err
	}
	if engine.Destination, err = target.access(); err != nil {
		return err
	}
	j.plans, err = each(ctx, images, func(ctx context.Context, i image) (*artifact.Plan, error) {
		to, err := artifact.ParseReference(scheme + j.dest + "/" + i.component + ":" + i.from.Tag)
		if err != nil {
			return nil, err
		}
		return engine.Plan(ctx, i.from, to)
	})
	if err != nil {
		return err
	}
	if j.artifact != "" {
		return j.finish(ctx, engine, engine.Plan)
	}
	packed, err := artifact.Pack(j.distribution, nil)
	if err != nil {
		return err
	}
	err = j.finish(ctx, engine, func(ctx context.Context, _, to artifact.Reference) (*artifact.Plan, error) {
		return engine.PlanPackage(ctx, packed, to)
	})
	return errors.Join(err, packed.Close())
}

// choose finds the releases that are mirrored, and their images. Releases may share images.
func (j *mirrorJob) choose() ([]image, error) {
	var err error
	if j.releases, err = choose(j.ranges, j.catalog.Versions); err != nil {
		return nil, err
	}
	var images []image
	for _, release := range j.releases {
		of, err := j.images.of(j.catalog.FS, release)
		if err != nil {
			return nil, err
		}
		for _, i := range of {
			if slices.Contains(images, i) {
				continue
			}
			images = append(images, i)
			if i.from.Digest == "" {
				fmt.Fprintf(j.warnings, "warning: Flux %s has no digest of %s: what %s stands for now is copied\n", release, i.component, i.from)
			}
		}
	}
	return images, nil
}

// choose returns the newest release of each range, or the newest of all where there is no range.
func choose(ranges, available []string) ([]string, error) {
	if len(ranges) == 0 {
		return []string{version.Newest(available)}, nil
	}
	var releases []string
	for _, r := range ranges {
		release, err := version.Select(r, available)
		if err != nil {
			return nil, fmt.Errorf("--version: %w", err)
		}
		if !slices.Contains(releases, release) {
			releases = append(releases, release)
		}
	}
	return releases, nil
}

// finish plans the artifact, and carries everything out.
func (j *mirrorJob) finish(ctx context.Context, engine *artifact.Mirror, plan func(ctx context.Context, from, to artifact.Reference) (*artifact.Plan, error)) error {
	from, to, err := j.artifactReferences()
	if err != nil {
		return err
	}
	last, err := plan(ctx, from, to)
	if err != nil {
		return err
	}
	j.plans = append(j.plans, last)
	if j.dryRun {
		return nil
	}
	return j.copy(ctx, engine)
}

// artifactReferences say which artifact is copied, exactly the one that was opened, and where it goes.
func (j *mirrorJob) artifactReferences() (from, to artifact.Reference, err error) {
	if j.artifact == "" {
		to, err = artifact.ParseReference(scheme + j.dest + "/" + publishedAs)
		return from, to, err
	}
	if from, err = artifact.ParseReference(j.artifact); err != nil {
		return from, to, err
	}
	from.Digest = j.catalog.Digest
	to, err = artifact.ParseReference(scheme + j.dest + "/" + path.Base(from.Repository))
	to.Tag = from.Tag
	return from, to, err
}

func (j *mirrorJob) copy(ctx context.Context, engine *artifact.Mirror) error {
	var missing artifact.Amount
	for _, p := range j.plans {
		missing.Blobs += p.Missing.Blobs
		missing.Bytes += p.Missing.Bytes
	}
	told := newProgress(j.warnings, len(j.plans), missing)
	engine.Progress = told.add
	defer told.end()
	for _, p := range j.plans {
		told.begin(path.Base(p.To.String()))
		if err := engine.Copy(ctx, p); err != nil {
			return fmt.Errorf("%w; run the command again to go on from here", err)
		}
	}
	return nil
}
