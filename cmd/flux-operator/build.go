package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/artifact"
	"github.com/flux-autopilot/flux-operator/pkg/preflight"
	"github.com/flux-autopilot/flux-operator/pkg/render"
	"github.com/flux-autopilot/flux-operator/pkg/version"
)

func newBuildCommand() *cobra.Command {
	build := &cobra.Command{
		Use:   "build",
		Short: "Print the objects that the operator would apply",
		Args:  cobra.NoArgs,
		RunE:  help,
	}
	build.AddCommand(newBuildInstanceCommand())
	return build
}

type buildInstance struct {
	source source
	output string
}

func newBuildInstanceCommand() *cobra.Command {
	var options buildInstance
	cmd := &cobra.Command{
		Use:   "instance",
		Short: "Print the objects of a FluxInstance",
		Long: `Print the objects of a FluxInstance, in the order in which they are applied.

The file is checked as the API server would check it: unknown fields, wrong values and broken rules are errors.
Then the newest release in the range spec.distribution.version is taken from the distribution and rendered.
A problem is reported with the field it is in and what to do about it, and the exit code is not zero.

Releases are read from the folder or the artifact given with --distribution, also where spec.distribution.artifact names
another place. An artifact is fetched once and kept in the cache of the user; credentials are those of docker login. Unlike
here, the operator passes over minors of Flux that it does not know yet.`,
		Example: `  # Print all objects.
  flux-operator build instance -f flux.yaml --distribution dist/distribution

  # The same from the artifact that the operator uses, if it is signed with this key.
  flux-operator build instance -f flux.yaml --distribution oci://registry.example.com/flux/flux-operator-manifests --verify-key cosign.pub

  # List the images.
  flux-operator build instance -f flux.yaml --output json | jq -r '.items[].spec.template.spec.containers[]?.image'

  # Read the instance from a pipe, for a namespace of another name.
  kustomize build clusters/prod/flux | flux-operator build instance -f - -n gitops --distribution dist/distribution`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return options.run(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
	options.source.bind(cmd)
	bindOutput(cmd, &options.output, "yaml for a stream of documents, json for one List", outputYAML, outputJSON)
	return cmd
}

func (b buildInstance) run(ctx context.Context, in io.Reader, out io.Writer) error {
	write, err := writerFor(b.output)
	if err != nil {
		return err
	}
	instance, opened, err := b.source.open(ctx, in)
	if err != nil {
		return err
	}
	defer opened.Close()
	set, err := buildSet(opened.Catalog, instance, known{})
	if err != nil {
		return fmt.Errorf("building %q: %w", b.source.file, err)
	}
	return write(out, set)
}

// known is what a cluster tells before an instance is built for it. The zero value is no cluster.
type known struct {
	// running is the release that runs there, empty for none.
	running  string
	facts    preflight.Facts
	platform render.Platform
}

// buildSet is the part of the operator's pipeline that needs no cluster.
func buildSet(catalog *artifact.Catalog, instance *v1.FluxInstance, there known) (*render.Set, error) {
	release, err := version.Select(instance.Spec.Distribution.Version, catalog.Versions)
	if err != nil {
		return nil, fmt.Errorf("spec.distribution.version: %w", err)
	}
	if err := version.CheckTransition(there.running, release); err != nil {
		return nil, fmt.Errorf("spec.distribution.version: %w", err)
	}
	set, err := there.platform.Render(catalog.FS, release, instance)
	if err != nil {
		return nil, err
	}
	return set, preflight.Check(instance, set, there.facts)
}
