package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/flux-autopilot/flux-operator/test/testbed"
	"github.com/flux-autopilot/flux-operator/test/testbed/node"
	"github.com/flux-autopilot/flux-operator/tools"
)

// dependency is something that Debian packages bring.
type dependency struct {
	packages []string
	missing  func() error
	without  string // what becomes of it where it is missing
}

// dependencies are what can be asked for, by name.
func dependencies() map[string]dependency {
	return map[string]dependency{
		"node":       {node.Packages(), node.Missing, "the node will be simulated"},
		"prometheus": {[]string{"prometheus"}, missingPrometheus, "the tests of the alerts will fail"},
	}
}

// missingPrometheus is an error where the programs of Prometheus are not there.
func missingPrometheus() error {
	for _, program := range []string{"promtool", "prometheus"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("looking for Prometheus: %w; install the package prometheus", err)
		}
	}
	return nil
}

func depsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:       "deps [node|prometheus]",
		Short:     "Print the Debian packages that a real node needs, or the tests of the alerts, or install them",
		ValidArgs: slices.Sorted(maps.Keys(dependencies())),
		Args:      cobra.MatchAll(cobra.MaximumNArgs(1), cobra.OnlyValidArgs),
	}
	install := cmd.Flags().Bool("install", false, "install what is missing with apt-get; does nothing when nothing is, or when not root")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		wanted := dependencies()[append(args, "node")[0]]
		if *install {
			return installPackages(cmd.Context(), wanted)
		}
		_, err := fmt.Fprintln(cmd.OutOrStdout(), strings.Join(wanted.packages, " "))
		return err
	}
	return cmd
}

// installPackages leaves a machine alone that has everything, whatever its packages are called.
func installPackages(ctx context.Context, wanted dependency) error {
	missing := wanted.missing()
	if missing == nil {
		return nil
	}
	if os.Geteuid() != 0 {
		fmt.Fprintf(os.Stderr, "testbed: %v; not root, so they are not installed and %s\n", missing, wanted.without)
		return nil
	}
	fmt.Fprintf(os.Stderr, "testbed: installing %s\n", strings.Join(wanted.packages, " "))
	install := append([]string{"install", "--yes", "--no-install-recommends"}, wanted.packages...)
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
	var kubernetes string
	cmd := &cobra.Command{
		Use:   "envtest-assets",
		Short: "Build the programs of controller-runtime's envtest and print their folder, for KUBEBUILDER_ASSETS",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := testbed.EnvtestAssets(cmd.Context(), kubernetes)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), dir)
			return err
		},
	}
	kubernetesFlag(cmd, &kubernetes)
	return cmd
}

// kubernetesFlag lets the user choose a minor.
func kubernetesFlag(cmd *cobra.Command, kubernetes *string) {
	known := tools.KubernetesVersions()
	cmd.Flags().StringVar(kubernetes, "k8s", known[0], "Kubernetes version: "+strings.Join(known, ", "))
}
