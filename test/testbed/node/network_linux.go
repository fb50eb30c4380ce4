package node

import (
	"context"
	"fmt"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/flux-autopilot/flux-operator/test/testbed/plane"
)

// Network gives the namespace that this process is in the node's address and routes. There is no way out of it, and the
// attempt fails at once: a cluster without the internet should not wait for timeouts.
func Network(ctx context.Context) error {
	ip, err := lookPath("ip")
	if err != nil {
		return err
	}
	for _, args := range []string{
		"link set lo up",
		"link add node0 type bridge",
		"address add " + IP + "/24 dev node0",
		"link set node0 up",
		// The kernel looks for a route before kube-proxy's rules replace a Service's address.
		"route add " + plane.ServiceCIDR + " dev node0",
		"route add unreachable default",
	} {
		if out, err := exec.CommandContext(ctx, ip, strings.Fields(args)...).CombinedOutput(); err != nil {
			return fmt.Errorf("setting up the node's network: running ip %s: %w: %s", args, err, strings.TrimSpace(string(out)))
		}
	}
	return nil
}

// snapshotter picks how containerd stores image layers: overlays cannot be stacked on a folder that is an overlay itself.
func snapshotter(dir string) (string, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return "", fmt.Errorf("looking at the file system of %q: %w", dir, err)
	}
	if stat.Type == unix.OVERLAYFS_SUPER_MAGIC {
		return "native", nil
	}
	return "overlayfs", nil
}
