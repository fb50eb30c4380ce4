package testbed

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/flux-autopilot/flux-operator/tools"
)

// DefaultName is the cluster that is meant when nobody names one.
const DefaultName = "default"

// Node says what kind of node a cluster gets.
type Node string

const (
	// NodeAuto takes a real node where that is possible, else a simulated one, and says so.
	NodeAuto Node = ""
	// NodeReal insists on a node that runs containers.
	NodeReal Node = "real"
	// NodeSimulated takes kwok's node, which runs nothing.
	NodeSimulated Node = "simulated"
)

// Options says what cluster to start.
type Options struct {
	// Name tells clusters apart that run side by side; lower-case letters, digits and hyphens, at most 30. Default "default".
	Name string
	// Kubernetes is the minor version, for example "1.35". Default is the newest in [tools.KubernetesVersions].
	Kubernetes string
	// Node is the kind of node.
	Node Node
	// Audit makes the API server write one line per request to [Cluster.AuditLog].
	Audit bool
	// APIServerArgs are added to the API server's arguments.
	APIServerArgs []string
	// ControllerManager starts kube-controller-manager beside [ControlPlane]'s API server; a cluster always has it.
	ControllerManager bool
	// Program is the testbed command line program. Default: it is built from source.
	Program string
	// Progress receives a line per step. Default os.Stderr.
	Progress io.Writer
}

// NameFor returns the name that a cluster has on a minor of Kubernetes, so that runs on several minors can go on side by side: the name itself on
// the default minor, for which "" stands too, and for example "k8s-1-32-e2e" on another.
func NameFor(name, kubernetes string) string {
	if kubernetes == "" || kubernetes == tools.KubernetesVersions()[0] {
		return name
	}
	return "k8s-" + strings.ReplaceAll(kubernetes, ".", "-") + "-" + name
}

var validName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?$`)

// complete checks the options and fills in the defaults.
func (o Options) complete() (Options, error) {
	if o.Name == "" {
		o.Name = DefaultName
	}
	if !validName.MatchString(o.Name) {
		return o, fmt.Errorf("checking cluster name %q: use up to 30 lower-case letters, digits and hyphens", o.Name)
	}
	versions := tools.KubernetesVersions()
	if o.Kubernetes == "" {
		o.Kubernetes = versions[0]
	}
	if !slices.Contains(versions, o.Kubernetes) {
		return o, fmt.Errorf("checking Kubernetes version %q: known are %s", o.Kubernetes, strings.Join(versions, ", "))
	}
	if !slices.Contains([]Node{NodeAuto, NodeReal, NodeSimulated}, o.Node) {
		return o, fmt.Errorf("checking node %q: use %q or %q", o.Node, NodeReal, NodeSimulated)
	}
	if o.Progress == nil {
		o.Progress = os.Stderr
	}
	return o, nil
}

// stateDir returns the folder of the named cluster, which may not exist.
func stateDir(name string) (string, error) {
	if name == "" {
		name = DefaultName
	}
	if !validName.MatchString(name) {
		return "", fmt.Errorf("checking cluster name %q: use up to 30 lower-case letters, digits and hyphens", name)
	}
	base, err := tools.CacheDir("testbed")
	if err != nil {
		return "", err
	}
	return filepath.Join(base, name), nil
}

// ErrNotRunning says that no cluster of the name runs.
var ErrNotRunning = errors.New("the testbed is not running")
