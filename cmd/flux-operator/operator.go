package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-autopilot/flux-operator/pkg/render"
)

// The Deployment of the operator and the container in it, however it was installed.
const (
	operatorName      = "flux-operator"
	operatorContainer = "manager"
)

// openshift is the type of a cluster, as spec.cluster.type names it.
const openshift = "openshift"

// settings are what the operator was told about what it hands on.
type settings struct {
	platform  render.Platform
	trustedCA string
}

// handedOn asks the cluster what the operator in a namespace hands on to the controllers from its own environment.
func (c *cluster) handedOn(ctx context.Context, namespace, kind string) (render.Platform, error) {
	deployment := &appsv1.Deployment{}
	if err := c.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: operatorName}, deployment); err != nil {
		return render.Platform{}, fmt.Errorf("reading Deployment %s/%s: %w", namespace, operatorName, err)
	}
	told, err := readSettings(deployment)
	if err != nil {
		return render.Platform{}, fmt.Errorf("reading Deployment %s/%s: %w", namespace, operatorName, err)
	}
	told.platform.TrustedCA, err = c.trustedCA(ctx, namespace, told.trustedCA, kind)
	return told.platform, err
}

// readSettings reads flags and variables as the operator does: a variable wins.
func readSettings(deployment *appsv1.Deployment) (settings, error) {
	containers := deployment.Spec.Template.Spec.Containers
	at := slices.IndexFunc(containers, func(c corev1.Container) bool { return c.Name == operatorContainer })
	if at < 0 {
		return settings{}, fmt.Errorf("it has no container %q", operatorContainer)
	}
	container := containers[at]
	if len(container.EnvFrom) > 0 {
		return settings{}, fmt.Errorf("container %q takes variables from elsewhere with envFrom", container.Name)
	}
	flags := pflag.NewFlagSet(operatorName, pflag.ContinueOnError)
	flags.ParseErrorsAllowlist.UnknownFlags = true
	trustedCA := flags.String("trusted-ca", render.AutomaticTrustedCA, "")
	propagate := flags.Bool("propagate-proxy", true, "")
	if err := flags.Parse(container.Args); err != nil {
		return settings{}, fmt.Errorf("container %q: %w", container.Name, err)
	}
	env := variables(container.Env)
	if name, _ := env.lookup("TRUSTED_CA"); name != "" {
		*trustedCA = name
	}
	if text, _ := env.lookup("PROPAGATE_PROXY"); text != "" {
		if err := flags.Set("propagate-proxy", text); err != nil {
			return settings{}, fmt.Errorf("environment variable PROPAGATE_PROXY: %w", err)
		}
	}
	told := settings{trustedCA: *trustedCA, platform: render.Platform{Images: render.RelatedImagesFromEnvironment(env.lookup)}}
	if *propagate {
		told.platform.Proxy = render.ProxyFromEnvironment(env.lookup)
	}
	if len(env.hidden) > 0 {
		return settings{}, fmt.Errorf("container %q does not say itself what is in %s", container.Name, strings.Join(env.hidden, ", "))
	}
	return told, nil
}

// environment is what a process finds in its variables, as far as its container tells.
type environment struct {
	values map[string]string
	opaque map[string]bool
	// hidden are the variables that were asked for and whose values are not told.
	hidden []string
}

func variables(list []corev1.EnvVar) *environment {
	env := &environment{values: map[string]string{}, opaque: map[string]bool{}}
	for _, variable := range list {
		env.values[variable.Name] = strings.ReplaceAll(variable.Value, "$$", "$")
		env.opaque[variable.Name] = variable.ValueFrom != nil || strings.Contains(variable.Value, "$(")
	}
	return env
}

func (e *environment) lookup(name string) (string, bool) {
	if e.opaque[name] {
		e.hidden = append(e.hidden, name)
	}
	value, found := e.values[name]
	return value, found
}

// trustedCA finds what the operator would, by its setting and the type of the cluster.
func (c *cluster) trustedCA(ctx context.Context, namespace, name, kind string) (render.TrustedCA, error) {
	trusted := render.TrustedCA{ConfigMap: name}
	switch name {
	case render.NoTrustedCA:
		return render.TrustedCA{}, nil
	case render.AutomaticTrustedCA:
		if kind != openshift {
			return render.TrustedCA{}, nil
		}
		proxy, err := c.get(ctx, schema.GroupKind{Group: "config.openshift.io", Kind: "Proxy"}, client.ObjectKey{Name: "cluster"})
		if proxy == nil || err != nil {
			return render.TrustedCA{}, err
		}
		if named, _, _ := unstructured.NestedString(proxy.Object, "spec", "trustedCA", "name"); named == "" {
			return render.TrustedCA{}, nil
		}
		trusted = render.TrustedCA{ConfigMap: render.ClusterCA, Filled: true}
	}
	config := &corev1.ConfigMap{}
	if err := c.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: trusted.ConfigMap}, config); client.IgnoreNotFound(err) != nil {
		return render.TrustedCA{}, fmt.Errorf("reading ConfigMap %s/%s: %w", namespace, trusted.ConfigMap, err)
	}
	trusted.Digest = render.TrustedCADigest(config.Data)
	if trusted.Digest == "" && !trusted.Filled {
		return render.TrustedCA{}, fmt.Errorf("no ConfigMap %s/%s holds certificates under the key %s", namespace, trusted.ConfigMap, render.TrustedCAKey)
	}
	return trusted, nil
}
