package testbed

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"github.com/flux-autopilot/flux-operator/test/testbed/node"
	"github.com/flux-autopilot/flux-operator/test/testbed/process"
)

// The endpoints of a cluster that are reached from the machine as well.
const (
	endpointAPI             = "api"
	endpointRegistry        = "registry"
	endpointPrivateRegistry = "private-registry"
	endpointGit             = "git"
	endpointGitTLS          = "git-tls"
	endpointS3              = "s3"
)

// ports are where the servers listen on the node's address.
func ports() map[string]string {
	return map[string]string{
		endpointRegistry: "5000", endpointPrivateRegistry: "5001",
		endpointGit: "3000", endpointGitTLS: "3443", endpointS3: "9000",
	}
}

// User and Password are the credentials of the Git server and of the private registry.
const (
	User     = "testbed"
	Password = "testbed-password"
)

// config is what the starting process tells the supervising one.
type config struct {
	Name          string            `json:"name"`
	Dir           string            `json:"dir"`
	Keep          string            `json:"keep"`
	Kubernetes    string            `json:"kubernetes"`
	Simulated     bool              `json:"simulated"`
	Program       string            `json:"program"`
	Binaries      map[string]string `json:"binaries"`
	Cgroup        string            `json:"cgroup"`
	AuditLog      string            `json:"auditLog,omitempty"`
	APIServerArgs []string          `json:"apiServerArgs,omitempty"`
	Endpoints     []endpoint        `json:"endpoints"`
}

// endpoint is one server: where pods reach it and where the machine does.
type endpoint struct {
	Name    string `json:"name"`
	Inside  string `json:"inside"`
	Outside string `json:"outside"`
}

// endpoint returns the named endpoint; asking for one that does not exist is a mistake of this package.
func (c config) endpoint(name string) endpoint {
	for _, e := range c.Endpoints {
		if e.Name == name {
			return e
		}
	}
	return endpoint{Name: name}
}

// nodeIP is the address by which pods reach the servers.
func (c config) nodeIP() string {
	if c.Simulated {
		return "127.0.0.1"
	}
	return node.IP
}

func (c config) file(elem ...string) string {
	return filepath.Join(append([]string{c.Dir}, elem...)...)
}

// state is what the supervising process tells others.
type state struct {
	Components []process.State `json:"components"`
}

const (
	configFile = "config.json"
	stateFile  = "state.json"
	holderFile = "holder.json"
	// readyFile exists from the end of a complete start on.
	readyFile = "ready"
)

// writeJSON replaces a file, so that readers see the old content or the new.
func writeJSON(path string, value any) error {
	data, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding %q: %w", filepath.Base(path), err)
	}
	if err := os.WriteFile(path+".part", append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("writing %q: %w", filepath.Base(path), err)
	}
	if err := os.Rename(path+".part", path); err != nil {
		return fmt.Errorf("writing %q: %w", filepath.Base(path), err)
	}
	return nil
}

// readJSON reads what writeJSON wrote; a missing file is an error that wraps fs.ErrNotExist.
func readJSON(path string, value any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading %q: %w", filepath.Base(path), err)
	}
	if err := json.Unmarshal(data, value); err != nil {
		return fmt.Errorf("parsing %q: %w", filepath.Base(path), err)
	}
	return nil
}

// readConfig reads the config of the cluster in dir; [ErrNotRunning] when there is none.
func readConfig(dir string) (config, error) {
	var c config
	err := readJSON(filepath.Join(dir, configFile), &c)
	if errors.Is(err, fs.ErrNotExist) {
		return c, ErrNotRunning
	}
	return c, err
}

// listen opens a loopback listener per endpoint; the numbers of their ports become the outside addresses.
func listen(names []string, inside func(name, port string) string) ([]endpoint, []*net.TCPListener, error) {
	var endpoints []endpoint
	var listeners []*net.TCPListener
	for _, name := range names {
		l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			closeAll(listeners)
			return nil, nil, fmt.Errorf("listening for %q: %w", name, err)
		}
		_, port, err := net.SplitHostPort(l.Addr().String())
		if err != nil {
			closeAll(append(listeners, l))
			return nil, nil, fmt.Errorf("listening for %q: %w", name, err)
		}
		listeners = append(listeners, l)
		endpoints = append(endpoints, endpoint{Name: name, Inside: inside(name, port), Outside: l.Addr().String()})
	}
	return endpoints, listeners, nil
}

func closeAll(listeners []*net.TCPListener) {
	for _, l := range listeners {
		// A listener that was closed already is what the caller wants.
		_ = l.Close()
	}
}
