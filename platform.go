package main

import (
	"fmt"
	"os"

	"k8s.io/client-go/discovery"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-autopilot/flux-operator/controllers"
)

// newPlatform returns what finds out where Flux runs, and the console that shows it there.
func newPlatform(mgr ctrl.Manager, direct client.Client, c *config) (*controllers.Platform, *controllers.Console, error) {
	asking, err := discovery.NewDiscoveryClientForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return nil, nil, fmt.Errorf("making the discovery client: %w", err)
	}
	platform := &controllers.Platform{
		API: asking.RESTClient(), Reader: direct, Namespace: c.namespace, Images: c.relatedImages, TrustedCA: c.trustedCA,
	}
	if c.propagateProxy {
		platform.Proxy = c.proxy
	}
	console := &controllers.Console{API: asking.RESTClient(), Client: direct, Namespace: c.namespace, Off: !c.console, Backoff: c.backoff()}
	return platform, console, nil
}

// reachClusterDirectly keeps the operator's own requests within the cluster from a proxy that was given to it without saying so. To be called
// before the first request.
func (c *config) reachClusterDirectly() error {
	if !c.proxy.IsSet() {
		return nil
	}
	return os.Setenv("NO_PROXY", c.proxy.Direct("cluster.local", c.apiServer).No)
}
