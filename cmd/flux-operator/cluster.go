package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// clusterFlags say which cluster is meant, as those of kubectl do.
type clusterFlags struct {
	kubeconfig, context string
}

func (f *clusterFlags) bind(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.kubeconfig, "kubeconfig", "", "file that says how to reach the cluster (default $KUBECONFIG, else ~/.kube/config)")
	cmd.Flags().StringVar(&f.context, "context", "", "context of the kubeconfig (default its current one)")
	must(cmd.MarkFlagFilename("kubeconfig"))
}

// cluster is what the objects of an instance are compared with, or saved from and put back into.
type cluster struct {
	client    client.WithWatch
	discovery *discovery.DiscoveryClient
}

// connect makes no request. Each later one ends after the timeout, and what the API server warns of is written to warnings.
func (f *clusterFlags) connect(timeout time.Duration, warnings io.Writer) (*cluster, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = f.kubeconfig
	overrides := &clientcmd.ConfigOverrides{CurrentContext: f.context}
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides).ClientConfig()
	if clientcmd.IsEmptyConfig(err) {
		return nil, errors.New("there is no kubeconfig, or it has no current context: name a file with --kubeconfig or $KUBECONFIG, a context with --context")
	}
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	config.QPS = -1 // a few dozen requests, at most concurrency at a time
	config.Timeout = timeout
	config.WarningHandler = rest.NewWarningWriter(warnings, rest.WarningWriterOptions{Deduplicate: true})
	scheme := runtime.NewScheme()
	if err := errors.Join(v1.AddToScheme(scheme), appsv1.AddToScheme(scheme), corev1.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	c, err := client.NewWithWatch(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", config.Host, err)
	}
	d, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", config.Host, err)
	}
	return &cluster{client: c, discovery: d}, nil
}

// running looks for the instance in the cluster. That there is none, and that its kind is not installed, is no error.
func (c *cluster) running(ctx context.Context, instance *v1.FluxInstance) (running, error) {
	live := &v1.FluxInstance{}
	err := c.client.Get(ctx, client.ObjectKeyFromObject(instance), live)
	if apierrors.IsNotFound(err) || apimeta.IsNoMatchError(err) {
		return running{}, nil
	}
	if err != nil {
		return running{}, fmt.Errorf("reading the live FluxInstance: %w", err)
	}
	return readRunning(live)
}
