package main

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"
)

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "flux-operator",
		Short: "Show what the operator would do with a FluxInstance, and provide what it installs",
		Long: `flux-operator shows on a desk what the operator would do in a cluster, and provides what it installs there.

A FluxInstance is judged by the same rules as in a cluster and rendered by the same code,
so what is printed here is byte for byte what the operator applies.`,
		Example: `  # What would be applied?
  flux-operator build instance -f flux.yaml --distribution dist/distribution

  # What would that change in the cluster of the current kubeconfig?
  flux-operator diff instance -f flux.yaml --distribution dist/distribution

  # What would it mean to let the operator take over the Flux of that cluster?
  flux-operator adopt --dry-run

  # Is the file right? Nothing is printed when it is, the first problems when it is not.
  flux-operator build instance -f flux.yaml --distribution dist/distribution > /dev/null

  # What has to be in the registry of a closed network? Put it there.
  flux-operator distro mirror registry.example.com/flux --distribution dist/distribution --dry-run
  flux-operator distro mirror registry.example.com/flux --distribution dist/distribution

  # How is Flux in that cluster?
  flux-operator report

  # Save the instance and all Flux custom resources, and put them back.
  flux-operator snapshot create
  flux-operator snapshot restore NAME --dry-run

  # Complete commands with the tab key in this shell.
  source <(flux-operator completion bash)`,
		SilenceUsage:  true, // a wrong file is no reason to explain the command
		SilenceErrors: true, // main prints them
		Args:          cobra.NoArgs,
		RunE:          help,
	}
	root.AddCommand(newAdoptCommand(), newBuildCommand(), newDiffCommand(), newDistroCommand(), newReportCommand(), newSnapshotCommand(), newVersionCommand())
	return root
}

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version of this tool",
		Example: `  flux-operator version`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), VERSION)
			return err
		},
	}
}

// help is what a command does that only holds others; with it, cobra refuses the name of a command that does not exist.
func help(cmd *cobra.Command, _ []string) error { return cmd.Help() }

// failureCode is the annotation of a command whose errors end the process with another code than 1.
const failureCode = "exit-code"

// exitCode is what the process ends with after a command.
func exitCode(cmd *cobra.Command, err error) int {
	if err == nil {
		return 0
	}
	if errors.Is(err, errDifferent) {
		return 1
	}
	if code, err := strconv.Atoi(cmd.Annotations[failureCode]); err == nil {
		return code
	}
	return 1
}
