package testbed

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/flux-autopilot/flux-operator/test/testbed/node"
	"github.com/flux-autopilot/flux-operator/test/testbed/sandbox"
	"github.com/flux-autopilot/flux-operator/tools"
)

// downLimit bounds the removal of a cluster: everything in it is killed, so only the kernel's own work counts.
const downLimit = 30 * time.Second

// Up starts a cluster and returns when its node is ready and its DNS answers. What an earlier run left behind when it crashed is
// removed first. A cluster of the same name that runs already is returned as it is, if it has the same Kubernetes version; another
// process that starts the same cluster is waited for.
// When Up fails or ctx ends, nothing is left but logs.
func Up(ctx context.Context, opts Options) (*Cluster, error) {
	opts, err := opts.complete()
	if err != nil {
		return nil, err
	}
	dir, err := stateDir(opts.Name)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("making the cluster's folder: %w", err)
	}
	// One start at a time; the lock of the cluster itself is held by whatever keeps it running.
	starting, err := awaitLock(ctx, filepath.Join(dir, "start.lock"))
	if err != nil {
		return nil, err
	}
	defer starting.Close()
	if cluster, err := reuse(ctx, opts); !errors.Is(err, ErrNotRunning) {
		return cluster, err
	}
	if err := remove(ctx, dir); err != nil {
		return nil, fmt.Errorf("removing what an earlier run left behind: %w", err)
	}
	s := &starter{opts: opts, dir: dir}
	cluster, err := s.start(ctx)
	if err != nil {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), downLimit)
		defer cancel()
		return nil, errors.Join(err, remove(clean, dir))
	}
	return cluster, nil
}

// reuse returns the running cluster when it is what the options ask for. One whose start was cut off counts as not running.
func reuse(ctx context.Context, opts Options) (*Cluster, error) {
	cluster, err := Attach(opts.Name)
	if err != nil {
		return nil, err
	}
	if cluster.Kubernetes != opts.Kubernetes {
		return nil, fmt.Errorf("starting testbed %q: it runs already, with Kubernetes %s", opts.Name, cluster.Kubernetes)
	}
	if err := cluster.Check(ctx); err != nil {
		return nil, fmt.Errorf("attaching to testbed %q: %w", opts.Name, err)
	}
	cluster.Progress = opts.Progress
	cluster.sayf("%s runs already", opts.Name)
	return cluster, nil
}

// starter holds what the steps of one start share.
type starter struct {
	opts   Options
	dir    string
	config config
}

func (s *starter) start(ctx context.Context) (*Cluster, error) {
	begin := time.Now()
	if err := s.chooseNode(); err != nil {
		return nil, err
	}
	if err := s.gather(ctx); err != nil {
		return nil, err
	}
	if err := s.launch(ctx); err != nil {
		return nil, err
	}
	cluster, err := attach(s.dir)
	if err != nil {
		return nil, err
	}
	cluster.Progress = s.opts.Progress
	if err := cluster.install(ctx); err != nil {
		return nil, err
	}
	if err := os.WriteFile(s.config.file(readyFile), nil, 0o644); err != nil {
		return nil, fmt.Errorf("calling the cluster ready: %w", err)
	}
	s.sayf("ready after %.0f s", time.Since(begin).Seconds())
	return cluster, nil
}

func (s *starter) sayf(format string, args ...any) {
	fmt.Fprintf(s.opts.Progress, "testbed: "+format+"\n", args...)
}

// chooseNode decides between the real and the simulated node.
func (s *starter) chooseNode() error {
	s.config.Simulated = s.opts.Node == NodeSimulated
	if s.config.Simulated {
		s.sayf("the node is SIMULATED, as asked for: pods become Ready without running")
		return nil
	}
	reason := RealNode()
	if reason == nil {
		return nil
	}
	if s.opts.Node == NodeReal {
		return fmt.Errorf("starting a real node: %w", reason)
	}
	s.config.Simulated = true
	s.sayf("the node is SIMULATED: pods become Ready without running, because a real node cannot be had: %v", reason)
	return nil
}

// gather builds the programs and writes the config.
func (s *starter) gather(ctx context.Context) error {
	components := []string{"etcd", "kube-apiserver", "kubectl", "kube-controller-manager", "kube-scheduler"}
	if s.config.Simulated {
		components = append(components, "kwok")
	} else {
		components = append(components, "kubelet", "kube-proxy")
	}
	binaries, err := build(ctx, s.opts, components)
	if err != nil {
		return err
	}
	keep, err := tools.CacheDir()
	if err != nil {
		return err
	}
	s.config.Name, s.config.Dir, s.config.Keep = s.opts.Name, s.dir, keep
	s.config.Kubernetes, s.config.Binaries = s.opts.Kubernetes, binaries
	if s.config.Cgroup, err = sandbox.CgroupName(clusterID(s.dir)); err != nil {
		return err
	}
	s.config.APIServerArgs = s.opts.APIServerArgs
	if s.opts.Audit {
		s.config.AuditLog = s.config.file("audit", "audit.log")
	}
	s.config.Program = s.config.file("bin", "testbed")
	if err := placeProgram(ctx, s.opts.Program, s.config.Program); err != nil {
		return err
	}
	if s.config.Simulated {
		if err := writeStages(ctx, s.config.file(stagesFile)); err != nil {
			return err
		}
	}
	return writeServerKeys(s.config)
}

// build builds the components and returns their paths by component name.
func build(ctx context.Context, opts Options, components []string) (map[string]string, error) {
	names := make([]string, 0, len(components))
	for _, component := range components {
		names = append(names, toolName(component, opts.Kubernetes))
	}
	paths, err := tools.Build(ctx, names...)
	if err != nil {
		return nil, err
	}
	binaries := make(map[string]string, len(components))
	for i, component := range components {
		binaries[component] = paths[names[i]]
	}
	return binaries, nil
}

// toolName is what the tool builder calls a component; kwok does not come with Kubernetes.
func toolName(component, minor string) string {
	if component == "kwok" {
		return component
	}
	return tools.Versioned(component, minor)
}

// placeProgram puts the testbed program where the cluster keeps it: it has to outlive "go run" and a rebuild.
func placeProgram(ctx context.Context, from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return fmt.Errorf("placing the testbed program: %w", err)
	}
	if from == "" {
		return buildPackage(ctx, "./test/testbed/cmd/testbed", to, nil)
	}
	return copyFile(from, to, 0o755)
}

func copyFile(from, to string, mode os.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("copying %q: %w", from, err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, mode)
	if err != nil {
		return fmt.Errorf("copying %q: %w", from, err)
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Close()); err != nil {
		return fmt.Errorf("copying %q: %w", from, err)
	}
	return nil
}

// launch starts the process that holds the cluster together and waits until that calls it ready.
func (s *starter) launch(ctx context.Context) error {
	listeners, err := s.openEndpoints()
	if err != nil {
		return err
	}
	defer closeAll(listeners)
	if err := writeJSON(s.config.file(configFile), s.config); err != nil {
		return err
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("starting the cluster: %w", err)
	}
	defer reader.Close()
	files, err := inheritance(writer, listeners, s.config)
	if err == nil {
		err = s.startHolder(files)
	}
	for _, file := range files {
		file.Close()
	}
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { reader.Close() })
	defer stop()
	if err := s.follow(reader); err != nil {
		return errors.Join(err, ctx.Err())
	}
	return nil
}

// openEndpoints makes the addresses of the cluster. Without namespaces the servers listen themselves where the machine reaches them.
func (s *starter) openEndpoints() ([]*net.TCPListener, error) {
	names := []string{endpointAPI, endpointRegistry, endpointPrivateRegistry, endpointGit, endpointGitTLS, endpointS3}
	endpoints, listeners, err := listen(names, func(name, port string) string {
		if s.config.Simulated {
			return net.JoinHostPort("127.0.0.1", port)
		}
		if inside, ok := ports()[name]; ok {
			port = inside
		}
		return net.JoinHostPort(node.IP, port)
	})
	if err != nil {
		return nil, err
	}
	s.config.Endpoints = endpoints
	if s.config.Simulated {
		closeAll(listeners)
		listeners = nil
	}
	return listeners, nil
}

// inheritance lists the files of the supervising process from number 3 on, as far as there are any.
func inheritance(progress *os.File, listeners []*net.TCPListener, c config) ([]*os.File, error) {
	files := []*os.File{progress}
	for _, l := range listeners {
		file, err := l.File()
		if err != nil {
			return files, fmt.Errorf("handing over the listeners of testbed %q: %w", c.Name, err)
		}
		files = append(files, file)
	}
	return files, nil
}

func (s *starter) startHolder(files []*os.File) error {
	if err := os.MkdirAll(s.config.file("logs"), 0o755); err != nil {
		return fmt.Errorf("starting the cluster: %w", err)
	}
	log, err := os.Create(s.config.file("logs", "supervisor.log"))
	if err != nil {
		return fmt.Errorf("starting the cluster: %w", err)
	}
	defer log.Close()
	command, attributes := holderCommand(s.config)
	cmd := exec.Command(s.config.Program, command, "--dir", s.dir) //nolint:noctx // the cluster outlives its start
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.SysProcAttr, cmd.ExtraFiles = "/", log, log, attributes, files
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting the cluster: %w", err)
	}
	// Reaped when it ends within the life of this process, so that it does not look alive.
	go func() { _ = cmd.Wait() }()
	start, err := identity(cmd.Process.Pid)
	if err != nil {
		return fmt.Errorf("starting the cluster: %w", err)
	}
	return writeJSON(s.config.file(holderFile), holder{PID: cmd.Process.Pid, Identity: start})
}

// follow repeats the steps that the supervising process reports until it is ready or has failed.
func (s *starter) follow(progress io.Reader) error {
	lines := bufio.NewScanner(progress)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if line == readyLine {
			return nil
		}
		if quoted, failed := strings.CutPrefix(line, failedPrefix); failed {
			reason, err := strconv.Unquote(quoted)
			if err != nil {
				reason = quoted
			}
			return fmt.Errorf("starting testbed %q: %s", s.opts.Name, reason)
		}
		s.sayf("%s", line)
	}
	return fmt.Errorf("starting testbed %q: its supervising process ended; see %s", s.opts.Name, s.config.file("logs"))
}

// clusterID tells the cluster in dir apart from all others of the machine, those of other users and cache folders included.
func clusterID(dir string) string {
	h := fnv.New32a()
	h.Write([]byte(dir))
	return fmt.Sprintf("%s-%08x", filepath.Base(dir), h.Sum32())
}
