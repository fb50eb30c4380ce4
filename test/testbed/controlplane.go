package testbed

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"

	"github.com/flux-autopilot/flux-operator/test/testbed/plane"
	"github.com/flux-autopilot/flux-operator/test/testbed/process"
	"github.com/flux-autopilot/flux-operator/tools"
)

// Plane is a control plane without a node, on loopback. Its processes end with the process that started it.
type Plane struct {
	// Kubeconfig is an administrator's file.
	Kubeconfig string
	// Server is the URL of the API server.
	Server string
	// AuditLog is the API server's file of requests; empty when none is kept.
	AuditLog string
	// Kubectl is the program of the same version.
	Kubectl string

	plane *plane.Plane
	group *process.Group
}

// ControlPlane starts etcd and an API server, and the controller manager if the options ask for it, with everything they write in
// dir, which must be empty or absent. Of the options Kubernetes, Audit, APIServerArgs and ControllerManager count.
// The caller closes the plane; dir stays.
func ControlPlane(ctx context.Context, dir string, opts Options) (*Plane, error) {
	opts, err := opts.complete()
	if err != nil {
		return nil, err
	}
	dir, err = filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("finding the control plane's folder: %w", err)
	}
	components := []string{"etcd", "kube-apiserver", "kubectl"}
	config := plane.Config{Dir: dir, APIServerArgs: opts.APIServerArgs}
	if opts.ControllerManager {
		components = append(components, plane.ControllerManager)
		config.Components = []string{plane.ControllerManager}
	}
	if config.Binaries, err = build(ctx, opts, components); err != nil {
		return nil, err
	}
	if opts.Audit {
		config.AuditLog = filepath.Join(dir, "audit", "audit.log")
	}
	group, err := process.NewGroup(filepath.Join(dir, "logs"))
	if err != nil {
		return nil, err
	}
	started, err := plane.Start(ctx, group, config)
	p := &Plane{plane: started, group: group, AuditLog: config.AuditLog, Kubectl: config.Binaries["kubectl"]}
	if err != nil {
		p.Close(ctx)
		return nil, err
	}
	p.Kubeconfig, p.Server = started.Kubeconfig, started.Server
	return p, nil
}

// Close stops the processes, the last started first; what has not ended after ten seconds is killed.
func (p *Plane) Close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopLimit)
	defer cancel()
	p.group.Close(ctx)
}

// User returns a kubeconfig for a user in the given groups.
func (p *Plane) User(name string, groups ...string) ([]byte, error) {
	return p.plane.User(name, groups...)
}

// Components lists the programs and whether they still run; their process numbers are those of this machine.
func (p *Plane) Components() []process.State { return p.group.States() }

// EnvtestAssets returns a folder with etcd, kube-apiserver and kubectl of a Kubernetes minor, for KUBEBUILDER_ASSETS of controller-runtime's envtest.
// The minor is as in [Options].
func EnvtestAssets(ctx context.Context, kubernetes string) (string, error) {
	opts, err := Options{Kubernetes: kubernetes}.complete()
	if err != nil {
		return "", err
	}
	names := []string{"etcd", "kube-apiserver", "kubectl"}
	paths, err := build(ctx, opts, names)
	if err != nil {
		return "", err
	}
	key := fnv.New64a()
	for _, name := range names {
		fmt.Fprintln(key, paths[name])
	}
	dir, err := tools.CacheDir("envtest", fmt.Sprintf("%016x", key.Sum64()))
	if err != nil {
		return "", err
	}
	for _, name := range names {
		if err := link(paths[name], filepath.Join(dir, name)); err != nil {
			return "", fmt.Errorf("collecting envtest's programs: %w", err)
		}
	}
	return dir, nil
}

// link makes a symbolic link unless it is there; two processes may do so at once.
func link(from, to string) error {
	if err := os.Symlink(from, to); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}
