package testbed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/flux-autopilot/flux-operator/test/testbed/node"
	"github.com/flux-autopilot/flux-operator/test/testbed/plane"
	"github.com/flux-autopilot/flux-operator/test/testbed/process"
)

const (
	// The files that the supervising process inherits: the pipe for progress, then one listener per endpoint.
	progressFD  = 3
	listenersFD = 4

	// readyLine and failedPrefix end the progress; every other line is a step.
	readyLine    = "ready"
	failedPrefix = "failed: "

	// stopLimit is how long programs may take to end on their own.
	stopLimit = 10 * time.Second
	// stateInterval is how old the record of the components may be.
	stateInterval = time.Second
)

// Supervise is the process that runs a cluster: it starts the components of the cluster in dir and keeps them until ctx ends.
// Only the testbed program calls it, with the files inherited from [Up].
func Supervise(ctx context.Context, dir string) error {
	progress := inherited(progressFD, "progress")
	defer progress.Close()
	err := supervise(ctx, dir, progress)
	if err != nil {
		fmt.Fprintf(progress, "%s%q\n", failedPrefix, err.Error())
	}
	return err
}

func inherited(fd uintptr, name string) *os.File {
	syscall.CloseOnExec(int(fd))
	return os.NewFile(fd, name)
}

func supervise(ctx context.Context, dir string, progress io.WriteCloser) error {
	c, err := readConfig(dir)
	if err != nil {
		return err
	}
	listeners, err := inheritedListeners(c)
	if err != nil {
		return err
	}
	if err := isolate(ctx, c); err != nil {
		return err
	}
	group, err := process.NewGroup(c.file("logs"))
	if err != nil {
		return err
	}
	defer func() {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopLimit)
		defer cancel()
		group.Close(stop)
	}()
	if err := startComponents(ctx, c, group, progress, listeners); err != nil {
		return err
	}
	if err := writeJSON(c.file(stateFile), state{Components: group.States()}); err != nil {
		return err
	}
	fmt.Fprintln(progress, readyLine)
	progress.Close()
	return record(ctx, c, group)
}

// inheritedListeners returns the listeners that belong to namespaces other than this process's: a socket stays where it was made.
func inheritedListeners(c config) (map[string]net.Listener, error) {
	listeners := map[string]net.Listener{}
	if c.Simulated {
		return listeners, nil
	}
	for i, e := range c.Endpoints {
		file := inherited(uintptr(listenersFD+i), e.Name)
		l, err := net.FileListener(file)
		file.Close()
		if err != nil {
			return nil, fmt.Errorf("taking over the listener of %q: %w", e.Name, err)
		}
		listeners[e.Name] = l
	}
	return listeners, nil
}

// startComponents starts everything in the order in which one part needs another.
func startComponents(ctx context.Context, c config, group *process.Group, progress io.Writer, listeners map[string]net.Listener) error {
	err := group.Start(process.Spec{Name: "servers", Path: c.Program, Args: []string{"serve", "--dir", c.Dir}})
	if err != nil {
		return err
	}
	for name, l := range listeners {
		forward(ctx, l, c.endpoint(name).Inside)
	}
	fmt.Fprintln(progress, "starting the control plane")
	_, port, err := net.SplitHostPort(c.endpoint(endpointAPI).Outside)
	if err != nil {
		return fmt.Errorf("reading the API server's address: %w", err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return fmt.Errorf("reading the API server's port: %w", err)
	}
	planeConfig := plane.Config{
		Dir: c.Dir, Binaries: c.Binaries, Port: number, AuditLog: c.AuditLog, APIServerArgs: c.APIServerArgs,
		Components: []string{plane.ControllerManager, plane.Scheduler},
	}
	if !c.Simulated {
		planeConfig.Address = node.IP
	}
	cluster, err := plane.Start(ctx, group, planeConfig)
	if err != nil {
		return err
	}
	if c.Simulated {
		fmt.Fprintln(progress, "starting the simulated node")
		return startSimulatedNode(ctx, c, group, cluster)
	}
	fmt.Fprintln(progress, "starting the node")
	return node.Start(ctx, group, cluster, nodeConfig(c))
}

func nodeConfig(c config) node.Config {
	return node.Config{
		Dir: c.Dir, Binaries: c.Binaries, Cgroup: c.Cgroup,
		SandboxImage: registryHost + ":" + ports()[endpointRegistry] + "/" + pauseImage().name(),
		Mirror:       "http://" + registryHost + ":" + ports()[endpointRegistry],
		Registries: map[string]string{
			// This one asks for credentials, and containerd hands those of a pull secret to the host that they name only.
			registryHost + ":" + ports()[endpointPrivateRegistry]: "http://" + registryHost + ":" + ports()[endpointPrivateRegistry],
		},
	}
}

// record keeps the state file true until ctx ends, which is the ordinary end of a cluster.
func record(ctx context.Context, c config, group *process.Group) error {
	ticker := time.NewTicker(stateInterval)
	defer ticker.Stop()
	var last []process.State
	for {
		if now := group.States(); !slices.Equal(now, last) {
			if err := writeJSON(c.file(stateFile), state{Components: now}); err != nil {
				return err
			}
			last = now
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// forward hands every connection of the listener on to an address that this process can reach, until ctx ends.
func forward(ctx context.Context, listener net.Listener, address string) {
	context.AfterFunc(ctx, func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				go relay(ctx, conn, address)
			}
		}
	}()
}

// relay copies both ways until both sides have said their last word, or ctx ends.
func relay(ctx context.Context, conn net.Conn, address string) {
	defer closeConn(conn)
	var dialer net.Dialer
	inner, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return
	}
	defer closeConn(inner)
	stop := context.AfterFunc(ctx, func() {
		closeConn(conn)
		closeConn(inner)
	})
	defer stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		pour(inner, conn)
	}()
	pour(conn, inner)
	<-done
}

// closeConn ends a connection of which nothing more is expected.
func closeConn(conn net.Conn) { _ = conn.Close() }

// pour copies until the end and passes the end on; a broken connection shows on the other side as what it is, an early end.
func pour(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}

// scratch is where small files of the sandbox live.
func (c config) scratch() string { return filepath.Join(c.Dir, "sandbox") }
