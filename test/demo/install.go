package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/test/site"
)

const (
	// installLimit bounds each wait; a quiet machine needs a tenth of it.
	installLimit = 3 * time.Minute
	// syncInterval is how often Flux looks at the repository here; the README's instance keeps the default of a minute.
	syncInterval = 5 * time.Second
)

func (d *demo) cluster(ctx context.Context, opts site.Options) error {
	s, err := site.Up(ctx, opts)
	if err != nil {
		return err
	}
	d.site = s
	return d.kubectl(ctx, "get", "nodes")
}

func (d *demo) operator(ctx context.Context) error {
	d.out.command([]string{"kubectl", "apply", "--server-side", "-k", "config/default"})
	if err := d.site.InstallOperator(ctx); err != nil {
		return err
	}
	return d.kubectl(ctx, "-n", site.Namespace, "get", "pods")
}

func (d *demo) repository(context.Context) error {
	files, err := site.FirstState().Files()
	if err != nil {
		return err
	}
	d.out.sayf("%s holds", d.site.FleetURL())
	for _, name := range slices.Sorted(maps.Keys(files)) {
		d.out.sayf("  %s", name)
		if path.Base(name) == "configmap.yaml" {
			d.out.quiet(indented(files[name]))
		}
	}
	return nil
}

func indented(text string) string {
	var out []byte
	for line := range slices.Values(lines(text)) {
		out = append(out, "      "+line+"\n"...)
	}
	return string(out)
}

// instance applies the README's instance as it is printed.
func (d *demo) instance(ctx context.Context) error {
	instance, err := d.site.Sample()
	if err != nil {
		return err
	}
	instance.Spec.Sync.Interval = &metav1.Duration{Duration: syncInterval}
	manifest, err := manifestOf(instance)
	if err != nil {
		return err
	}
	d.out.quiet(manifest)
	return d.kubectlWith(ctx, manifest, "apply", "-f", "-")
}

// manifestOf writes an instance as somebody would write it: without what the API server fills in.
func manifestOf(instance *v1.FluxInstance) (string, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(instance)
	if err != nil {
		return "", fmt.Errorf("converting the instance: %w", err)
	}
	unstructured.RemoveNestedField(content, "status")
	unstructured.RemoveNestedField(content, "metadata", "creationTimestamp")
	data, err := yaml.Marshal(content)
	if err != nil {
		return "", fmt.Errorf("encoding the instance: %w", err)
	}
	return string(data), nil
}

// install tells what becomes ready, when it does, until the instance and the repository's workload are.
func (d *demo) install(ctx context.Context) error {
	told := map[string]bool{}
	tell := func(what string) {
		if !told[what] {
			told[what] = true
			d.out.notef("%s", what)
		}
	}
	err := d.site.Await(ctx, installLimit, "the FluxInstance to be ready", func(ctx context.Context) error {
		deployments := &appsv1.DeploymentList{}
		if err := d.site.Client.List(ctx, deployments); err != nil {
			return err
		}
		for i := range deployments.Items {
			if at := &deployments.Items[i]; at.Namespace != "kube-system" && at.Name != site.OperatorName && site.Available(at) == nil {
				tell(fmt.Sprintf("Deployment %s/%s is available", at.Namespace, at.Name))
			}
		}
		if revision := d.fetched(ctx); revision != "" {
			tell("Git is fetched: " + revision)
		}
		instance, err := d.site.Instance(ctx)
		if err != nil {
			return err
		}
		return site.Ready(instance)
	})
	if err != nil {
		return err
	}
	d.out.notef("the FluxInstance is ready")
	if err := d.site.AwaitDeployment(ctx, installLimit, site.WorkloadNamespace, site.Workload); err != nil {
		return err
	}
	return errors.Join(
		d.kubectl(ctx, "-n", site.Namespace, "get", "fluxinstance,gitrepository,kustomization"),
		d.kubectl(ctx, "-n", site.WorkloadNamespace, "get", "deployment,pod"),
		d.ask(ctx))
}

// fetched is the revision that source-controller has, if any.
func (d *demo) fetched(ctx context.Context) string {
	source := &unstructured.Unstructured{}
	source.SetGroupVersionKind(schema.GroupVersionKind{Group: "source.toolkit.fluxcd.io", Version: "v1", Kind: "GitRepository"})
	if err := d.site.Client.Get(ctx, client.ObjectKey{Namespace: site.Namespace, Name: site.Namespace}, source); err != nil {
		return ""
	}
	revision, _, _ := unstructured.NestedString(source.Object, "status", "artifact", "revision")
	return revision
}

// ask shows what the deployed app says. Its Service leads to a new pod a moment after that is available.
func (d *demo) ask(ctx context.Context) error {
	var said string
	err := d.site.Await(ctx, installLimit, "the app to answer", func(ctx context.Context) (err error) {
		said, err = d.answer(ctx)
		return err
	})
	d.out.command([]string{"curl", "http://" + site.Workload + "." + site.WorkloadNamespace})
	d.out.block(said)
	return err
}

func (d *demo) answer(ctx context.Context) (string, error) {
	return d.site.Cluster.Kubectl(ctx, "", "get", "--raw",
		fmt.Sprintf("/api/v1/namespaces/%s/services/http:%s:80/proxy/", site.WorkloadNamespace, site.Workload))
}
