package smoke

import (
	"cmp"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/flux-autopilot/flux-operator/test/testbed"
	"github.com/flux-autopilot/flux-operator/test/testbed/gitserver"
	"github.com/flux-autopilot/flux-operator/tools"
)

// patience bounds a whole test; from an empty cache most of it is the compiler's.
const patience = 50 * time.Minute

// kubernetes is the minor that the clusters run, for example "1.32"; empty means the newest.
func kubernetes() string { return os.Getenv("K8S_VERSION") }

// named is the name of a cluster of this run, which another run on another minor does not have.
func named(name string) string { return testbed.NameFor(name, kubernetes()) }

// up starts a cluster that is removed when the test ends.
func up(ctx context.Context, t *testing.T, opts testbed.Options) *testbed.Cluster {
	t.Helper()
	opts.Name, opts.Kubernetes = named(opts.Name), kubernetes()
	cluster, err := testbed.Up(ctx, opts)
	if err != nil {
		t.Fatalf("starting the cluster: %v", err)
	}
	t.Cleanup(func() {
		remove := testbed.Purge
		if t.Failed() {
			// Somebody will want to read the logs.
			remove = testbed.Down
		}
		if err := remove(context.WithoutCancel(ctx), opts.Name); err != nil {
			t.Errorf("removing the cluster: %v", err)
		}
	})
	return cluster
}

// kubectl runs kubectl and fails the test when that fails.
func kubectl(ctx context.Context, t *testing.T, c *testbed.Cluster, input string, args ...string) string {
	t.Helper()
	out, err := c.Kubectl(ctx, input, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func requireRealNode(t *testing.T) {
	t.Helper()
	if err := testbed.RealNode(); err != nil {
		t.Fatalf("this test needs a real node: %v", err)
	}
}

func TestRealNode(t *testing.T) {
	requireRealNode(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	before := look(t)
	c := up(ctx, t, testbed.Options{Name: "smoke", Node: testbed.NodeReal, Audit: true})
	inside := namespacesOf(t, c)

	t.Run("runs the Kubernetes that was asked for", func(t *testing.T) { testVersions(ctx, t, c) })
	t.Run("runs pods that find each other and the servers", func(t *testing.T) { testPods(ctx, t, c) })
	t.Run("serves Git with a password", func(t *testing.T) { testGit(ctx, t, c) })
	t.Run("says no to the internet at once", func(t *testing.T) { testNoInternet(ctx, t, c) })
	t.Run("logs requests by user", func(t *testing.T) { testAudit(ctx, t, c) })
	t.Run("hands exit codes on", func(t *testing.T) { testExec(ctx, t, c) })

	if err := c.Down(ctx); err != nil {
		t.Fatalf("removing the cluster: %v", err)
	}
	before.unchanged(t)
	inside.gone(t)
}

// testVersions checks the minor of the control plane and of the node.
func testVersions(ctx context.Context, t *testing.T, c *testbed.Cluster) {
	t.Helper()
	want := "v" + cmp.Or(kubernetes(), tools.KubernetesVersions()[0]) + "."
	var server struct{ GitVersion string }
	if err := json.Unmarshal([]byte(kubectl(ctx, t, c, "", "get", "--raw", "/version")), &server); err != nil {
		t.Fatal(err)
	}
	node := kubectl(ctx, t, c, "", "get", "nodes", "-o", "jsonpath={.items[0].status.nodeInfo.kubeletVersion}")
	if !strings.HasPrefix(server.GitVersion, want) || node != server.GitVersion {
		t.Errorf("the API server is %q and the node %q, and %s was asked for", server.GitVersion, node, want)
	}
}

const workload = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
      containers:
        - name: web
          image: ghcr.io/testbed/sampleapp:1.0.0
          securityContext: {readOnlyRootFilesystem: true, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
          readinessProbe: {httpGet: {path: /readyz, port: 8080}, periodSeconds: 1}
          resources: {limits: {memory: 64Mi}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: v1
kind: Pod
metadata: {name: probe}
spec:
  restartPolicy: Never
  containers:
    - name: probe
      image: registry.testbed:5000/testbed/probe:1
      args:
        - probe
        - kubernetes.default.svc.cluster.local
        - registry.testbed
        - git.testbed
        - web
        - http://web.default.svc.cluster.local/healthz
        - http://registry.testbed:5000/v2/
`

func testPods(ctx context.Context, t *testing.T, c *testbed.Cluster) {
	t.Helper()
	if _, err := c.Push(ctx, "sampleapp@1.0.0"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.PushImage(ctx, testbed.ProbeImage()); err != nil {
		t.Fatal(err)
	}
	kubectl(ctx, t, c, workload, "apply", "--server-side", "-f", "-")
	kubectl(ctx, t, c, "", "rollout", "status", "deployment/web", "--timeout=90s")
	kubectl(ctx, t, c, "", "wait", "pod/probe", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=90s")
	if logs := kubectl(ctx, t, c, "", "logs", "deployment/web"); !strings.Contains(logs, "serving") {
		t.Errorf("the log of the app is %q", logs)
	}
}

func testGit(ctx context.Context, t *testing.T, c *testbed.Cluster) {
	t.Helper()
	repo, err := gitserver.Create(ctx, c.Servers.GitRoot, "apps")
	if err != nil {
		t.Fatal(err)
	}
	want, err := repo.Commit(ctx, "Begin", map[string]string{"file": "content\n"})
	if err != nil {
		t.Fatal(err)
	}
	for _, server := range []string{c.Servers.Git, c.Servers.GitTLS} {
		url := strings.Replace(server, "://", "://"+testbed.User+":"+testbed.Password+"@", 1) + "/apps.git"
		cmd := exec.CommandContext(ctx, "git", "ls-remote", url, "refs/heads/main")
		cmd.Env = append(os.Environ(), "GIT_SSL_CAINFO="+c.Servers.CAFile)
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.HasPrefix(string(out), want) {
			t.Errorf("%s: got %q, %v; want %s", server, out, err, want)
		}
	}
	if out, err := exec.CommandContext(ctx, "git", "-c", "core.askPass=true", "ls-remote", c.Servers.Git+"/apps.git").CombinedOutput(); err == nil {
		t.Errorf("without a password the server answered %q", out)
	}
}

func testNoInternet(ctx context.Context, t *testing.T, c *testbed.Cluster) {
	t.Helper()
	const manifest = `{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "missing"}, "spec": {"containers": [{"name": "c", "image": "ghcr.io/no/such:image"}]}}`
	begin := time.Now()
	kubectl(ctx, t, c, manifest, "apply", "-f", "-")
	kubectl(ctx, t, c, "", "wait", "pod/missing", "--for=jsonpath={.status.containerStatuses[0].state.waiting.reason}=ErrImagePull", "--timeout=60s")
	message := kubectl(ctx, t, c, "", "get", "pod", "missing", "-o", "jsonpath={.status.containerStatuses[0].state.waiting.message}")
	if !strings.Contains(message, "not found") || time.Since(begin) > 30*time.Second {
		t.Errorf("after %s the pull failed with %q", time.Since(begin), message)
	}
}

func testAudit(ctx context.Context, t *testing.T, c *testbed.Cluster) {
	t.Helper()
	since := time.Now()
	data, err := c.User("somebody", "system:masters")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	write(t, file, data)
	kubectl(ctx, t, c, "", "--kubeconfig="+file, "get", "--raw", "/api/v1/namespaces/default")
	requests, err := testbed.Requests(c.AuditLog, since)
	if err != nil {
		t.Fatal(err)
	}
	var mine []testbed.Request
	for _, r := range requests {
		if r.User == "somebody" {
			mine = append(mine, r)
		}
	}
	if len(mine) != 1 || mine[0].Verb != "get" || mine[0].Code != 200 {
		t.Errorf("the requests of the user are %+v", mine)
	}
}

func testExec(ctx context.Context, t *testing.T, c *testbed.Cluster) {
	t.Helper()
	cmd := exec.CommandContext(ctx, "sh", "-c", "kubectl get nodes -o json; exit 3")
	var out strings.Builder
	cmd.Stdout = &out
	if err := c.Start(cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 3 {
		t.Errorf("the command ended with %v", err)
	}
	var nodes struct{ Items []json.RawMessage }
	if err := json.Unmarshal([]byte(out.String()), &nodes); err != nil || len(nodes.Items) != 1 {
		t.Errorf("kubectl inside the cluster printed %q (%v)", out.String(), err)
	}
}

// TestCrashIsCleanedUp kills the process that runs the cluster and starts the same cluster again.
func TestCrashIsCleanedUp(t *testing.T) {
	requireRealNode(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	before := look(t)
	c := up(ctx, t, testbed.Options{Name: "smoke-crash", Node: testbed.NodeReal})
	inside := namespacesOf(t, c)
	if err := syscall.Kill(supervisorOf(t, c), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	inside.gone(t)
	if _, err := testbed.Attach(named("smoke-crash")); err == nil {
		t.Error("a cluster without processes counts as running")
	}
	c = up(ctx, t, testbed.Options{Name: "smoke-crash", Node: testbed.NodeReal})
	if err := c.Check(ctx); err != nil {
		t.Errorf("the second cluster is not healthy: %v", err)
	}
	if err := c.Down(ctx); err != nil {
		t.Fatal(err)
	}
	before.unchanged(t)
}

// cancelOn is a progress writer that ends a context when a line contains a word.
type cancelOn struct {
	word   string
	cancel context.CancelFunc
}

func (c cancelOn) Write(p []byte) (int, error) {
	if strings.Contains(string(p), c.word) {
		c.cancel()
	}
	return len(p), nil
}

func TestInterruptedStartLeavesNothing(t *testing.T) {
	requireRealNode(t)
	for _, word := range []string{"control plane", "the node", "DNS"} {
		t.Run(word, func(t *testing.T) {
			before := look(t)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			_, err := testbed.Up(ctx, testbed.Options{
				Name: named("smoke-stop"), Kubernetes: kubernetes(), Node: testbed.NodeReal, Progress: cancelOn{word, cancel},
			})
			if err == nil {
				t.Error("an interrupted start succeeded")
			}
			before.unchanged(t)
			if err := testbed.Purge(context.WithoutCancel(ctx), named("smoke-stop")); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestSimulatedNode(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	before := look(t)
	c := up(ctx, t, testbed.Options{Name: "smoke-kwok", Node: testbed.NodeSimulated})
	kubectl(ctx, t, c, workload, "apply", "--server-side", "-f", "-")
	kubectl(ctx, t, c, "", "rollout", "status", "deployment/web", "--timeout=90s")
	if err := c.Down(ctx); err != nil {
		t.Fatal(err)
	}
	before.unchanged(t)
}

func TestControlPlane(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	before := look(t)
	p, err := testbed.ControlPlane(ctx, filepath.Join(t.TempDir(), "plane"), testbed.Options{Kubernetes: kubernetes(), Audit: true, ControllerManager: true})
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(ctx, p.Kubectl, "--kubeconfig="+p.Kubeconfig, "create", "namespace", "test").CombinedOutput()
	if err != nil {
		t.Errorf("creating a namespace: %v: %s", err, out)
	}
	requests, err := testbed.Requests(p.AuditLog, time.Time{})
	if err != nil || len(requests) == 0 {
		t.Errorf("the audit log has %d requests (%v)", len(requests), err)
	}
	p.Close(ctx)
	before.unchanged(t)
}

func TestEnvtestAssets(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	dir, err := testbed.EnvtestAssets(ctx, kubernetes())
	if err != nil {
		t.Fatal(err)
	}
	for _, program := range []string{"etcd", "kube-apiserver", "kubectl"} {
		if out, err := exec.CommandContext(ctx, filepath.Join(dir, program), versionArgs(program)...).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", program, err, out)
		}
	}
}

func versionArgs(program string) []string {
	if program == "kubectl" {
		return []string{"version", "--client"}
	}
	return []string{"--version"}
}
