package main

import "github.com/spf13/cobra"

func newDistroCommand() *cobra.Command {
	distro := &cobra.Command{
		Use:   "distro",
		Short: "Publish a distribution of Flux, or mirror one with its images",
		Args:  cobra.NoArgs,
		RunE:  help,
	}
	distro.AddCommand(newPushCommand(), newMirrorCommand())
	return distro
}
