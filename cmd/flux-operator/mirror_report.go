package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/Masterminds/semver/v3"
	"sigs.k8s.io/yaml"

	"github.com/flux-autopilot/flux-operator/pkg/artifact"
)

// mirrorReport is what the command prints.
type mirrorReport struct {
	DryRun   bool         `json:"dryRun"`
	Releases []string     `json:"releases"`
	Copies   []copyReport `json:"copies"`
	// Distribution is spec.distribution of a FluxInstance that uses the mirror.
	Distribution mirrored `json:"distribution"`
}

type copyReport struct {
	Source      string `json:"source"`
	Destination string `json:"destination"`
	Digest      string `json:"digest"`
	// Attached counts signatures, attestations and SBOMs.
	Attached int             `json:"attached"`
	Total    artifact.Amount `json:"total"`
	// Missing is what the destination lacked before.
	Missing artifact.Amount `json:"missing"`
}

type mirrored struct {
	Version  string `json:"version"`
	Registry string `json:"registry"`
	Variant  string `json:"variant"`
	Artifact string `json:"artifact"`
}

func (j *mirrorJob) report() mirrorReport {
	report := mirrorReport{DryRun: j.dryRun, Releases: j.releases, Distribution: mirrored{
		Version: j.follow(), Registry: j.dest, Variant: j.images.variant,
	}}
	for _, p := range j.plans {
		source := j.distribution
		if p.From != (artifact.Reference{}) {
			source = p.From.String()
		}
		report.Copies = append(report.Copies, copyReport{
			Source: source, Destination: p.To.String(), Digest: p.Digest, Attached: p.Attached, Total: p.Total, Missing: p.Missing,
		})
		for _, tag := range p.Kept {
			fmt.Fprintf(j.warnings, "warning: tag %s of %s was left alone: it holds signatures that the source does not have\n", tag, p.To)
		}
		// The artifact comes last.
		report.Distribution.Artifact = p.To.String()
		if p.To.Tag == "" {
			report.Distribution.Artifact += "@" + p.Digest
		}
	}
	return report
}

// follow is the range that an instance can be given: a wider one could choose a release whose images are not in the mirror.
func (j *mirrorJob) follow() string {
	if len(j.ranges) > 0 {
		return strings.Join(j.ranges, " || ")
	}
	newest, err := semver.NewVersion(j.releases[0])
	if err != nil {
		return j.releases[0]
	}
	return fmt.Sprintf("%d.%d.x", newest.Major(), newest.Minor())
}

// write prints a line for each copy, and how the mirror is used.
func (r mirrorReport) write(out io.Writer) error {
	verb := "copied"
	if r.DryRun {
		verb = "copy"
	}
	var bytes int64
	for _, c := range r.Copies {
		action := verb
		if c.Missing.Blobs == 0 {
			action = string(unchanged)
		}
		attached := ""
		if c.Attached > 0 {
			attached = fmt.Sprintf(", %d attached", c.Attached)
		}
		if _, err := fmt.Fprintf(out, "%-9s %10s  %s@%s%s\n", action, size(c.Missing.Bytes), c.Destination, c.Digest, attached); err != nil {
			return err
		}
		bytes += c.Missing.Bytes
	}
	if r.DryRun {
		_, err := fmt.Fprintf(out, "%-9s %10s  in all, for Flux %s\n", "", size(bytes), strings.Join(r.Releases, ", "))
		return err
	}
	snippet, err := yaml.Marshal(map[string]any{"spec": map[string]any{"distribution": r.Distribution}})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "\n# Flux %s is there. Use it in the FluxInstance:\n%s", strings.Join(r.Releases, ", "), snippet)
	return err
}
