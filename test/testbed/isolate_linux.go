package testbed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"github.com/flux-autopilot/flux-operator/test/testbed/node"
	"github.com/flux-autopilot/flux-operator/test/testbed/sandbox"
)

// isolate turns the fresh namespaces of this process into a machine with one address.
func isolate(ctx context.Context, c config) error {
	if c.Simulated {
		return nil
	}
	if err := os.MkdirAll(c.scratch(), 0o755); err != nil {
		return fmt.Errorf("preparing the sandbox: %w", err)
	}
	hosts := "127.0.0.1 localhost\n" + node.IP + " " + node.Name + " " + hostNames() + "\n"
	resolver := "nameserver " + node.DNSIP + "\nsearch svc.cluster.local cluster.local\n"
	if err := sandbox.Mount(c.Keep, c.scratch(), hosts, resolver); err != nil {
		return err
	}
	if err := node.Network(ctx); err != nil {
		return err
	}
	return sandbox.CreateCgroup(clusterID(c.Dir))
}

// RealNode returns nil where this machine and user can run a real node, else the reason why not.
func RealNode() error {
	return errors.Join(sandbox.Permitted(), node.Missing())
}

// Init is the first process of a sandbox; it runs [Supervise] in a child and returns the exit code. Only the testbed program calls it.
func Init(dir string) (int, error) {
	c, err := readConfig(dir)
	if err != nil {
		return 0, err
	}
	files := []*os.File{inherited(progressFD, "progress")}
	for i, e := range c.Endpoints {
		files = append(files, inherited(uintptr(listenersFD+i), e.Name))
	}
	return sandbox.Init(c.Program, []string{"supervise", "--dir", dir}, files)
}

// holderCommand is the command that holds the cluster together and how it is started.
func holderCommand(c config) (string, *syscall.SysProcAttr) {
	if c.Simulated {
		return "supervise", &syscall.SysProcAttr{Setsid: true}
	}
	return "init", sandbox.Attributes()
}

// identity tells a process from a later one with the same number; it fails when the process has ended.
func identity(pid int) (string, error) { return sandbox.Identity(pid) }

// removeCgroup removes what the node made outside its namespaces.
func removeCgroup(ctx context.Context, cluster string) error {
	return sandbox.RemoveCgroup(ctx, cluster)
}

// runInside runs a command in the sandbox of a process with this process's streams and returns its exit code.
func runInside(ctx context.Context, cmd *exec.Cmd, pid int) (int, error) {
	return sandbox.Run(ctx, cmd, pid)
}

// startInside starts a command in the sandbox of a process.
func startInside(cmd *exec.Cmd, pid int) error { return sandbox.Start(cmd, pid) }

// inNetwork calls work in the network of a process.
func inNetwork(pid int, work func() error) error { return sandbox.InNetwork(pid, work) }
