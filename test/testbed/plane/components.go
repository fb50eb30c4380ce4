package plane

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/flux-autopilot/flux-operator/test/testbed/process"
)

// auditPolicy records who asked for what, one line per request, without bodies.
const auditPolicy = `{"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": [{"level": "Metadata"}]}`

// startStore starts etcd and the API server.
func (p *Plane) startStore(ctx context.Context) error {
	client, err := freePort(ctx)
	if err != nil {
		return err
	}
	peer, err := freePort(ctx)
	if err != nil {
		return err
	}
	clientURL, peerURL := loopbackURL(client), loopbackURL(peer)
	p.Store = clientURL
	err = p.start("etcd",
		"--data-dir="+filepath.Join(p.config.Dir, "etcd"), "--log-level=warn",
		// The data lives no longer than the cluster: nothing has to survive a power cut.
		"--unsafe-no-fsync",
		"--listen-client-urls="+clientURL, "--advertise-client-urls="+clientURL,
		"--listen-peer-urls="+peerURL, "--initial-advertise-peer-urls="+peerURL, "--initial-cluster=default="+peerURL)
	if err != nil {
		return err
	}
	args, err := p.apiServerArgs(clientURL)
	if err != nil {
		return err
	}
	if err := p.start("kube-apiserver", args...); err != nil {
		return err
	}
	return p.group.Await(ctx, "the API server to be ready", func(ctx context.Context) error { return p.Get(ctx, "/readyz") })
}

func (p *Plane) apiServerArgs(etcd string) ([]string, error) {
	// Endpoints may not hold a loopback address, so without another address nobody writes the Service's endpoints.
	bind, advertise, reconciler := loopback, loopback, "none"
	if p.config.Address != "" {
		bind, advertise, reconciler = "0.0.0.0", p.config.Address, "lease"
	}
	args := []string{
		"--etcd-servers=" + etcd,
		"--bind-address=" + bind, "--secure-port=" + strconv.Itoa(p.config.Port),
		"--advertise-address=" + advertise, "--endpoint-reconciler-type=" + reconciler,
		"--tls-cert-file=" + p.key("apiserver.crt"), "--tls-private-key-file=" + p.key("apiserver.key"),
		"--client-ca-file=" + p.key("ca.crt"),
		// Nodes have no names that the API server could resolve.
		"--kubelet-preferred-address-types=InternalIP",
		"--kubelet-client-certificate=" + p.key("apiserver-kubelet.crt"), "--kubelet-client-key=" + p.key("apiserver-kubelet.key"),
		"--requestheader-client-ca-file=" + p.key("front-proxy-ca.crt"), "--requestheader-allowed-names=front-proxy-client",
		"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + p.key("front-proxy.crt"), "--proxy-client-key-file=" + p.key("front-proxy.key"),
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + p.key("service-accounts.key"), "--service-account-signing-key-file=" + p.key("service-accounts.key"),
		"--service-cluster-ip-range=" + ServiceCIDR,
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true",
	}
	audit, err := p.auditArgs()
	if err != nil {
		return nil, err
	}
	return append(append(args, audit...), p.config.APIServerArgs...), nil
}

func (p *Plane) auditArgs() ([]string, error) {
	if p.config.AuditLog == "" {
		return nil, nil
	}
	if err := os.MkdirAll(filepath.Dir(p.config.AuditLog), 0o755); err != nil {
		return nil, fmt.Errorf("preparing audit log: %w", err)
	}
	policy := filepath.Join(p.config.Dir, "audit-policy.json")
	if err := os.WriteFile(policy, []byte(auditPolicy), 0o644); err != nil {
		return nil, fmt.Errorf("preparing audit log: %w", err)
	}
	// Size 0 would mean 100 MB, after which the file starts anew and counts would be short.
	return []string{"--audit-policy-file=" + policy, "--audit-log-path=" + p.config.AuditLog, "--audit-log-maxsize=100000"}, nil
}

// startControllerManager waits for the default service account, which proves that the controllers work.
func (p *Plane) startControllerManager(ctx context.Context) error {
	if !p.wants(ControllerManager) {
		return nil
	}
	err := p.startClient(ctx, ControllerManager,
		"--use-service-account-credentials=true", "--service-account-private-key-file="+p.key("service-accounts.key"),
		"--root-ca-file="+p.key("ca.crt"),
		"--cluster-signing-cert-file="+p.key("ca.crt"), "--cluster-signing-key-file="+p.key("ca.key"),
		"--flex-volume-plugin-dir="+filepath.Join(p.config.Dir, "flex"), "--allocate-node-cidrs=false")
	if err != nil {
		return err
	}
	return p.group.Await(ctx, "the controllers to work", func(ctx context.Context) error {
		return p.Get(ctx, "/api/v1/namespaces/default/serviceaccounts/default")
	})
}

func (p *Plane) startScheduler(ctx context.Context) error {
	if !p.wants(Scheduler) {
		return nil
	}
	return p.startClient(ctx, Scheduler)
}

// startClient starts a component that talks to the API server under its own name and serves its metrics on loopback.
func (p *Plane) startClient(ctx context.Context, name string, args ...string) error {
	kubeconfig, err := p.writeUser(name)
	if err != nil {
		return fmt.Errorf("starting %q: %w", name, err)
	}
	port, err := freePort(ctx)
	if err != nil {
		return fmt.Errorf("starting %q: %w", name, err)
	}
	return p.start(name, append([]string{
		"--kubeconfig=" + kubeconfig, "--authentication-kubeconfig=" + kubeconfig, "--authorization-kubeconfig=" + kubeconfig,
		"--bind-address=" + loopback, "--secure-port=" + strconv.Itoa(port), "--cert-dir=" + p.key(name), "--leader-elect=false",
	}, args...)...)
}

func loopbackURL(port int) string {
	return "http://" + net.JoinHostPort(loopback, strconv.Itoa(port))
}

func (p *Plane) start(name string, args ...string) error {
	return p.group.Start(process.Spec{Name: name, Path: p.config.Binaries[name], Args: args})
}
