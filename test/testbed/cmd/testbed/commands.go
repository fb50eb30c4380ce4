package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/flux-autopilot/flux-operator/test/testbed"
)

// newCommand returns the program's command tree; --name belongs to all of it.
func newCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "testbed",
		Short:         "A real Kubernetes cluster in namespaces of its own",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	name := root.PersistentFlags().String("name", testbed.DefaultName, "which cluster")
	root.AddCommand(
		upCommand(name), downCommand(name), statusCommand(name), execCommand(name), kubectlCommand(name), logsCommand(name),
		pushCommand(name), depsCommand(), envtestCommand(), initCommand(), superviseCommand(), serveCommand(), probeCommand(),
	)
	return root
}

func upCommand(name *string) *cobra.Command {
	var opts testbed.Options
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start the cluster; does nothing when it runs already",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			program, err := os.Executable()
			if err != nil {
				return fmt.Errorf("finding this program: %w", err)
			}
			opts.Name, opts.Program = *name, program
			cluster, err := testbed.Up(cmd.Context(), opts)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "export KUBECONFIG=%s\n", cluster.Kubeconfig)
			return nil
		},
	}
	kubernetesFlag(cmd, &opts.Kubernetes)
	flags := cmd.Flags()
	flags.StringVar((*string)(&opts.Node), "node", "", "real or simulated; by default real where possible")
	flags.BoolVar(&opts.Audit, "audit", false, "keep a log of all requests to the API server")
	flags.StringArrayVar(&opts.APIServerArgs, "apiserver-arg", nil, "additional argument of the API server")
	return cmd
}

func downCommand(name *string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Remove the cluster; logs and pushed images stay",
		Args:  cobra.NoArgs,
	}
	purge := cmd.Flags().Bool("purge", false, "remove logs and images too")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *purge {
			return testbed.Purge(cmd.Context(), *name)
		}
		return testbed.Down(cmd.Context(), *name)
	}
	return cmd
}

func statusCommand(name *string) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show the cluster and its components; fails when it is not healthy",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cluster, err := testbed.Attach(*name)
			if err != nil {
				return err
			}
			if err := describe(cmd.OutOrStdout(), cluster); err != nil {
				return err
			}
			return cluster.Check(cmd.Context())
		},
	}
}

func describe(out io.Writer, c *testbed.Cluster) error {
	components, err := c.Components()
	if err != nil {
		return err
	}
	kind := "real"
	if c.Simulated {
		kind = "simulated"
	}
	for _, row := range [][2]string{
		{"name", c.Name}, {"kubernetes", c.Kubernetes}, {"node", kind + ", " + c.NodeIP}, {"kubeconfig", c.Kubeconfig},
		{"registry", c.Servers.RegistryInside + ", from this machine " + c.Servers.Registry},
		{"private registry", c.Servers.PrivateRegistryInside + ", from this machine " + c.Servers.PrivateRegistry},
		{"git", c.Servers.GitInside + ", from this machine " + c.Servers.Git},
		{"git (TLS)", c.Servers.GitTLSInside + ", from this machine " + c.Servers.GitTLS},
		{"s3", c.Servers.S3Inside + ", from this machine " + c.Servers.S3},
	} {
		fmt.Fprintf(out, "%-17s %s\n", row[0], row[1])
	}
	for _, component := range components {
		state := fmt.Sprintf("running, process %d of the cluster", component.PID)
		if component.Exit != "" {
			state = "ENDED: " + component.Exit
		}
		fmt.Fprintf(out, "  %-23s %s\n", component.Name, state)
	}
	return nil
}

func execCommand(name *string) *cobra.Command {
	return &cobra.Command{
		Use:                   "exec -- COMMAND [ARGUMENT...]",
		Short:                 "Run a command on the node, with KUBECONFIG set",
		Args:                  cobra.MinimumNArgs(1),
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			cluster, err := testbed.Attach(*name)
			if err != nil {
				return err
			}
			code, err := cluster.Exec(cmd.Context(), args[0], args[1:]...)
			if err != nil {
				return err
			}
			return exit(code)
		},
	}
}

func exit(code int) error {
	if code == 0 {
		return nil
	}
	return exitError(code)
}

func logsCommand(name *string) *cobra.Command {
	return &cobra.Command{
		Use:   "logs COMPONENT",
		Short: "Print the log of a component: supervisor, servers, etcd, kube-apiserver, kubelet, ...",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := testbed.LogFile(*name, args[0])
			if err != nil {
				return err
			}
			file, err := os.Open(path)
			if err != nil {
				return fmt.Errorf("reading the log of %q: %w", args[0], err)
			}
			defer file.Close()
			_, err = io.Copy(cmd.OutOrStdout(), file)
			return err
		},
	}
}
