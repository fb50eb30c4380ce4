package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/migrate"
)

type adopt struct {
	source  source
	cluster clusterFlags
	timeout time.Duration
	dryRun  bool
	output  string
	// overrideManagers are those that the operator is told to take fields over from, besides those that it knows.
	overrideManagers []string
}

func newAdoptCommand() *cobra.Command {
	var options adopt
	cmd := &cobra.Command{
		Use:   "adopt",
		Short: "Let the operator take over the Flux of a cluster",
		Long: `Let the operator take over the Flux of the cluster of the current kubeconfig, whoever installed it: flux bootstrap or
flux install, Helm, Terraform, Argo CD or kubectl. The operator must be installed.

Nothing is deleted or recreated, and a controller restarts once at most, for its new release or settings. Field ownership moves
object by object, and the former tool is told to let go where it can be told; for the rest, the report says what to do.

With --dry-run nothing is changed. The report says who manages the objects now, which settings of theirs the instance does not
have and would lose, which objects spec.adoption.collisions refuses, and which objects are stored in old API versions. Move the
settings into the instance, spec.kustomize.patches for most of them, until nothing is listed that matters. Where the operator is
started with --override-manager, give this command the same: settings of those managers would be lost, too.

Without -f an instance is made from what is found: the minor of Flux, the controllers, network policies, multi-tenancy, and the
sync that bootstrap made. It is printed, as a start for a file of your own. With -f the given instance is used.

Without --dry-run the instance is applied and the command waits until Flux is ready.`,
		Example: `  # What runs here, and what would taking it over mean?
  flux-operator adopt --dry-run

  # Write the instance down, edit it, and look again.
  flux-operator adopt --dry-run > flux.yaml
  flux-operator adopt --dry-run -f flux.yaml

  # Let the operator take over.
  flux-operator adopt -f flux.yaml

  # Fail a pipeline if settings would be lost.
  flux-operator adopt --dry-run -f flux.yaml -o json | jq -e '(.losses // []) == []'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return options.run(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	options.source.bindOptional(cmd)
	options.cluster.bind(cmd)
	cmd.Flags().BoolVar(&options.dryRun, "dry-run", false, "report what would be taken over and what would be lost, and change nothing")
	cmd.Flags().StringSliceVar(&options.overrideManagers, "override-manager", nil,
		"further field manager that the operator takes fields over from, as its own flag says; repeatable")
	cmd.Flags().DurationVar(&options.timeout, "timeout", 10*time.Minute, "how long everything together may take")
	bindOutput(cmd, &options.output, "text, yaml or json: how the report is written", outputText, outputYAML, outputJSON)
	return cmd
}

func (a adopt) run(ctx context.Context, in io.Reader, out, told io.Writer) error {
	if err := errors.Join(checkTimeout(a.timeout), checkOutput(a.output, outputText, outputYAML, outputJSON)); err != nil {
		return err
	}
	target, err := a.cluster.connect(a.timeout, told)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, a.timeout, fmt.Errorf("it was not done within --timeout %s", a.timeout))
	defer cancel()
	instance, err := a.instance(ctx, target, in, told)
	if err != nil {
		return inTime(ctx, err)
	}
	if a.source.file == "" && a.output == outputText {
		if err := printInstance(out, instance); err != nil {
			return err
		}
	}
	if a.dryRun {
		report, err := a.survey(ctx, target, instance, told)
		if err != nil {
			return inTime(ctx, err)
		}
		return a.print(a.reportTo(out, told), report)
	}
	return a.apply(ctx, target, instance, out, told)
}

// reportTo returns where the report goes: beside a printed instance, which is to be redirected into a file.
func (a adopt) reportTo(out, told io.Writer) io.Writer {
	if a.source.file == "" && a.output == outputText {
		return told
	}
	return out
}

// instance reads the given instance, or makes one from what is found.
func (a adopt) instance(ctx context.Context, target *cluster, in io.Reader, told io.Writer) (*v1.FluxInstance, error) {
	if a.source.file == "" {
		return a.found(ctx, target, told)
	}
	content, err := readFile(a.source.file, in)
	if err != nil {
		return nil, err
	}
	instance, err := readInstance(ctx, content, a.source.namespace)
	if err != nil {
		return nil, fmt.Errorf("reading %q: %w", a.source.file, err)
	}
	return instance, nil
}

// found returns the instance of the cluster, or one that describes the Flux which runs there. The former is not applied once more.
func (a adopt) found(ctx context.Context, target *cluster, told io.Writer) (*v1.FluxInstance, error) {
	live := &v1.FluxInstance{}
	key := client.ObjectKey{Namespace: a.source.namespace, Name: v1.DefaultInstanceName}
	err := target.client.Get(ctx, key, live)
	if apierrors.IsNotFound(err) || apimeta.IsNoMatchError(err) {
		return target.derive(ctx, a.source.namespace, told)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the live FluxInstance: %w", err)
	}
	if !a.dryRun {
		return nil, fmt.Errorf("FluxInstance %q is there already, and takes over what it finds; change it with kubectl, or with -f", key)
	}
	return live, nil
}

// printInstance writes what a user would write.
func printInstance(out io.Writer, instance *v1.FluxInstance) error {
	text, err := yaml.Marshal(map[string]any{
		"apiVersion": v1.GroupVersion.String(), "kind": v1.FluxInstanceKind,
		"metadata": map[string]any{"name": instance.Name, "namespace": instance.Namespace},
		"spec":     instance.Spec,
	})
	if err != nil {
		return err
	}
	_, err = out.Write(text)
	return err
}

// survey does what the operator does before it takes over.
func (a adopt) survey(ctx context.Context, target *cluster, instance *v1.FluxInstance, told io.Writer) (*v1.AdoptionStatus, error) {
	opened, err := a.source.origin.open(ctx)
	if err != nil {
		return nil, err
	}
	defer opened.Close()
	running, err := target.running(ctx, instance)
	if err != nil {
		return nil, err
	}
	there, err := target.known(ctx, instance, running, told)
	if err != nil {
		return nil, err
	}
	set, err := buildSet(opened.Catalog, instance, there)
	if err != nil {
		return nil, fmt.Errorf("building the instance: %w", err)
	}
	var wanted []*unstructured.Unstructured
	for _, obj := range set.Objects {
		if !running.owned.Has(obj) {
			wanted = append(wanted, obj)
		}
	}
	return a.look(ctx, target, instance, wanted)
}

// look surveys what there is of the wanted objects.
func (a adopt) look(ctx context.Context, target *cluster, instance *v1.FluxInstance, wanted []*unstructured.Unstructured) (*v1.AdoptionStatus, error) {
	migrator := migrate.New(target.client, migrate.Options{Concurrency: concurrency})
	definitions, err := migrate.Definitions(wanted)
	if err != nil {
		return nil, err
	}
	found := migrate.Found{Wanted: wanted, Managers: a.overrideManagers}
	if found.Definitions, err = migrator.Live(ctx, definitions); err != nil {
		return nil, err
	}
	if found.Live, err = migrator.Existing(ctx, wanted); err != nil {
		return nil, err
	}
	report := migrate.Survey(instance, found)
	report.ObservedAt = metav1.NewTime(time.Now().Truncate(time.Second))
	return report, nil
}
