package main

import (
	"fmt"
	"io"
	"os"

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
	file, distribution, namespace string
}

func newBuildInstanceCommand() *cobra.Command {
	var options buildInstance
	cmd := &cobra.Command{
		Use:   "instance",
		Short: "Print the objects of a FluxInstance",
		Long: `Print the objects of a FluxInstance as YAML, in the order in which they are applied.

The file is checked as the API server would check it: unknown fields, wrong values and broken rules are errors.
Then the newest release in the range spec.distribution.version is taken from the distribution and rendered.
A problem is reported with the field it is in and what to do about it, and the exit code is not zero.

Releases are read from the folder given with --distribution, also where spec.distribution.artifact names another place.`,
		Example: `  # Print all objects.
  flux-operator build instance -f flux.yaml --distribution dist/distribution

  # Compare with what runs.
  flux-operator build instance -f flux.yaml --distribution dist/distribution | kubectl diff --server-side -f -

  # Read the instance from a pipe, for a namespace of another name.
  kustomize build clusters/prod/flux | flux-operator build instance -f - -n gitops --distribution dist/distribution`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return options.run(cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&options.file, "filename", "f", "", "file with the FluxInstance, - for standard input (required)")
	flags.StringVar(&options.distribution, "distribution", "", "folder with the releases: flux/<version>/ and flux-images/<version>/ (required)")
	flags.StringVarP(&options.namespace, "namespace", "n", v1.DefaultNamespace, "namespace of the instance where the file names none")
	for _, err := range []error{
		cmd.MarkFlagRequired("filename"), cmd.MarkFlagRequired("distribution"),
		cmd.MarkFlagFilename("filename", "yaml", "yml", "json"), cmd.MarkFlagDirname("distribution"),
	} {
		if err != nil {
			panic(err) // a flag by another name: a mistake in the lines above
		}
	}
	return cmd
}

func (b buildInstance) run(in io.Reader, out io.Writer) error {
	content, err := readFile(b.file, in)
	if err != nil {
		return err
	}
	instance, err := readInstance(content, b.namespace)
	if err != nil {
		return fmt.Errorf("reading %q: %w", b.file, err)
	}
	catalog, err := artifact.Builtin(b.distribution)
	if err != nil {
		return err
	}
	set, err := buildSet(catalog, instance)
	if err != nil {
		return fmt.Errorf("building %q: %w", b.file, err)
	}
	text, err := set.YAML()
	if err != nil {
		return err
	}
	_, err = out.Write(text)
	return err
}

// buildSet is the part of the operator's pipeline that needs no cluster.
func buildSet(catalog *artifact.Catalog, instance *v1.FluxInstance) (*render.Set, error) {
	release, err := version.Select(instance.Spec.Distribution.Version, catalog.Versions)
	if err != nil {
		return nil, fmt.Errorf("spec.distribution.version: %w", err)
	}
	set, err := render.Render(catalog.FS, release, instance)
	if err != nil {
		return nil, err
	}
	return set, preflight.Check(instance, set, preflight.Facts{})
}

// maxFile is more than the API server takes for one object.
const maxFile = 4 << 20

func readFile(name string, in io.Reader) ([]byte, error) {
	if name != "-" {
		file, err := os.Open(name) //nolint:gosec // whoever runs the command names the file
		if err != nil {
			return nil, err
		}
		defer file.Close()
		in = file
	}
	content, err := io.ReadAll(io.LimitReader(in, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("reading %q: %w", name, err)
	}
	if len(content) > maxFile {
		return nil, fmt.Errorf("reading %q: it is larger than %d bytes", name, maxFile)
	}
	return content, nil
}
