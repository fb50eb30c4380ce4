package main

import (
	"time"

	"github.com/spf13/cobra"
)

// publishedAs is the name and tag of a distribution that comes from a folder.
const publishedAs = "flux-operator-manifests:latest"

type mirror struct {
	artifact, distribution, verifyKey string
	ranges                            []string
	images                            imageChoice
	caFile                            string
	sourceInsecure, destInsecure      bool
	concurrency                       int
	timeout                           time.Duration
	dryRun                            bool
	output                            string
}

func newMirrorCommand() *cobra.Command {
	var options mirror
	cmd := &cobra.Command{
		Use:   "mirror DEST",
		Short: "Copy a distribution, its signatures and its images into another registry",
		Long: `Copy what a FluxInstance needs into another registry: the controller images of the chosen releases, then the artifact with the
manifests, each with its signatures, attestations and SBOMs.

DEST is a registry with an optional path, as in registry.example.com/flux. Images become DEST/<component>:<tag>, the artifact
becomes DEST/<its name>:<its tag>; what comes from a folder becomes DEST/` + publishedAs + `.
Digests stay: everything is copied whole, for all platforms, and checked on the way. So do signatures that were made at DEST.

What DEST has is not copied again. A run that was interrupted goes on where it was when it is run again, and a run after the
next release copies what is new. The tag of the artifact is moved last: an operator that follows it finds all images in place.
Images that the distribution has no digest of are copied by their tag, which is warned of.

Credentials are those of docker login: $DOCKER_CONFIG/config.json, else ~/.docker/config.json, and the helpers it names.

At the end, the part of the FluxInstance that uses the mirror is printed.`,
		Example: `  # What would be copied for the newest release, and how much is it?
  flux-operator distro mirror registry.example.com/flux --artifact oci://ghcr.io/example/flux-operator-manifests:latest --dry-run

  # Copy the newest patch of two minors, if the artifact is signed with this key.
  flux-operator distro mirror registry.example.com/flux --artifact oci://ghcr.io/example/flux-operator-manifests:latest \
    --version 2.8.x --version 2.9.x --verify-key cosign.pub

  # Only some controllers, of another variant, from another registry.
  flux-operator distro mirror registry.example.com/flux --artifact oci://ghcr.io/example/flux-operator-manifests:latest \
    --components source-controller,kustomize-controller --variant enterprise-distroless --registry ghcr.io/controlplaneio-fluxcd/distroless

  # Publish a folder instead of copying an artifact, into a registry without TLS.
  flux-operator distro mirror localhost:5000 --distribution dist/distribution --dest-insecure

  # For a pipeline: the digests of everything.
  flux-operator distro mirror registry.example.com/flux --distribution dist/distribution --output json | jq -r '.copies[] | "\(.destination)@\(.digest)"'`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return options.run(cmd.Context(), args[0], cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	options.bind(cmd)
	return cmd
}

func (m *mirror) bind(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&m.artifact, "artifact", "", "oci:// address of the artifact to copy")
	flags.StringVar(&m.distribution, "distribution", "", "folder to publish instead: flux/<version>/ and flux-images/<version>/")
	flags.StringVar(&m.verifyKey, "verify-key", "", "file with the public key that the artifact must be signed with by cosign")
	flags.StringArrayVar(&m.ranges, "version", nil, "release, or range of which the newest release is copied, as in spec.distribution.version; may be repeated (default the newest release)")
	flags.StringSliceVar(&m.images.components, "components", nil, "controllers to copy the images of (default all)")
	flags.StringVar(&m.images.variant, "variant", "upstream-alpine", "variant of the images")
	flags.StringVar(&m.images.registry, "registry", "", "registry to copy the images from (default the one the distribution names)")
	flags.StringVar(&m.caFile, "ca-file", "", "file with certificates of authorities, PEM, that registries are trusted by besides those of the system")
	flags.BoolVar(&m.sourceInsecure, "source-insecure", false, "reach the registries that are copied from with plain HTTP")
	flags.BoolVar(&m.destInsecure, "dest-insecure", false, "reach DEST with plain HTTP")
	flags.IntVar(&m.concurrency, "concurrency", 4, "how many blobs are copied at the same time")
	flags.DurationVar(&m.timeout, "timeout", time.Hour, "how long everything together may take")
	flags.BoolVar(&m.dryRun, "dry-run", false, "print what would be copied, and change nothing")
	bindOutput(cmd, &m.output, "text for one line a copy and the part of the FluxInstance, json for an object", outputText, outputJSON)
	cmd.MarkFlagsOneRequired("artifact", "distribution")
	cmd.MarkFlagsMutuallyExclusive("artifact", "distribution")
	cmd.MarkFlagsMutuallyExclusive("distribution", "verify-key")
	must(cmd.MarkFlagDirname("distribution"))
	must(cmd.MarkFlagFilename("verify-key", "pub", "pem"))
	must(cmd.MarkFlagFilename("ca-file", "pem", "crt"))
}
