package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"

	"github.com/flux-autopilot/flux-operator/test/testbed"
	"github.com/flux-autopilot/flux-operator/test/testbed/node"
)

func depsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "deps",
		Short: "Print the Debian packages that a real node needs, or install them",
		Args:  cobra.NoArgs,
	}
	install := cmd.Flags().Bool("install", false, "install what is missing with apt-get; does nothing when nothing is, or when not root")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *install {
			return installPackages(cmd.Context())
		}
		_, err := fmt.Fprintln(cmd.OutOrStdout(), strings.Join(node.Packages(), " "))
		return err
	}
	return cmd
}

// installPackages leaves a machine alone that has everything, whatever its packages are called.
func installPackages(ctx context.Context) error {
	missing := node.Missing()
	if missing == nil {
		return nil
	}
	if os.Geteuid() != 0 {
		fmt.Fprintf(os.Stderr, "testbed: %v; not root, so they are not installed and the node will be simulated\n", missing)
		return nil
	}
	fmt.Fprintf(os.Stderr, "testbed: installing %s\n", strings.Join(node.Packages(), " "))
	install := append([]string{"install", "--yes", "--no-install-recommends"}, node.Packages()...)
	if err := apt(ctx, install...); err == nil {
		return nil
	}
	// A fresh machine has no package lists, or old ones.
	if err := apt(ctx, "update"); err != nil {
		return err
	}
	return apt(ctx, install...)
}

func apt(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "apt-get", args...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("running apt-get %s: %w: %s", args[0], err, strings.TrimSpace(string(out)))
	}
	return nil
}

func envtestCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "envtest-assets",
		Short: "Build the programs of controller-runtime's envtest and print their folder, for KUBEBUILDER_ASSETS",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := testbed.EnvtestAssets(cmd.Context())
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), dir)
			return err
		},
	}
}
