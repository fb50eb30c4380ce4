// Package plane starts a Kubernetes control plane (etcd, API server, controller manager, scheduler) out of binaries.
package plane

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/flux-autopilot/flux-operator/test/testbed/pki"
	"github.com/flux-autopilot/flux-operator/test/testbed/process"
)

const (
	// ServiceCIDR is where the addresses of Services come from.
	ServiceCIDR = "10.96.0.0/16"
	// startLimit bounds the start of each part; a loaded machine needs a fifth of it.
	startLimit = 2 * time.Minute
	loopback   = "127.0.0.1"
	// ControllerManager is a component that [Config] may ask for.
	ControllerManager = "kube-controller-manager"
	// Scheduler is another one.
	Scheduler = "kube-scheduler"
)

// serviceIP is the address of the Service "kubernetes" in the namespace default.
const serviceIP = "10.96.0.1"

// Config says what to start and where.
type Config struct {
	// Dir holds everything the control plane writes. It must be empty or absent: state of an earlier run is not supported.
	Dir string
	// Binaries maps component names to programs.
	Binaries map[string]string
	// Address is where pods reach the API server. Empty means that there are none: it listens on loopback only
	// and the Service "kubernetes" has no endpoints.
	Address string
	// Port is the API server's; 0 takes a free one.
	Port int
	// Components are the ones to start besides etcd and the API server.
	Components []string
	// AuditLog is the file for one JSON line per request; empty means no audit log.
	AuditLog string
	// APIServerArgs are added to the API server's own.
	APIServerArgs []string
}

// Plane is a running control plane. Its processes belong to the group it was started with.
type Plane struct {
	// Kubeconfig is the file of an administrator (group system:masters).
	Kubeconfig string
	// Server is the URL of the API server, on 127.0.0.1.
	Server string
	// Store is the URL of etcd, on 127.0.0.1 and without credentials.
	Store string
	// Authority signs the certificates of this cluster's clients and servers.
	Authority *pki.Authority

	config Config
	group  *process.Group
	admin  *Client
}

// Start brings the control plane up and returns when the API server is ready and, if asked for, the controllers have begun to work.
func Start(ctx context.Context, group *process.Group, config Config) (*Plane, error) {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	p := &Plane{config: config, group: group}
	if err := p.prepare(ctx); err != nil {
		return nil, fmt.Errorf("preparing control plane: %w", err)
	}
	for _, start := range []func(context.Context) error{p.startStore, p.startControllerManager, p.startScheduler} {
		if err := start(ctx); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// Get asks the API server for a path as administrator; an answer other than 2xx is an error.
func (p *Plane) Get(ctx context.Context, path string) error {
	return p.admin.Get(ctx, path)
}

// Read returns at most limit bytes of the API server's answer to a path, asked as administrator.
func (p *Plane) Read(ctx context.Context, path string, limit int64) ([]byte, error) {
	return p.admin.Read(ctx, path, limit)
}

// prepare writes keys, certificates and kubeconfigs.
func (p *Plane) prepare(ctx context.Context) error {
	for _, dir := range []string{p.keys(), filepath.Join(p.config.Dir, "etcd")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	if p.config.Port == 0 {
		port, err := freePort(ctx)
		if err != nil {
			return err
		}
		p.config.Port = port
	}
	p.Server = "https://" + net.JoinHostPort(loopback, strconv.Itoa(p.config.Port))
	if err := p.writeKeys(); err != nil {
		return err
	}
	admin, err := p.User("admin", "system:masters")
	if err != nil {
		return err
	}
	p.Kubeconfig = filepath.Join(p.config.Dir, "kubeconfig")
	if err := os.WriteFile(p.Kubeconfig, admin, 0o600); err != nil {
		return err
	}
	p.admin, err = NewClient(p.Server, p.Authority)
	return err
}

func (p *Plane) writeKeys() error {
	var err error
	if p.Authority, err = pki.NewAuthority("testbed"); err != nil {
		return err
	}
	proxies, err := pki.NewAuthority("testbed-front-proxy")
	if err != nil {
		return err
	}
	names := []string{
		loopback, serviceIP, "localhost",
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
	}
	if p.config.Address != "" {
		names = append(names, p.config.Address)
	}
	pairs := map[string]pki.Pair{"ca": p.Authority.Pair, "front-proxy-ca": proxies.Pair}
	for name, issue := range map[string]struct {
		by      *pki.Authority
		request pki.Request
	}{
		"apiserver":         {p.Authority, pki.Request{CommonName: "kube-apiserver", Names: names}},
		"apiserver-kubelet": {p.Authority, pki.Request{CommonName: "kube-apiserver-kubelet-client", Groups: []string{"system:masters"}}},
		"front-proxy":       {proxies, pki.Request{CommonName: "front-proxy-client"}},
	} {
		if pairs[name], err = issue.by.Issue(issue.request); err != nil {
			return err
		}
	}
	for name, pair := range pairs {
		if err := pair.Write(p.keys(), name); err != nil {
			return err
		}
	}
	key, err := pki.NewKey()
	if err != nil {
		return err
	}
	return os.WriteFile(p.key("service-accounts.key"), key, 0o600)
}

func (p *Plane) keys() string { return filepath.Join(p.config.Dir, "pki") }

func (p *Plane) key(file string) string { return filepath.Join(p.keys(), file) }

// User returns a kubeconfig for a user in the given groups, signed by this cluster's authority.
func (p *Plane) User(name string, groups ...string) ([]byte, error) {
	return UserKubeconfig(p.Server, p.Authority, name, groups...)
}

// UserKubeconfig returns a kubeconfig that reaches server as the named user in the given groups.
func UserKubeconfig(server string, authority *pki.Authority, name string, groups ...string) ([]byte, error) {
	pair, err := authority.Issue(pki.Request{CommonName: name, Groups: groups})
	if err != nil {
		return nil, err
	}
	return pki.Kubeconfig(server, authority.Cert, pair)
}

// writeUser stores a component's kubeconfig in the folder of the keys and returns its path.
func (p *Plane) writeUser(name string) (string, error) {
	data, err := p.User("system:" + name)
	if err != nil {
		return "", err
	}
	path := p.key(name + ".kubeconfig")
	return path, os.WriteFile(path, data, 0o600)
}

// wants says whether the component is to be started.
func (p *Plane) wants(component string) bool {
	return slices.Contains(p.config.Components, component)
}

// freePort returns a loopback port that nobody listened on a moment ago.
func freePort(ctx context.Context) (int, error) {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", loopback+":0")
	if err != nil {
		return 0, fmt.Errorf("finding a free port: %w", err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port, nil //nolint:forcetypeassert // a TCP listener has no other address
}
