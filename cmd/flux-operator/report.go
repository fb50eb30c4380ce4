package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// outputTable is the format for people.
const outputTable = "table"

// rewatchPause is the time between the end of one watch and the next one.
const rewatchPause = time.Second

type reportOptions struct {
	cluster   clusterFlags
	namespace string
	output    string
	timeout   time.Duration
	watch     bool
}

func newReportCommand() *cobra.Command {
	var options reportOptions
	cmd := &cobra.Command{
		Use:   "report",
		Short: "Print how Flux is in a cluster",
		Long: `Print how Flux is in the cluster of the current kubeconfig: what the operator wrote into the FluxReport, which is a few
seconds old at most. A warning says when no operator runs that keeps it so.

The table tells of the release, of each controller and of each kind of Flux objects, and names those that fail the
longest. Parts that the operator could not look at are marked as old; they tell what was true before.
It is coloured on a terminal, unless NO_COLOR is set.`,
		Example: `  # How is Flux?
  flux-operator report

  # Keep looking.
  flux-operator report --watch

  # Which objects fail?
  flux-operator report -o json | jq '.spec.failing'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return options.run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	options.cluster.bind(cmd)
	cmd.Flags().StringVarP(&options.namespace, "namespace", "n", v1.DefaultNamespace, "namespace that the operator runs in")
	cmd.Flags().DurationVar(&options.timeout, "timeout", 30*time.Second, "how long the cluster may take to answer")
	cmd.Flags().BoolVarP(&options.watch, "watch", "w", false, "print the report again whenever it changes, until interrupted")
	bindOutput(cmd, &options.output, "format: table, yaml or json", outputTable, outputYAML, outputJSON)
	return cmd
}

func (o reportOptions) run(ctx context.Context, out, warnings io.Writer) error {
	err := errors.Join(checkOutput(o.output, outputTable, outputYAML, outputJSON), checkTimeout(o.timeout))
	if err != nil {
		return err
	}
	timeout := o.timeout
	if o.watch {
		timeout = 0 // it would end the watch; the first answer is waited for as long as ever
	}
	target, err := o.cluster.connect(timeout, warnings)
	if err != nil {
		return err
	}
	found, err := o.read(ctx, target.client)
	if err != nil {
		return err
	}
	if err := errors.Join(o.warnOfSilence(ctx, target.client, warnings), o.print(out, found)); err != nil || !o.watch {
		return err
	}
	return o.follow(ctx, out, warnings, target.client, found)
}

// read gets the report.
func (o reportOptions) read(ctx context.Context, c client.Client) (*v1.FluxReport, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, o.timeout, fmt.Errorf("the cluster did not answer within --timeout %s", o.timeout))
	defer cancel()
	found := &v1.FluxReport{}
	err := inTime(ctx, c.Get(ctx, client.ObjectKey{Namespace: o.namespace, Name: v1.DefaultInstanceName}, found))
	if apierrors.IsNotFound(err) || apimeta.IsNoMatchError(err) {
		return nil, fmt.Errorf("there is no FluxReport in namespace %q: does the operator run there? Name its namespace with --namespace", o.namespace)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the FluxReport: %w", err)
	}
	found.SetGroupVersionKind(v1.GroupVersion.WithKind(v1.FluxReportKind))
	found.ManagedFields = nil
	return found, nil
}

// follow prints the report whenever it changes. A watch that the API server ends is begun anew, as one that cannot be begun while it is away.
func (o reportOptions) follow(ctx context.Context, out, warnings io.Writer, c client.WithWatch, last *v1.FluxReport) error {
	told := ""
	for ctx.Err() == nil {
		events, err := c.Watch(ctx, &v1.FluxReportList{}, client.InNamespace(o.namespace))
		switch {
		case err == nil:
			told = ""
			last, err = o.printEvents(out, events, last)
			events.Stop()
			if err != nil {
				return err
			}
		case apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) || apierrors.IsNotFound(err):
			return fmt.Errorf("watching the FluxReport: %w", err)
		case err.Error() != told && ctx.Err() == nil:
			told = err.Error()
			if _, err := fmt.Fprintf(warnings, "Warning: the cluster does not answer, it is asked again: %s\n", told); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(rewatchPause):
		}
	}
	return nil
}

func (o reportOptions) printEvents(out io.Writer, events watch.Interface, last *v1.FluxReport) (*v1.FluxReport, error) {
	for event := range events.ResultChan() {
		found, ok := event.Object.(*v1.FluxReport)
		if !ok || event.Type == watch.Deleted || found.ResourceVersion == last.ResourceVersion {
			continue
		}
		found.SetGroupVersionKind(v1.GroupVersion.WithKind(v1.FluxReportKind))
		found.ManagedFields = nil
		last = found
		if err := o.separate(out); err != nil {
			return last, err
		}
		if err := o.print(out, found); err != nil {
			return last, err
		}
	}
	return last, nil
}

// separate puts the next report over the last one on a terminal, and below it elsewhere.
func (o reportOptions) separate(out io.Writer) error {
	mark := map[string]string{outputYAML: "---\n", outputTable: "\n"}[o.output]
	if o.output == outputTable && isTerminal(out) {
		mark = "\x1b[H\x1b[2J"
	}
	_, err := io.WriteString(out, mark)
	return err
}

func (o reportOptions) print(out io.Writer, found *v1.FluxReport) error {
	switch o.output {
	case outputJSON:
		return writeJSON(out, found)
	case outputYAML:
		text, err := yaml.Marshal(found)
		if err != nil {
			return err
		}
		_, err = out.Write(text)
		return err
	default:
		table := &reportTable{out: out, coloured: isTerminal(out) && os.Getenv("NO_COLOR") == ""}
		table.write(found)
		return table.err
	}
}

// kinds are the reconcilers that have objects.
func kinds(spec v1.FluxReportSpec) []v1.FluxReconcilerStatus {
	return slices.DeleteFunc(slices.Clone(spec.ReconcilersStatus), func(r v1.FluxReconcilerStatus) bool {
		return r.Stats.Running+r.Stats.Suspended == 0
	})
}
