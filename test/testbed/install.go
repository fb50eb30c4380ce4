package testbed

import (
	"context"
	_ "embed"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/flux-autopilot/flux-operator/test/testbed/node"
)

//go:embed manifests/coredns.yaml
var corednsManifest string

// apiServerName is a name that every cluster's DNS knows.
const apiServerName = "kubernetes.default.svc.cluster.local"

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
	c.sayf("starting DNS")
	manifest := strings.NewReplacer(
		"$NODE_IP", node.IP, "$HOST_NAMES", hostNames(), "$CLUSTER_DNS", node.DNSIP,
		"$IMAGE", c.Servers.RegistryInside+"/"+corednsImage().name(),
	).Replace(corednsManifest)
	ctx, cancel := context.WithTimeout(ctx, dnsLimit)
	defer cancel()
	if _, err := c.Kubectl(ctx, manifest, "apply", "--server-side", "-f", "-"); err != nil {
		return err
	}
	if _, err := c.Kubectl(ctx, "", "-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout="+dnsLimit.String()); err != nil {
		return err
	}
	// kube-proxy learns of the first endpoint a moment later than the Deployment.
	cmd := exec.CommandContext(ctx, c.config.Program, "probe", apiServerName)
	if err := c.Start(cmd); err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("waiting for DNS to know %q: %w", apiServerName, err)
	}
	return nil
}
