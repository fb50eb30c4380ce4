package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/flux-autopilot/flux-operator/test/testbed"
)

// The commands of this file are started by the testbed itself.

func initCommand() *cobra.Command {
	return internal("init", func(_ *cobra.Command, dir string) error {
		code, err := testbed.Init(dir)
		if err != nil {
			return err
		}
		return exit(code)
	})
}

func superviseCommand() *cobra.Command {
	return internal("supervise", func(cmd *cobra.Command, dir string) error { return testbed.Supervise(cmd.Context(), dir) })
}

func serveCommand() *cobra.Command {
	return internal("serve", func(cmd *cobra.Command, dir string) error { return testbed.Serve(cmd.Context(), dir) })
}

func probeCommand() *cobra.Command {
	return &cobra.Command{
		Use: "probe NAME|URL...", Hidden: true, Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return testbed.Probe(cmd.Context(), args...) },
	}
}

func internal(use string, run func(cmd *cobra.Command, dir string) error) *cobra.Command {
	cmd := &cobra.Command{Use: use, Hidden: true, Args: cobra.NoArgs}
	dir := cmd.Flags().String("dir", "", "folder of the cluster")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return run(cmd, *dir) }
	return cmd
}

func kubectlCommand(name *string) *cobra.Command {
	return &cobra.Command{
		Use:                "kubectl [ARGUMENT...]",
		Short:              "Run the kubectl of the cluster's version against it",
		DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, args []string) error {
			cluster, err := testbed.Attach(*name)
			if err != nil {
				return err
			}
			path := cluster.KubectlPath()
			env := append(os.Environ(), "KUBECONFIG="+cluster.Kubeconfig)
			// kubectl takes this process's place: terminal, signals and exit code are its own.
			return fmt.Errorf("running kubectl: %w", syscall.Exec(path, append([]string{path}, args...), env))
		},
	}
}

func pushCommand(name *string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "push IMAGE...",
		Short: "Build images and push them to the cluster's registry; prints references and digests",
		Args:  cobra.MinimumNArgs(1),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		cluster, err := testbed.Attach(*name)
		if err != nil {
			return err
		}
		digests, err := cluster.Push(cmd.Context(), args...)
		if err != nil {
			return err
		}
		for _, ref := range slices.Sorted(maps.Keys(digests)) {
			fmt.Fprintf(cmd.OutOrStdout(), "%s@%s\n", ref, digests[ref])
		}
		return nil
	}
	return cmd
}
