package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/test/testbed/plane"
	"github.com/flux-autopilot/flux-operator/test/testbed/process"
	"github.com/flux-autopilot/flux-operator/tools"
)

const (
	// operatorUser is the service account that config/rbac binds: the operator has exactly the rights it ships with.
	operatorUser = "system:serviceaccount:" + v1.DefaultNamespace + ":flux-operator"
	// floorUser applies the same objects without the operator.
	floorUser = "bench-floor"

	fieldManager = "bench"
	stopLimit    = 20 * time.Second
	establishing = 30 * time.Second

	// The API server is calm when it takes less than this share of a processor several times in a row.
	calmShare    = 8
	calmTimes    = 3
	calmInterval = 200 * time.Millisecond
)

// cluster is an API server of this run's own with nobody else in it: no controllers, no node.
type cluster struct {
	dir     string
	group   *process.Group
	plane   *plane.Plane
	audit   *auditLog
	admin   client.WithWatch
	started int
}

// onCluster runs work against an API server of its own. A used one is never taken again: it needs seconds to forget definitions that were
// deleted, and may get stuck when the same ones come back meanwhile.
func (b *bench) onCluster(ctx context.Context, work func(context.Context) error) (err error) {
	if b.cluster, err = b.startCluster(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.cluster.close(context.WithoutCancel(ctx))) }()
	if err := b.cluster.calm(ctx); err != nil {
		return err
	}
	return work(ctx)
}

// startCluster starts etcd and an API server and installs what the operator needs besides itself.
func (b *bench) startCluster(ctx context.Context) (*cluster, error) {
	binaries, err := tools.Build(ctx, "etcd", "kube-apiserver")
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(b.dir, "cluster-")
	if err != nil {
		return nil, fmt.Errorf("making a folder for the API server: %w", err)
	}
	group, err := process.NewGroup(filepath.Join(dir, "logs"))
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	c := &cluster{dir: dir, group: group, audit: newAuditLog(filepath.Join(dir, "audit.log"))}
	if err := c.start(ctx, binaries, filepath.Join(b.options.Root, "config")); err != nil {
		return nil, errors.Join(err, c.close(context.WithoutCancel(ctx)))
	}
	return c, nil
}

func (c *cluster) start(ctx context.Context, binaries map[string]string, config string) error {
	var err error
	if c.plane, err = plane.Start(ctx, c.group, plane.Config{Dir: filepath.Join(c.dir, "plane"), Binaries: binaries, AuditLog: c.audit.path}); err != nil {
		return err
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(v1.AddToScheme(scheme), corev1.AddToScheme(scheme), appsv1.AddToScheme(scheme), rbacv1.AddToScheme(scheme)); err != nil {
		return fmt.Errorf("building the scheme: %w", err)
	}
	admin, err := c.restConfig("bench-admin", "system:masters")
	if err != nil {
		return err
	}
	if c.admin, err = client.NewWithWatch(admin, client.Options{Scheme: scheme}); err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	return c.install(ctx, config)
}

// calm waits until the API server has digested what it was given: it goes on publishing schemas after it answered.
func (c *cluster) calm(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, quietLimit)
	defer cancel()
	states := c.group.States()
	server := states[slices.IndexFunc(states, func(s process.State) bool { return s.Name == "kube-apiserver" })].PID
	before, err := usageOf(server)
	if err != nil {
		return err
	}
	for calm := 0; calm < calmTimes; {
		if err := pause(ctx, calmInterval); err != nil {
			return fmt.Errorf("waiting for the API server to have nothing to do: %w", err)
		}
		after, err := usageOf(server)
		if err != nil {
			return err
		}
		if calm++; after.cpu-before.cpu > calmInterval/calmShare {
			calm = 0
		}
		before = after
	}
	return nil
}

// close stops everything and removes what was written.
func (c *cluster) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopLimit)
	defer cancel()
	c.group.Close(ctx)
	return os.RemoveAll(c.dir)
}

// restConfig is a client's configuration for a user, without a limit of its own on requests.
func (c *cluster) restConfig(user string, groups ...string) (*rest.Config, error) {
	kubeconfig, err := c.plane.User(user, groups...)
	if err != nil {
		return nil, err
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("reading the kubeconfig of %q: %w", user, err)
	}
	config.QPS = -1
	config.UserAgent = fieldManager
	return config, nil
}

// install creates the namespace, the CRDs and the permissions, as config/default does, but not the operator itself.
func (c *cluster) install(ctx context.Context, config string) error {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: v1.DefaultNamespace}}
	if err := c.admin.Create(ctx, namespace); err != nil {
		return fmt.Errorf("creating the namespace: %w", err)
	}
	for _, pattern := range []string{"crd/bases/*.yaml", "rbac/*.yaml"} {
		files, err := filepath.Glob(filepath.Join(config, pattern))
		if err != nil {
			return fmt.Errorf("listing %q: %w", pattern, err)
		}
		for _, file := range files {
			if filepath.Base(file) == "kustomization.yaml" {
				continue
			}
			if err := c.applyFile(ctx, file); err != nil {
				return err
			}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, establishing)
	defer cancel()
	return c.group.Await(ctx, "the operator's kinds", func(ctx context.Context) error {
		return c.admin.List(ctx, &v1.FluxInstanceList{})
	})
}

// applyFile applies the documents of a file.
func (c *cluster) applyFile(ctx context.Context, path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading a manifest: %w", err)
	}
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096)
	for {
		obj := &unstructured.Unstructured{}
		if err := decoder.Decode(obj); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("parsing %q: %w", filepath.Base(path), err)
		}
		if len(obj.Object) == 0 {
			continue
		}
		if err := c.admin.Apply(ctx, client.ApplyConfigurationFromUnstructured(obj), client.FieldOwner(fieldManager)); err != nil {
			return fmt.Errorf("applying %q: %w", filepath.Base(path), err)
		}
	}
}
