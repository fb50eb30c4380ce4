package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/flux-autopilot/flux-operator/pkg/snapshot"
)

type listSnapshots struct {
	flags  snapshotFlags
	output string
}

func newSnapshotListCommand() *cobra.Command {
	var options listSnapshots
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Print the snapshots in a cluster, the newest first",
		Long: `Print the snapshots in the cluster of the current kubeconfig, the newest first.

  FLUX     is the release that ran
  UPGRADE  is the release that was to be installed, where the operator saved the snapshot before an upgrade

They are ConfigMaps in the namespace of the instance. One that was never finished is not listed.`,
		Example: `  # Which snapshots are there?
  flux-operator snapshot list

  # How many objects of each kind does the newest one hold?
  flux-operator snapshot list -o json | jq '.[0].kinds'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return options.run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	options.flags.bind(cmd, time.Minute)
	bindOutput(cmd, &options.output, "text for a table, yaml or json for a list of objects", outputText, outputYAML, outputJSON)
	return cmd
}

func (l listSnapshots) run(ctx context.Context, out, warnings io.Writer) error {
	if err := checkOutput(l.output, outputText, outputYAML, outputJSON); err != nil {
		return err
	}
	ctx, cancel, target, err := l.flags.connect(ctx, warnings)
	if err != nil {
		return err
	}
	defer cancel()
	found, err := l.flags.store(target).List(ctx)
	if err != nil {
		return inTime(ctx, err)
	}
	switch l.output {
	case outputJSON:
		return writeJSON(out, append([]snapshot.Stored{}, found...)) // none are [], not null
	case outputYAML:
		text, err := yaml.Marshal(append([]snapshot.Stored{}, found...))
		if err != nil {
			return err
		}
		_, err = out.Write(text)
		return err
	}
	if len(found) == 0 {
		fmt.Fprintf(warnings, "there are no snapshots in namespace %s\n", l.flags.namespace)
		return nil
	}
	return writeTable(out, found)
}

func writeTable(out io.Writer, snapshots []snapshot.Stored) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tCREATED\tFLUX\tUPGRADE\tOBJECTS\tSIZE")
	for i := range snapshots {
		s := &snapshots[i]
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d\t%s\n", s.Name, s.Created.Format(time.RFC3339), cmp.Or(s.Flux, "-"), cmp.Or(s.Upgrade, "-"), s.Objects, size(int64(s.Size)))
	}
	return table.Flush()
}
