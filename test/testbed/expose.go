package testbed

import (
	"context"
	"fmt"
	"net"
	"strconv"

	"github.com/flux-autopilot/flux-operator/test/testbed/node"
)

// Exposure is a server of this machine that pods reach.
type Exposure struct {
	// Inside is host:port for pods and manifests.
	Inside string

	listener net.Listener
	stop     context.CancelFunc
}

// Expose makes a server of this machine, host:port, answer in the cluster at the given port of registry.testbed. A real node pulls images of
// that name from there, without TLS. It ends with ctx, or when it is closed.
func (c *Cluster) Expose(ctx context.Context, address string, port int) (*Exposure, error) {
	listener, err := c.listen(ctx, net.JoinHostPort(c.NodeIP, strconv.Itoa(port)))
	if err != nil {
		return nil, fmt.Errorf("exposing %q to the cluster: %w", address, err)
	}
	e := &Exposure{Inside: listener.Addr().String(), listener: listener}
	if !c.Simulated {
		e.Inside = net.JoinHostPort(registryHost, strconv.Itoa(port))
		err = node.Answer(c.Dir, e.Inside, "http://"+e.Inside)
	}
	ctx, e.stop = context.WithCancel(ctx)
	forward(ctx, listener, address)
	if err != nil {
		e.Close()
		return nil, fmt.Errorf("exposing %q to the cluster: %w", address, err)
	}
	return e, nil
}

// Close ends it, and all its connections with it: the port can be exposed again. It may be called more than once.
func (e *Exposure) Close() {
	_ = e.listener.Close() // a listener that was closed already is what the caller wants
	e.stop()
}

// listen listens where the cluster's own servers do.
func (c *Cluster) listen(ctx context.Context, address string) (listener net.Listener, err error) {
	open := func() error {
		var config net.ListenConfig
		listener, err = config.Listen(ctx, "tcp", address)
		return err
	}
	if c.Simulated {
		err = open()
		return listener, err
	}
	pid, err := c.holder()
	if err != nil {
		return nil, err
	}
	err = inNetwork(pid, open)
	return listener, err
}

// Reach returns nil when somebody listens at an address, as seen from the network of a process, such as that of a pod, else why not. The
// address is IP:port: names are not asked for there.
func Reach(ctx context.Context, pid int, address string) error {
	ctx, cancel := context.WithTimeout(ctx, probeTry)
	defer cancel()
	return inNetwork(pid, func() error {
		var dialer net.Dialer
		conn, err := dialer.DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}
