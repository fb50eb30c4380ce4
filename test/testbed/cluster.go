package testbed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/flux-autopilot/flux-operator/test/testbed/pki"
	"github.com/flux-autopilot/flux-operator/test/testbed/plane"
	"github.com/flux-autopilot/flux-operator/test/testbed/process"
)

// Cluster is a running cluster.
type Cluster struct {
	// Name is what the cluster is called.
	Name string
	// Dir is the folder with everything the cluster wrote; logs are in "logs".
	Dir string
	// Kubeconfig is an administrator's file, good on this machine and inside the cluster's namespaces.
	Kubeconfig string
	// Kubernetes is the minor version.
	Kubernetes string
	// Simulated says that pods become Ready without running.
	Simulated bool
	// NodeIP is the node's address, by which pods reach the servers.
	NodeIP string
	// AuditLog is the API server's file of requests, one JSON document per line; empty when none is kept.
	AuditLog string
	// Servers tells where the cluster's own servers are.
	Servers Servers
	// Progress receives a line per step of longer work. Default os.Stderr.
	Progress io.Writer

	config config
}

// Servers are the servers beside the cluster. Names and addresses ending in "Inside" are for pods and manifests, the others for this machine.
type Servers struct {
	// Registry is host:port of the registry that answers for every registry of the world, without authentication.
	Registry, RegistryInside string
	// PrivateRegistry is host:port of a registry that asks for [User] and [Password].
	PrivateRegistry, PrivateRegistryInside string
	// Git is the URL of the Git server, without a trailing slash; it asks for [User] and [Password].
	Git, GitInside string
	// GitTLS is the same over HTTPS, with a certificate signed by CAFile.
	GitTLS, GitTLSInside string
	// S3 is host:port of an S3 server that takes any credentials; it has the bucket [Bucket].
	S3, S3Inside string
	// GitRoot is the folder of the Git server's repositories, for package gitserver.
	GitRoot string
	// CAFile is the PEM certificate of the authority of HTTPS servers.
	CAFile string
}

// Attach returns the running cluster of the given name; an empty name means [DefaultName]. It fails with [ErrNotRunning] also when
// the cluster has not become ready yet.
func Attach(name string) (*Cluster, error) {
	dir, err := stateDir(name)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(dir, readyFile)); errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotRunning
	}
	return attach(dir)
}

// attach returns the cluster in dir, ready or not.
func attach(dir string) (*Cluster, error) {
	c, err := readConfig(dir)
	if err != nil {
		return nil, err
	}
	var h holder
	if err := readJSON(filepath.Join(dir, holderFile), &h); err != nil || !h.alive() {
		return nil, errors.Join(ErrNotRunning, err)
	}
	inside := func(host, endpoint string) string {
		if c.Simulated {
			return c.endpoint(endpoint).Inside
		}
		return host + ":" + ports()[endpoint]
	}
	outside := func(name string) string { return c.endpoint(name).Outside }
	return &Cluster{
		Name: c.Name, Dir: dir, Kubeconfig: c.file("kubeconfig"), Kubernetes: c.Kubernetes, Simulated: c.Simulated,
		NodeIP: c.nodeIP(), AuditLog: c.AuditLog, Progress: os.Stderr, config: c,
		Servers: Servers{
			Registry: outside(endpointRegistry), RegistryInside: inside(registryHost, endpointRegistry),
			PrivateRegistry: outside(endpointPrivateRegistry), PrivateRegistryInside: inside(registryHost, endpointPrivateRegistry),
			Git: "http://" + outside(endpointGit), GitInside: "http://" + inside(gitHost, endpointGit),
			GitTLS: "https://" + outside(endpointGitTLS), GitTLSInside: "https://" + inside(gitHost, endpointGitTLS),
			S3: outside(endpointS3), S3Inside: inside(s3Host, endpointS3),
			GitRoot: c.file("git"), CAFile: c.file("servers", "ca.crt"),
		},
	}, nil
}

// Down removes the cluster; see [Down].
func (c *Cluster) Down(ctx context.Context) error { return Down(ctx, c.Name) }

// Components lists the programs of the cluster and whether they still run.
func (c *Cluster) Components() ([]process.State, error) {
	var s state
	err := readJSON(c.config.file(stateFile), &s)
	return s.Components, err
}

// Check returns nil when all components run and the API server is ready.
func (c *Cluster) Check(ctx context.Context) error {
	components, err := c.Components()
	if err != nil {
		return err
	}
	for _, component := range components {
		if component.Exit != "" {
			return fmt.Errorf("checking %q: it ended with %s", component.Name, component.Exit)
		}
	}
	_, err = c.Kubectl(ctx, "", "get", "--raw", "/readyz")
	return err
}

// LogFile returns the log of a component; "supervisor" is the one of the process that holds the cluster together.
func (c *Cluster) LogFile(component string) string { return c.config.file("logs", component+".log") }

// User returns a kubeconfig for a user in the given groups.
func (c *Cluster) User(name string, groups ...string) ([]byte, error) {
	authority, err := pki.ReadAuthority(c.config.file("pki"), "ca")
	if err != nil {
		return nil, err
	}
	return plane.UserKubeconfig("https://"+c.config.endpoint(endpointAPI).Outside, authority, name, groups...)
}

// Kubectl runs kubectl on this machine as administrator with the given input and returns what it printed.
func (c *Cluster) Kubectl(ctx context.Context, input string, args ...string) (string, error) {
	return kubectl(ctx, c.config, input, args...)
}

// KubectlPath is the kubectl of the cluster's version.
func (c *Cluster) KubectlPath() string { return c.config.Binaries["kubectl"] }

func kubectl(ctx context.Context, c config, input string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, c.Binaries["kubectl"], append([]string{"--kubeconfig=" + c.file("kubeconfig")}, args...)...)
	cmd.Stdin = strings.NewReader(input)
	// kubectl keeps its cache in the home folder.
	cmd.Env = append(os.Environ(), "HOME="+c.file("home"))
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("running kubectl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// Start starts a command inside the cluster's namespaces, where Service and pod addresses can be reached and KUBECONFIG is set.
// Without namespaces it starts it where the caller is. Wait for it as for any other command.
func (c *Cluster) Start(cmd *exec.Cmd) error {
	c.environment(cmd)
	if c.Simulated {
		return cmd.Start()
	}
	pid, err := c.holder()
	if err != nil {
		return err
	}
	return startInside(cmd, pid)
}

// Exec runs a command as [Cluster.Start] does, with this process's streams and signals, and returns its exit code.
func (c *Cluster) Exec(ctx context.Context, name string, args ...string) (int, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	c.environment(cmd)
	if c.Simulated {
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		err := cmd.Run()
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			return exit.ExitCode(), nil
		}
		return 0, err
	}
	pid, err := c.holder()
	if err != nil {
		return 0, err
	}
	return runInside(ctx, cmd, pid)
}

func (c *Cluster) environment(cmd *exec.Cmd) {
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	cmd.Env = append(cmd.Env, "KUBECONFIG="+c.Kubeconfig,
		"PATH="+filepath.Dir(c.KubectlPath())+string(os.PathListSeparator)+os.Getenv("PATH"))
	cmd.WaitDelay = time.Second
}

func (c *Cluster) holder() (int, error) {
	var h holder
	if err := readJSON(c.config.file(holderFile), &h); err != nil || !h.alive() {
		return 0, errors.Join(ErrNotRunning, err)
	}
	return h.PID, nil
}

func (c *Cluster) sayf(format string, args ...any) {
	fmt.Fprintf(c.Progress, "testbed: "+format+"\n", args...)
}

// LogFile returns the log of a component of the named cluster, running or not.
func LogFile(name, component string) (string, error) {
	dir, err := stateDir(name)
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "logs", component+".log"), nil
}
