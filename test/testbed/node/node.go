// Package node turns the sandbox it is called in into a Kubernetes node: network, containerd, kubelet and kube-proxy.
package node

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"text/template"
	"time"

	"github.com/flux-autopilot/flux-operator/test/testbed/plane"
	"github.com/flux-autopilot/flux-operator/test/testbed/process"
)

const (
	// Name is what the node is called in the cluster.
	Name = "node-0"
	// IP is the node's address inside its network namespace.
	IP = "192.168.250.1"
	// PodCIDR is where pods get their addresses from.
	PodCIDR = "10.244.0.0/24"
	// DNSIP is the address of the cluster's name server.
	DNSIP = "10.96.0.10"
	// runDir is memory of the sandbox; socket paths have to be short.
	runDir = "/run/testbed"
	// startLimit bounds the time until the node is ready.
	startLimit = 2 * time.Minute
)

//go:embed templates/containerd.toml
var containerdTemplate string

//go:embed templates/kubelet.yaml
var kubeletTemplate string

//go:embed templates/kube-proxy.yaml
var proxyTemplate string

//go:embed templates/cni.json
var cniTemplate string

//go:embed templates/hosts.toml
var hostsTemplate string

// Config says what the node is made of.
type Config struct {
	// Dir holds everything the node writes to disk.
	Dir string
	// Binaries maps component names to programs; kubelet and kube-proxy are taken from it.
	Binaries map[string]string
	// Cgroup is the control group below which pods live.
	Cgroup string
	// SandboxImage is the image of the process that holds a pod's namespaces.
	SandboxImage string
	// Mirror is the URL of the registry that answers for every registry of the world.
	Mirror string
	// Registries maps other registries, which answer for themselves, to their URLs.
	Registries map[string]string
}

// paths is what the templates are filled with.
type paths struct {
	Config
	NodeName, NodeIP, PodCIDR, ClusterDNS, RunDir string
	Kubeconfig, ClientCA                          string
	CNIBin, Runc, Snapshotter                     string
}

// Packages lists the Debian packages that a node needs from the machine.
func Packages() []string {
	return []string{"containerd", "runc", "containernetworking-plugins", "iptables", "iproute2", "git"}
}

// Missing returns an error that names what the machine lacks for a node, or nil.
func Missing() error {
	var missing []string
	for _, program := range []string{"containerd", "containerd-shim-runc-v2", "runc", "iptables", "ip", "git"} {
		if _, err := lookPath(program); err != nil {
			missing = append(missing, program)
		}
	}
	if _, err := pluginFolder(); err != nil {
		missing = append(missing, "CNI plugins")
	}
	if len(missing) > 0 {
		return fmt.Errorf("looking for a node's programs: %q not found; install the packages %q", missing, Packages())
	}
	return nil
}

// lookPath also finds programs in the folders that an ordinary user's PATH leaves out.
func lookPath(program string) (string, error) {
	if path, err := exec.LookPath(program); err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/local/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, program)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("looking for %q: %w", program, exec.ErrNotFound)
}

func pluginFolder() (string, error) {
	for _, dir := range []string{"/usr/lib/cni", "/opt/cni/bin"} {
		if _, err := os.Stat(filepath.Join(dir, "ptp")); err == nil {
			return dir, nil
		}
	}
	return "", errors.New("looking for CNI plugins: none found")
}

// Start brings the node up and returns when the cluster calls it ready.
func Start(ctx context.Context, group *process.Group, cluster *plane.Plane, config Config) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	n := &starter{group: group, cluster: cluster, config: config}
	if err := n.resolve(); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{n.startRuntime, n.startKubelet, n.startProxy} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// starter holds what the steps share.
type starter struct {
	group   *process.Group
	cluster *plane.Plane
	config  Config
	paths   paths
}

func (n *starter) resolve() error {
	plugins, err := pluginFolder()
	if err != nil {
		return err
	}
	runc, err := lookPath("runc")
	if err != nil {
		return err
	}
	for _, dir := range []string{runDir, n.file("containerd"), n.file("kubelet"), n.file("cni"), n.file("pod-logs"), n.file("pki")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("preparing node: %w", err)
		}
	}
	snapshotter, err := snapshotter(n.config.Dir)
	if err != nil {
		return err
	}
	n.paths = paths{
		Config: n.config, NodeName: Name, NodeIP: IP, PodCIDR: PodCIDR, ClusterDNS: DNSIP, RunDir: runDir,
		Kubeconfig: n.cluster.Kubeconfig, ClientCA: n.file("pki/ca.crt"),
		CNIBin: plugins, Runc: runc, Snapshotter: snapshotter,
	}
	return nil
}

func (n *starter) file(name string) string { return filepath.Join(n.config.Dir, name) }

// write fills a template into a file below the node's folder and returns the file's path.
func (n *starter) write(name, text string, data any) (string, error) {
	parsed, err := template.New(name).Option("missingkey=error").Parse(text)
	if err != nil {
		return "", fmt.Errorf("parsing template of %q: %w", name, err)
	}
	var out bytes.Buffer
	if err := parsed.Execute(&out, data); err != nil {
		return "", fmt.Errorf("filling template of %q: %w", name, err)
	}
	path := n.file(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", fmt.Errorf("writing %q: %w", name, err)
	}
	if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
		return "", fmt.Errorf("writing %q: %w", name, err)
	}
	return path, nil
}

// Answer makes the node in dir pull the images of a registry, host:port, from the URL, from the next pull on.
func Answer(dir, registry, url string) error {
	return (&starter{config: Config{Dir: dir}}).answer(registry, url)
}

// answer writes what containerd reads before each pull.
func (n *starter) answer(registry, url string) error {
	_, err := n.write("certs.d/"+registry+"/hosts.toml", hostsTemplate, url)
	return err
}

// startRuntime starts containerd and waits until it answers.
func (n *starter) startRuntime(ctx context.Context) error {
	if _, err := n.write("cni/10-pods.conflist", cniTemplate, n.paths); err != nil {
		return err
	}
	registries := map[string]string{"_default": n.config.Mirror}
	maps.Copy(registries, n.config.Registries)
	for host, url := range registries {
		if err := n.answer(host, url); err != nil {
			return err
		}
	}
	config, err := n.write("containerd.toml", containerdTemplate, n.paths)
	if err != nil {
		return err
	}
	path, err := lookPath("containerd")
	if err != nil {
		return err
	}
	if err := n.group.Start(process.Spec{Name: "containerd", Path: path, Args: []string{"--config", config}}); err != nil {
		return err
	}
	return n.group.Await(ctx, "containerd to answer", func(ctx context.Context) error {
		return answers(ctx, filepath.Join(runDir, "containerd.sock"))
	})
}

// startKubelet waits until the node is ready, which includes its network.
func (n *starter) startKubelet(ctx context.Context) error {
	kubeconfig, err := n.cluster.User("system:node:"+Name, "system:nodes")
	if err != nil {
		return err
	}
	identity := n.file("pki/kubelet.kubeconfig")
	if err := os.WriteFile(identity, kubeconfig, 0o600); err != nil {
		return fmt.Errorf("starting kubelet: %w", err)
	}
	config, err := n.write("kubelet.yaml", kubeletTemplate, n.paths)
	if err != nil {
		return err
	}
	err = n.group.Start(process.Spec{Name: "kubelet", Path: n.config.Binaries["kubelet"], Args: []string{
		"--config=" + config, "--kubeconfig=" + identity,
		"--root-dir=" + n.file("kubelet"), "--cert-dir=" + n.file("pki/kubelet"),
		"--hostname-override=" + Name, "--node-ip=" + IP, "--v=2",
	}})
	if err != nil {
		return err
	}
	return n.group.Await(ctx, "the node to be ready", func(ctx context.Context) error { return Ready(ctx, n.cluster.Read) })
}

func (n *starter) startProxy(ctx context.Context) error {
	config, err := n.write("kube-proxy.yaml", proxyTemplate, n.paths)
	if err != nil {
		return err
	}
	err = n.group.Start(process.Spec{Name: "kube-proxy", Path: n.config.Binaries["kube-proxy"], Args: []string{"--config=" + config}})
	if err != nil {
		return err
	}
	return n.group.Await(ctx, "kube-proxy to be ready", func(ctx context.Context) error { return healthy(ctx, "http://127.0.0.1:10256/healthz") })
}
