package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/inventory"
	"github.com/flux-autopilot/flux-operator/pkg/render"
	"github.com/flux-autopilot/flux-operator/pkg/version"
)

// errDifferent is what diff ends with when it found changes: an outcome, of which the output has told already.
var errDifferent = errors.New("the cluster differs")

func newDiffCommand() *cobra.Command {
	diff := &cobra.Command{
		Use:         "diff",
		Short:       "Print what the operator would change in a cluster",
		Annotations: map[string]string{failureCode: "2"},
		Args:        cobra.NoArgs,
		RunE:        help,
	}
	diff.AddCommand(newDiffInstanceCommand())
	return diff
}

type diffInstance struct {
	source  source
	cluster clusterFlags
	timeout time.Duration
	unified bool
}

func newDiffInstanceCommand() *cobra.Command {
	var options diffInstance
	cmd := &cobra.Command{
		Use:   "instance",
		Short: "Print what applying a FluxInstance would change in a cluster",
		Long: `Print what applying a FluxInstance would change in the cluster of the current kubeconfig. Nothing is changed.

The instance is checked and rendered as build instance does, and also against what runs in the cluster: its Kubernetes
version, and the Flux version that must not go back to an older minor. Then each object is sent to the API server as a
server-side apply dry run, in the name of the operator. One line is printed for each object, in the order of application:

  create     the object is not there; custom resources whose definition is not installed yet are among these
  configure  the object is there and would change
  unchanged  the object is there as it should be
  delete     the object belongs to the running instance and is no longer wanted

Deleted are only objects that the operator would delete: those that carry its labels and are not annotated
fluxcd.controlplane.io/prune: disabled. The FluxInstance itself is not listed. What a dry run cannot tell is not shown:
that the operator removes fields set with kubectl or Helm, and that it leaves replicas to an autoscaler.

What the operator hands on from its own environment, a proxy, authorities and the images of its bundle, is learnt from its
Deployment in the namespace of the instance. Where that cannot be read the output says so on standard error, and what is
handed on shows up as if it would be taken away.

The dry runs need the permissions to read and to patch the objects.

Exit codes: 0 nothing would change, 1 something would change, 2 there was an error.`,
		Example: `  # What would change?
  flux-operator diff instance -f flux.yaml --distribution dist/distribution

  # What would the newest artifact in the registry change?
  flux-operator diff instance -f flux.yaml --distribution oci://registry.example.com/flux/flux-operator-manifests

  # Line by line, in another cluster. Values of Secrets are hidden.
  flux-operator diff instance -f flux.yaml --context production --unified

  # Fail a pipeline on errors only.
  flux-operator diff instance -f flux.yaml || [ $? -eq 1 ]`,
		Annotations: map[string]string{failureCode: "2"},
		Args:        cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return options.run(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	options.source.bind(cmd)
	options.cluster.bind(cmd)
	cmd.Flags().DurationVar(&options.timeout, "timeout", time.Minute, "how long all requests together may take")
	cmd.Flags().BoolVar(&options.unified, "unified", false, "print a unified diff below each object that would change")
	return cmd
}

func (d diffInstance) run(ctx context.Context, in io.Reader, out, warnings io.Writer) error {
	if err := checkTimeout(d.timeout); err != nil {
		return err
	}
	instance, opened, err := d.source.open(ctx, in)
	if err != nil {
		return err
	}
	defer opened.Close()
	if instance.IsDisabled() {
		fmt.Fprintf(warnings, "nothing would change: reconciliation is disabled by the annotation %s\n", v1.ReconcileAnnotation)
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, d.timeout, fmt.Errorf("the cluster did not answer within --timeout %s", d.timeout))
	defer cancel()
	target, err := d.cluster.connect(d.timeout, warnings)
	if err != nil {
		return err
	}
	running, err := target.running(ctx, instance)
	if err != nil {
		return inTime(ctx, err)
	}
	there, err := target.known(ctx, instance, running, warnings)
	if err != nil {
		return inTime(ctx, err)
	}
	set, err := buildSet(opened.Catalog, instance, there)
	if err != nil {
		return fmt.Errorf("building %q: %w", d.source.file, err)
	}
	stale := running.owned.Minus(inventory.Of(set.Objects))
	changes, err := target.compare(ctx, instance, set.Objects, stale.Objects())
	different, writeErr := d.report(out, changes)
	if err := errors.Join(inTime(ctx, err), writeErr); err != nil {
		return err
	}
	if different {
		return errDifferent
	}
	return nil
}

// report prints the changes and tells whether there is one that changes anything.
func (d diffInstance) report(out io.Writer, changes []change) (different bool, err error) {
	for _, c := range changes {
		if _, err := fmt.Fprintf(out, "%-9s %s\n", c.action, describe(c.object)); err != nil {
			return different, err
		}
		if c.action == unchanged {
			continue
		}
		different = true
		if !d.unified {
			continue
		}
		if err := writeUnified(out, c); err != nil {
			return different, err
		}
	}
	return different, nil
}

// running is what is known of the instance in the cluster; the zero value is that of none.
type running struct {
	version string
	owned   inventory.Inventory
}

func readRunning(live *v1.FluxInstance) (running, error) {
	owned, err := inventory.FromStatus(live.Status.Inventory)
	if err != nil {
		return running{}, fmt.Errorf("reading status.inventory of the live instance: %w", err)
	}
	if live.Status.LastAppliedRevision == "" {
		return running{owned: owned}, nil
	}
	revision, err := version.ParseRevision(live.Status.LastAppliedRevision)
	if err != nil {
		return running{}, fmt.Errorf("reading status.lastAppliedRevision of the live instance: %w", err)
	}
	return running{version: revision.Version, owned: owned}, nil
}

// known asks the cluster what the operator would know of it. What cannot be learnt of the operator itself is told, and left out.
func (c *cluster) known(ctx context.Context, instance *v1.FluxInstance, running running, told io.Writer) (known, error) {
	there := known{running: running.version}
	text, err := c.discovery.RESTClient().Get().AbsPath("/version").Do(ctx).Raw()
	if err != nil {
		return there, fmt.Errorf("asking for the Kubernetes version: %w", err)
	}
	var answer struct {
		GitVersion string `json:"gitVersion"`
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return there, fmt.Errorf("asking for the Kubernetes version: %w", err)
	}
	there.facts.KubernetesVersion = answer.GitVersion
	kind, err := c.kind(ctx)
	if err != nil {
		return there, err
	}
	there.platform, err = c.handedOn(ctx, instance.Namespace, kind)
	if err != nil && ctx.Err() != nil {
		return there, err
	}
	if err != nil {
		fmt.Fprintf(told, "what the operator hands on from its own environment is left out, and shows up as if it would be taken away: %v\n", err)
		there.platform = render.Platform{}
	}
	there.platform.Type = kind
	return there, nil
}

// kind is the type of the cluster where it is OpenShift, else empty.
func (c *cluster) kind(ctx context.Context) (string, error) {
	err := c.discovery.RESTClient().Get().AbsPath("/apis/" + render.OpenShiftGroup).Do(ctx).Error()
	if apierrors.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("asking for the API group %q: %w", render.OpenShiftGroup, err)
	}
	return openshift, nil
}
