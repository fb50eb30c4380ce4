package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/flux-autopilot/flux-operator/pkg/artifact"
	"github.com/flux-autopilot/flux-operator/pkg/snapshot"
)

type restoreSnapshot struct {
	flags            snapshotFlags
	registry         registryFlags
	from             string
	dryRun           bool
	createNamespaces bool
	unified          bool
}

func newSnapshotRestoreCommand() *cobra.Command {
	var options restoreSnapshot
	cmd := &cobra.Command{
		Use:   "restore [NAME]",
		Short: "Put back what a snapshot holds",
		Long: `Put back what a snapshot holds into the cluster of the current kubeconfig. One line is printed for each object:

  created     the object was not there
  configured  the object was there and differed; it now is as it was saved
  unchanged   the object was there as it was saved, and was not written
  skipped     the object could not be put back: its kind is not served, and Flux does not bring it

Nothing is deleted: objects that came after the snapshot stay. Everything is checked with a dry run first, and nothing is changed
unless all of it passes. An object that was saved in an API version which is not served any more is put back in the version that
objects are stored in now, if it fits.

Where Flux is not installed any more, the operator must be. The instance is put back first, and the rest as soon as the operator
has installed Flux; what could not be checked before is checked then. The command may be run again after any error.

Objects of kinds that are still not served when the instance is ready, those of components that it does not have or of other
tools, hold up nothing: everything else is put back, they are skipped, and the command ends with an error that names their kinds.
Install what defines them and restore once more.

What Flux deploys is not in a snapshot, and Git has the last word: where a Kustomization deploys Flux objects from Git, these
become what Git says again.`,
		Example: `  # What would be put back?
  flux-operator snapshot list
  flux-operator snapshot restore flux-snapshot-20260301-120000-x7k2p --dry-run

  # What would be changed of the objects that are there, line by line?
  flux-operator snapshot restore flux-snapshot-20260301-120000-x7k2p --dry-run --unified

  # After a disaster: install the operator and create the Secrets first, then put back what was saved elsewhere.
  flux-operator snapshot restore --from oci://registry.example.com/flux/snapshots:2026-03-01 --create-namespaces`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return options.run(cmd.Context(), args, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	options.flags.bind(cmd, 15*time.Minute)
	options.registry.bind(cmd)
	flags.StringVar(&options.from, "from", "", "file or oci:// address with the snapshot, instead of the name of one in the cluster")
	flags.BoolVar(&options.dryRun, "dry-run", false, "print what would be put back, and change nothing")
	flags.BoolVar(&options.unified, "unified", false, "print a unified diff below each object that is configured")
	flags.BoolVar(&options.createNamespaces, "create-namespaces", false, "create the namespaces of saved objects that are not there")
	must(cmd.MarkFlagFilename("from"))
	return cmd
}

func (r restoreSnapshot) run(ctx context.Context, args []string, out, told io.Writer) error {
	if (len(args) == 1) == (r.from != "") {
		return errors.New("write either the name of a snapshot, see flux-operator snapshot list, or --from with a file or an oci:// address")
	}
	ctx, cancel, target, err := r.flags.connect(ctx, told)
	if err != nil {
		return err
	}
	defer cancel()
	content, err := r.open(ctx, target, args)
	if err != nil {
		return inTime(ctx, err)
	}
	var printErr error
	err = snapshot.Restore(ctx, target.client, content, snapshot.RestoreOptions{
		DryRun: r.dryRun, CreateNamespaces: r.createNamespaces,
		Report: func(change snapshot.Change) {
			if err := r.print(out, change); err != nil {
				printErr = err
			}
		},
		Waiting: func(kinds []string) { fmt.Fprintln(told, r.waiting(strings.Join(kinds, ", "))) },
	})
	if _, missing := errors.AsType[*snapshot.NamespacesError](err); missing {
		return fmt.Errorf("%w, or have them created with --create-namespaces", err)
	}
	return errors.Join(err, printErr)
}

// print writes what became of an object, and line by line what was or would be changed of it.
func (r restoreSnapshot) print(out io.Writer, changed snapshot.Change) error {
	if _, err := fmt.Fprintf(out, "%-10s %s%s\n", changed.Action, changed.Object, r.note()); err != nil {
		return err
	}
	if !r.unified || changed.Action != snapshot.Configured {
		return nil
	}
	return writeUnified(out, change{action: configure, object: changed.After, before: changed.Before, after: changed.After})
}

// note tells lines of a dry run from those of what was done.
func (r restoreSnapshot) note() string {
	if r.dryRun {
		return " (dry run)"
	}
	return ""
}

// waiting says that kinds are missing.
func (r restoreSnapshot) waiting(kinds string) string {
	if r.dryRun {
		return "not served yet are " + kinds + ": their objects are checked and put back once Flux has brought them, and skipped if it does not"
	}
	return "the FluxInstance is back; waiting until Flux brings " + kinds
}

// open reads the snapshot from where it is.
func (r restoreSnapshot) open(ctx context.Context, target *cluster, args []string) ([]byte, error) {
	switch {
	case r.from == "":
		return r.flags.store(target).Open(ctx, args[0])
	case strings.HasPrefix(r.from, scheme):
		return r.pull(ctx)
	}
	file, err := os.Open(r.from)
	if err != nil {
		return nil, fmt.Errorf("--from: %w", err)
	}
	defer file.Close()
	return readBounded(r.from, file, snapshot.MaxSize)
}

func (r restoreSnapshot) pull(ctx context.Context) ([]byte, error) {
	ref, err := artifact.ParseReference(r.from)
	if err != nil {
		return nil, fmt.Errorf("--from: %w", err)
	}
	access, err := r.registry.access()
	if err != nil {
		return nil, err
	}
	return artifact.PullContent(ctx, ref, access, snapshot.MediaType, snapshot.MaxSize)
}
