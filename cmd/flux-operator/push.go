package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/flux-autopilot/flux-operator/pkg/artifact"
)

type push struct {
	registry         registryFlags
	source, revision string
	annotations      []string
	output           string
	timeout          time.Duration
}

func newPushCommand() *cobra.Command {
	var options push
	cmd := &cobra.Command{
		Use:   "push DIR oci://REGISTRY/REPOSITORY:TAG",
		Short: "Publish a distribution as an artifact",
		Long: `Publish the distribution in a folder as an artifact for spec.distribution.artifact.

The folder holds flux/<version>/ and flux-images/<version>/, as make distribution writes them; other files beside these are
published, too, hidden ones are not. The artifact has the media types of Flux, so flux pull artifact and source-controller
read it. Times, owners and modes of the files are left out: the same files and annotations make the same digest with the same
release of this tool, and pushing them again uploads nothing.

Credentials are those of docker login: $DOCKER_CONFIG/config.json, else ~/.docker/config.json, and the helpers it names.

The address of the artifact with its digest is printed, ready to be signed.`,
		Example: `  # Publish what make distribution wrote.
  flux-operator distro push dist/distribution oci://registry.example.com/flux/flux-operator-manifests:latest

  # Say where it comes from, and sign it.
  flux-operator distro push dist/distribution oci://registry.example.com/flux/flux-operator-manifests:v1.2.0 \
    --source "$(git remote get-url origin)" --revision "$(git describe --tags)@sha1:$(git rev-parse HEAD)" --output json |
    jq -r .reference | xargs cosign sign --yes --key cosign.key

  # To a registry on this machine.
  flux-operator distro push dist/distribution oci://localhost:5000/flux/flux-operator-manifests:latest --insecure`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return options.run(cmd.Context(), args[0], args[1], cmd.OutOrStdout())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&options.source, "source", "", "where the files come from, such as the URL of a Git repository")
	flags.StringVar(&options.revision, "revision", "", "which state of the source they are, such as v1.2.0@sha1:<commit>")
	flags.StringArrayVarP(&options.annotations, "annotation", "a", nil, "key=value to annotate the artifact with; may be repeated")
	flags.DurationVar(&options.timeout, "timeout", 5*time.Minute, "how long everything together may take")
	bindOutput(cmd, &options.output, "text for the address with the digest, json for an object", outputText, outputJSON)
	options.registry.bind(cmd)
	return cmd
}

func (p push) run(ctx context.Context, dir, address string, out io.Writer) error {
	if err := errors.Join(checkOutput(p.output, outputText, outputJSON), checkTimeout(p.timeout)); err != nil {
		return err
	}
	annotations, err := p.annotate()
	if err != nil {
		return err
	}
	ref, err := artifact.ParseReference(address)
	if err != nil {
		return err
	}
	access, err := p.registry.access()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, p.timeout, fmt.Errorf("the artifact was not published within --timeout %s", p.timeout))
	defer cancel()
	ref.Digest, err = artifact.Push(ctx, dir, ref, access, annotations)
	if err != nil {
		return inTime(ctx, err)
	}
	if p.output == outputText {
		_, err = fmt.Fprintln(out, ref)
		return err
	}
	return writeJSON(out, map[string]string{
		"artifact": ref.String(), "reference": strings.TrimPrefix(ref.String(), scheme), "digest": ref.Digest,
	})
}

// annotate collects the annotations.
func (p push) annotate() (map[string]string, error) {
	annotations := map[string]string{}
	if p.source != "" {
		annotations["org.opencontainers.image.source"] = p.source
	}
	if p.revision != "" {
		annotations["org.opencontainers.image.revision"] = p.revision
	}
	for _, pair := range p.annotations {
		key, value, found := strings.Cut(pair, "=")
		if !found || key == "" {
			return nil, fmt.Errorf("--annotation: %q is no annotation; write key=value", pair)
		}
		annotations[key] = value
	}
	return annotations, nil
}
