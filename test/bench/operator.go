package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/flux-autopilot/flux-operator/test/testbed/process"
)

const (
	operatorStart = 30 * time.Second
	buildLimit    = 10 * time.Minute
	probeLimit    = time.Second
)

// prepare builds the operator's binary with the flags of the Makefile.
func (b *bench) prepare(ctx context.Context) error {
	b.sayf("building the operator")
	ctx, cancel := context.WithTimeout(ctx, buildLimit)
	defer cancel()
	b.operator = filepath.Join(b.dir, "flux-operator")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X main.VERSION=v0.0.0-bench", "-o", b.operator, ".")
	cmd.Dir = b.options.Root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building the operator: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// operator is a running operator, a process of this machine.
type operator struct {
	group           *process.Group
	pid             int
	health, metrics string
	// began is the moment before the process was started.
	began time.Time
}

// startOperator starts the operator with its defaults, addresses and folders aside, and waits until its caches are filled.
func (b *bench) startOperator(ctx context.Context) (*operator, error) {
	o, err := b.launchOperator(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, operatorStart)
	defer cancel()
	if err := o.group.Await(ctx, "the operator to be ready", o.ready); err != nil {
		return nil, errors.Join(err, o.stop(context.WithoutCancel(ctx)))
	}
	return o, nil
}

// launchOperator starts the operator and does not wait.
func (b *bench) launchOperator(ctx context.Context) (*operator, error) {
	c := b.cluster
	c.started++
	name := fmt.Sprintf("operator-%d", c.started)
	kubeconfig, err := c.plane.User(operatorUser, "system:serviceaccounts", "system:serviceaccounts:flux-system", "system:authenticated")
	if err != nil {
		return nil, err
	}
	path := filepath.Join(c.dir, name+".kubeconfig")
	if err := os.WriteFile(path, kubeconfig, 0o600); err != nil {
		return nil, fmt.Errorf("writing the operator's kubeconfig: %w", err)
	}
	health, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	metrics, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	group, err := process.NewGroup(filepath.Join(c.dir, "logs"))
	if err != nil {
		return nil, err
	}
	o := &operator{group: group, health: health, metrics: metrics, began: time.Now()}
	err = group.Start(process.Spec{
		Name: name, Path: b.operator, Env: []string{"KUBECONFIG=" + path},
		Args: []string{"--storage-path=" + b.distribution.dir, "--health-addr=" + health, "--metrics-addr=" + metrics, "--artifact-cache-path=" + filepath.Join(c.dir, name+"-artifacts")},
	})
	if err != nil {
		return nil, err
	}
	o.pid = group.States()[0].PID
	return o, nil
}

// ready asks the readiness probe.
func (o *operator) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+o.health+"/readyz", nil)
	if err != nil {
		return fmt.Errorf("asking the readiness probe: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("asking the readiness probe: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("asking the readiness probe: %s", response.Status)
	}
	return nil
}

// usage fails when the operator has ended.
func (o *operator) usage() (usage, error) {
	if err := o.group.Failed(); err != nil {
		return usage{}, err
	}
	return usageOf(o.pid)
}

// stop ends the operator as a kubelet would; it gives up its lease.
func (o *operator) stop(ctx context.Context) error {
	failed := o.group.Failed()
	ctx, cancel := context.WithTimeout(ctx, stopLimit)
	defer cancel()
	o.group.Close(ctx)
	return failed
}

// freeAddress returns a loopback address that nobody listened on a moment ago.
func freeAddress(ctx context.Context) (string, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("finding a free address: %w", err)
	}
	return listener.Addr().String(), listener.Close()
}
