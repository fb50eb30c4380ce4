package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// components are all controllers that an instance can ask for.
var components = []v1.Component{
	v1.SourceController, v1.KustomizeController, v1.HelmController, v1.NotificationController,
	v1.ImageReflectorController, v1.ImageAutomationController, v1.SourceWatcher,
}

const versionLabel = "app.kubernetes.io/version"

// errNoFlux is what an empty namespace gives.
var errNoFlux = errors.New("no controller of Flux is there")

// derive makes an instance from the Flux that runs in a namespace. What an instance cannot say is told and left out.
func (c *cluster) derive(ctx context.Context, namespace string, told io.Writer) (*v1.FluxInstance, error) {
	instance := &v1.FluxInstance{}
	instance.Name, instance.Namespace = v1.DefaultInstanceName, namespace
	spec := &instance.Spec
	spec.Cluster = &v1.Cluster{}
	kustomization := client.ObjectKey{Namespace: namespace, Name: namespace}
	for _, component := range components {
		deployment, err := c.get(ctx, schema.GroupKind{Group: "apps", Kind: "Deployment"}, client.ObjectKey{Namespace: namespace, Name: string(component)})
		if err != nil {
			return nil, err
		}
		if deployment == nil {
			continue
		}
		spec.Components = append(spec.Components, component)
		describeDistribution(&spec.Distribution, deployment)
		if hasArg(deployment, "--no-cross-namespace-refs=true") {
			spec.Cluster.Multitenant = true
		}
		if name := deployment.GetLabels()["kustomize.toolkit.fluxcd.io/name"]; name != "" {
			kustomization.Name = name
		}
	}
	if len(spec.Components) == 0 {
		return nil, fmt.Errorf("looking for Flux in namespace %q: %w; name another with -n, or an instance with -f", namespace, errNoFlux)
	}
	if spec.Distribution.Version == "" {
		spec.Distribution.Version = "2.x"
		fmt.Fprintf(told, "the objects do not tell their release: spec.distribution.version is a guess\n")
	}
	policy, err := c.get(ctx, schema.GroupKind{Group: "networking.k8s.io", Kind: "NetworkPolicy"}, client.ObjectKey{Namespace: namespace, Name: "allow-egress"})
	if err != nil {
		return nil, err
	}
	spec.Cluster.NetworkPolicy = policy != nil
	spec.Sync, err = c.deriveSync(ctx, kustomization, told)
	return instance, err
}

// describeDistribution notes the minor and the registry of a controller.
func describeDistribution(distribution *v1.Distribution, deployment *unstructured.Unstructured) {
	numbers := strings.Split(strings.TrimPrefix(deployment.GetLabels()[versionLabel], "v"), ".")
	if distribution.Version == "" && len(numbers) >= 3 {
		distribution.Version = numbers[0] + "." + numbers[1] + ".x"
	}
	for _, container := range containersOf(deployment) {
		if image, _ := container["image"].(string); distribution.Registry == "" && strings.Contains(image, "/") {
			distribution.Registry = path.Dir(image)
		}
	}
}

// hasArg tells whether the first container is started with an argument.
func hasArg(deployment *unstructured.Unstructured, arg string) bool {
	for _, container := range containersOf(deployment) {
		args, _, _ := unstructured.NestedStringSlice(container, "args")
		if slices.Contains(args, arg) {
			return true
		}
	}
	return false
}

// containersOf returns the containers of a Deployment.
func containersOf(deployment *unstructured.Unstructured) []map[string]any {
	list, _, _ := unstructured.NestedSlice(deployment.Object, "spec", "template", "spec", "containers")
	containers := make([]map[string]any, 0, len(list))
	for _, item := range list {
		if container, ok := item.(map[string]any); ok {
			containers = append(containers, container)
		}
	}
	return containers
}

// deriveSync describes the Kustomization that bootstrap made, and its source; nil where there is none, or none that an instance can describe.
func (c *cluster) deriveSync(ctx context.Context, key client.ObjectKey, told io.Writer) (*v1.Sync, error) {
	kustomization, err := c.get(ctx, schema.GroupKind{Group: "kustomize.toolkit.fluxcd.io", Kind: "Kustomization"}, key)
	if err != nil || kustomization == nil {
		return nil, err
	}
	text := func(obj *unstructured.Unstructured, fields ...string) string {
		value, _, _ := unstructured.NestedString(obj.Object, append([]string{"spec"}, fields...)...)
		return value
	}
	sync := &v1.Sync{Name: key.Name, Kind: text(kustomization, "sourceRef", "kind"), Path: text(kustomization, "path")}
	source, err := c.get(ctx, schema.GroupKind{Group: "source.toolkit.fluxcd.io", Kind: sync.Kind}, client.ObjectKey{Namespace: key.Namespace, Name: text(kustomization, "sourceRef", "name")})
	if err != nil {
		return nil, err
	}
	if source == nil || source.GetName() != key.Name || text(kustomization, "sourceRef", "namespace") != "" && text(kustomization, "sourceRef", "namespace") != key.Namespace {
		fmt.Fprintf(told, "spec.sync is left out: Kustomization %q has no source of the same name in its namespace\n", key)
		return nil, nil //nolint:nilnil // there is none that could be described
	}
	sync.URL, sync.Ref = text(source, "url"), refOf(source)
	if sync.Kind == "Bucket" {
		sync.URL, sync.Ref = text(source, "endpoint"), text(source, "bucketName")
	}
	if sync.Ref == "" || sync.URL == "" {
		fmt.Fprintf(told, "spec.sync is left out: %s %q follows no branch and no tag\n", sync.Kind, key)
		return nil, nil //nolint:nilnil // there is none that could be described
	}
	sync.PullSecret, sync.Provider = text(source, "secretRef", "name"), text(source, "provider")
	if interval, err := time.ParseDuration(text(source, "interval")); err == nil {
		sync.Interval = &metav1.Duration{Duration: interval}
	}
	return sync, nil
}

// refOf returns what a source follows as an instance writes it, empty where it cannot.
func refOf(source *unstructured.Unstructured) string {
	ref, _, _ := unstructured.NestedStringMap(source.Object, "spec", "ref")
	git := source.GetKind() == "GitRepository"
	switch {
	case ref["semver"] != "" || ref["commit"] != "" || ref["digest"] != "":
		return ""
	case ref["name"] != "":
		return ref["name"]
	case git && ref["tag"] != "":
		return "refs/tags/" + ref["tag"]
	case git && ref["branch"] != "":
		return "refs/heads/" + ref["branch"]
	case git:
		return "refs/heads/master" // what Flux follows where nothing is said
	case ref["tag"] != "":
		return ref["tag"]
	}
	return "latest"
}

// get reads an object in the version that the cluster prefers, nil if there is none.
func (c *cluster) get(ctx context.Context, kind schema.GroupKind, key client.ObjectKey) (*unstructured.Unstructured, error) {
	mapping, err := c.client.RESTMapper().RESTMapping(kind)
	if apimeta.IsNoMatchError(err) {
		return nil, nil //nolint:nilnil // a kind that is not installed has no objects
	}
	if err != nil {
		return nil, fmt.Errorf("looking for %s %q: %w", kind.Kind, key, err)
	}
	live := &unstructured.Unstructured{}
	live.SetGroupVersionKind(mapping.GroupVersionKind)
	err = c.client.Get(ctx, key, live)
	if apierrors.IsNotFound(err) {
		return nil, nil //nolint:nilnil // that it is not there is an answer
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s %q: %w", kind.Kind, key, err)
	}
	return live, nil
}
