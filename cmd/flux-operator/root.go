package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "flux-operator",
		Short: "Work with FluxInstances without a cluster",
		Long: `flux-operator shows on a desk what the operator would do in a cluster.

A FluxInstance is judged by the same rules as in a cluster and rendered by the same code,
so what is printed here is byte for byte what the operator applies.`,
		Example: `  # What would be applied?
  flux-operator build instance -f flux.yaml --distribution dist/distribution

  # Is the file right? Nothing is printed when it is, the first problems when it is not.
  flux-operator build instance -f flux.yaml --distribution dist/distribution > /dev/null

  # Complete commands with the tab key in this shell.
  source <(flux-operator completion bash)`,
		SilenceUsage:  true, // a wrong file is no reason to explain the command
		SilenceErrors: true, // main prints them
		Args:          cobra.NoArgs,
		RunE:          help,
	}
	root.AddCommand(newBuildCommand(), newVersionCommand())
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
