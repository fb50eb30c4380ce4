package testbed

import (
	"context"
	_ "embed"
	"strings"
	"time"

	"github.com/flux-autopilot/flux-operator/test/testbed/node"
)

//go:embed manifests/coredns.yaml
var corednsManifest string

// dnsLimit bounds the time from applying CoreDNS to its first answer; most of it is the pull of its image.
const dnsLimit = 2 * time.Minute

// install puts into a fresh cluster what every cluster has: the images of its own pods and DNS.
func (c *Cluster) install(ctx context.Context) error {
	if c.Simulated {
		return nil
	}
	if _, err := c.Push(ctx, "pause", "coredns"); err != nil {
		return err
	}
	c.say("starting DNS")
	manifest := strings.NewReplacer(
		"$NODE_IP", node.IP, "$HOST_NAMES", hostNames(), "$CLUSTER_DNS", node.DNSIP,
		"$IMAGE", c.Servers.RegistryInside+"/"+corednsImage().name(),
	).Replace(corednsManifest)
	ctx, cancel := context.WithTimeout(ctx, dnsLimit)
	defer cancel()
	if _, err := c.Kubectl(ctx, manifest, "apply", "--server-side", "-f", "-"); err != nil {
		return err
	}
	_, err := c.Kubectl(ctx, "", "-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout="+dnsLimit.String())
	return err
}
