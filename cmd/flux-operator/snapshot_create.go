package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/artifact"
	"github.com/flux-autopilot/flux-operator/pkg/snapshot"
)

type createSnapshot struct {
	flags    snapshotFlags
	registry registryFlags
	to       string
}

func newSnapshotCreateCommand() *cobra.Command {
	var options createSnapshot
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Save the FluxInstance and all Flux custom resources of a cluster",
		Long: `Save the FluxInstance and all Flux custom resources of the cluster of the current kubeconfig.

Without --to the snapshot is stored in the cluster, where it counts among those that spec.snapshots.keep of the FluxInstance keeps:
older ones are removed. Where there is no FluxInstance, or it keeps none, nothing is removed. With --to it goes into a file, which
must not be there, or into a registry, with the credentials of docker login: $DOCKER_CONFIG/config.json, else
~/.docker/config.json, and the helpers it names.

Secrets are not read. Keep them in Git, encrypted, or in a store of their own.

The name of the snapshot, the file, or the address with its digest is printed.`,
		Example: `  # Before a change that may go wrong.
  flux-operator snapshot create

  # Every night, somewhere else.
  flux-operator snapshot create --to oci://registry.example.com/flux/snapshots:$(date +%F)

  # Look into one.
  flux-operator snapshot create --to flux.snapshot && zcat flux.snapshot | jq -c 'select(.kind) | [.kind, .metadata.namespace, .metadata.name]'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return options.run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	options.flags.bind(cmd, 10*time.Minute)
	options.registry.bind(cmd)
	cmd.Flags().StringVar(&options.to, "to", "", "file or oci:// address to save the snapshot at, instead of in the cluster")
	must(cmd.MarkFlagFilename("to"))
	return cmd
}

func (c createSnapshot) run(ctx context.Context, out, told io.Writer) error {
	ctx, cancel, target, err := c.flags.connect(ctx, told)
	if err != nil {
		return err
	}
	defer cancel()
	flux, keep, err := c.instance(ctx, target)
	if err != nil {
		return inTime(ctx, err)
	}
	save := c.file
	switch {
	case c.to == "":
		save = func(ctx context.Context, target *cluster, flux string) (string, error) {
			return c.store(ctx, target, flux, keep, told)
		}
	case strings.HasPrefix(c.to, scheme):
		save = c.publish
	}
	place, err := save(ctx, target, flux)
	if err != nil {
		return inTime(ctx, err)
	}
	_, err = fmt.Fprintln(out, place)
	return err
}

// instance tells which release runs, and how many snapshots are kept. That there is no instance is no error, nor that its kind is not installed:
// the others are worth saving, before the operator takes them over, too. Nobody has said then how many are to be kept, and none is removed.
func (c createSnapshot) instance(ctx context.Context, target *cluster) (flux string, keep int, err error) {
	live := &v1.FluxInstance{}
	err = target.client.Get(ctx, client.ObjectKey{Namespace: c.flags.namespace, Name: v1.DefaultInstanceName}, live)
	if apierrors.IsNotFound(err) || apimeta.IsNoMatchError(err) {
		return "", 0, nil
	}
	if err != nil {
		return "", 0, fmt.Errorf("reading the FluxInstance: %w", err)
	}
	running, err := readRunning(live)
	return running.version, live.KeptSnapshots(), err
}

// store saves in the cluster, and removes what is not kept any more. Where no operator keeps any, all of them are somebody's own.
func (c createSnapshot) store(ctx context.Context, target *cluster, flux string, keep int, told io.Writer) (string, error) {
	store := c.flags.store(target)
	stored, err := store.Create(ctx, snapshot.Order{Flux: flux})
	if err != nil {
		return "", err
	}
	fmt.Fprintf(told, "saved %d objects, %s\n", stored.Objects, size(int64(stored.Size)))
	if keep == 0 {
		return stored.Name, nil
	}
	removed, err := store.Prune(ctx, keep)
	for _, name := range removed {
		fmt.Fprintf(told, "removed the older %s\n", name)
	}
	if err != nil {
		return "", fmt.Errorf("%q is saved; removing older ones: %w", stored.Name, err)
	}
	return stored.Name, nil
}

// file saves into a file that is not there yet.
func (c createSnapshot) file(ctx context.Context, target *cluster, flux string) (string, error) {
	file, err := os.OpenFile(c.to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", fmt.Errorf("--to: %w", err)
	}
	err = c.take(ctx, target, flux, file)
	if err := errors.Join(err, file.Close()); err != nil {
		return "", errors.Join(err, os.Remove(c.to))
	}
	return c.to, nil
}

// publish saves into a registry.
func (c createSnapshot) publish(ctx context.Context, target *cluster, flux string) (string, error) {
	ref, err := artifact.ParseReference(c.to)
	if err != nil {
		return "", fmt.Errorf("--to: %w", err)
	}
	access, err := c.registry.access()
	if err != nil {
		return "", err
	}
	var taken bytes.Buffer
	if err := c.take(ctx, target, flux, &taken); err != nil {
		return "", err
	}
	content := artifact.Content{ArtifactType: snapshot.ArtifactType, MediaType: snapshot.MediaType, Data: taken.Bytes()}
	ref.Digest, err = artifact.PushContent(ctx, content, ref, access, map[string]string{
		"org.opencontainers.image.created": time.Now().UTC().Format(time.RFC3339), "org.opencontainers.image.title": "flux.snapshot",
	})
	return ref.String(), err
}

// take writes a snapshot.
func (c createSnapshot) take(ctx context.Context, target *cluster, flux string, out io.Writer) error {
	_, err := snapshot.Take(ctx, target.client, &bounded{out: out, left: snapshot.MaxSize}, snapshot.Request{
		Header: snapshot.Header{Created: time.Now(), Operator: toolName(), Flux: flux}, Namespace: c.flags.namespace,
	})
	return err
}

// bounded refuses more than can be read again.
type bounded struct {
	out  io.Writer
	left int
}

// Write implements io.Writer.
func (b *bounded) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return 0, fmt.Errorf("the snapshot has more than %s", size(snapshot.MaxSize))
	}
	return b.out.Write(p)
}
