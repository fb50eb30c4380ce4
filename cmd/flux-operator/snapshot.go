package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/snapshot"
)

func newSnapshotCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "snapshot",
		Short: "Save the FluxInstance and all Flux custom resources, and put them back",
		Long: `Save the FluxInstance and all Flux custom resources, and put them back.

A snapshot holds what is wanted of each object: its labels, annotations and spec. It holds no status, no owners and no contents
of Secrets; what a spec says in clear is in the snapshot, too. The operator saves one in the cluster before each upgrade to
another minor and keeps the newest, as spec.snapshots.keep says. Snapshots that are to outlive the cluster belong into files
or a registry.`,
		Args: cobra.NoArgs,
		RunE: help,
	}
	cmd.AddCommand(newSnapshotListCommand(), newSnapshotCreateCommand(), newSnapshotRestoreCommand())
	return cmd
}

// snapshotFlags are those of all commands about snapshots.
type snapshotFlags struct {
	cluster   clusterFlags
	namespace string
	timeout   time.Duration
}

func (f *snapshotFlags) bind(cmd *cobra.Command, timeout time.Duration) {
	f.cluster.bind(cmd)
	cmd.Flags().StringVarP(&f.namespace, "namespace", "n", v1.DefaultNamespace, "namespace of the instance and the snapshots")
	cmd.Flags().DurationVar(&f.timeout, "timeout", timeout, "how long everything together may take")
}

// connect begins the time that everything may take, which the caller ends. It makes no request.
func (f *snapshotFlags) connect(ctx context.Context, warnings io.Writer) (context.Context, context.CancelFunc, *cluster, error) {
	if err := checkTimeout(f.timeout); err != nil {
		return nil, nil, nil, err
	}
	target, err := f.cluster.connect(f.timeout, warnings)
	if err != nil {
		return nil, nil, nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, f.timeout, fmt.Errorf("it was not done within --timeout %s", f.timeout))
	return ctx, cancel, target, nil
}

// store is where the cluster keeps its snapshots.
func (f *snapshotFlags) store(target *cluster) *snapshot.Store {
	return snapshot.NewStore(target.client, snapshot.Options{Namespace: f.namespace, Operator: toolName()})
}

// toolName is what makes snapshots with this tool.
func toolName() string { return "flux-operator-cli/" + VERSION }
