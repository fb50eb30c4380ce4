// Package site brings up what the end-to-end suite, the demonstration and the benchmarks share: a cluster, its images, its Git repository and the operator in it.
package site

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-autopilot/flux-operator/test/testbed"
	"github.com/flux-autopilot/flux-operator/test/testbed/gitserver"
)

// Namespace is where the operator and Flux live, as the operator's manifests say.
const Namespace = "flux-system"

// keepVariable keeps the cluster for looking around when it is set to 1; the next run then uses it again.
const keepVariable = "KEEP_TESTBED"

// kubernetesVariable says which minor of Kubernetes a site runs, for example "1.32".
const kubernetesVariable = "K8S_VERSION"

// downLimit bounds the removal of a site, also after an interrupt.
const downLimit = time.Minute

// Options says what site is wanted.
type Options struct {
	// Name of the testbed cluster; sites of different names run side by side, and so do those of one name on several minors of Kubernetes, by
	// [testbed.NameFor]. Required.
	Name string
	// Flux are the releases whose controllers have to be in the registry, for example "2.9.4". Default: all that have binaries.
	Flux []string
	// StandIns are further releases whose controllers have to be in the registry, as far as something can stand in for them; see [testbed.StandIns].
	StandIns []string
	// APIServerArgs are added to the API server's arguments.
	APIServerArgs []string
	// Keep leaves the cluster running on [Site.Down]. The environment variable KEEP_TESTBED=1 does the same.
	Keep bool
	// Progress receives a line per step. Default os.Stderr.
	Progress io.Writer
}

// Site is a running cluster with everything that the operator's main job needs.
type Site struct {
	// Cluster is the cluster itself.
	Cluster *testbed.Cluster
	// Client is an administrator's, without a cache.
	Client client.WithWatch
	// Fleet is the Git repository that the sample instance syncs from.
	Fleet *gitserver.Repo
	// Images are the digests of the images in the registry, by reference without the registry.
	Images map[string]string
	// Shipped is the folder of the distribution as it is released.
	Shipped string
	// Distribution is the folder of the distribution in the operator's image, which names these digests.
	Distribution string
	// Rights are objects that are applied in place of the service account, the roles and the bindings of config/default.
	Rights []*unstructured.Unstructured

	claim    *os.File
	keep     bool
	progress io.Writer
	// operator is the digest of the operator's image.
	operator string
}

// Up starts a site without the operator in it: the cluster with an audit log, the images of the Flux controllers, of the sample app and of
// the operator, and the fleet repository with its first commit. The Kubernetes minor comes from the environment variable K8S_VERSION, the
// distribution from DISTRIBUTION_DIR (default dist/distribution in the checkout). A cluster of the name that still runs is used again when
// it may be kept, and replaced otherwise; one that another process works with is an error. When Up fails, nothing is left running, unless it may be kept.
func Up(ctx context.Context, opts Options) (*Site, error) {
	s := &Site{
		keep:     opts.Keep || os.Getenv(keepVariable) == "1",
		progress: cmp.Or[io.Writer](opts.Progress, os.Stderr),
	}
	source, err := distribution()
	if err != nil {
		return nil, err
	}
	s.Shipped = source
	opts.Name = testbed.NameFor(opts.Name, os.Getenv(kubernetesVariable))
	if s.claim, err = claim(opts.Name); err != nil {
		return nil, err
	}
	if err := s.start(ctx, opts, source); err != nil {
		return nil, errors.Join(err, s.abandon(ctx, opts.Name), s.claim.Close())
	}
	return s, nil
}

func (s *Site) start(ctx context.Context, opts Options, source string) error {
	if !s.keep {
		if err := testbed.Down(ctx, opts.Name); err != nil {
			return fmt.Errorf("removing the cluster of an earlier run: %w", err)
		}
	}
	cluster, err := testbed.Up(ctx, testbed.Options{
		Name: opts.Name, Kubernetes: os.Getenv(kubernetesVariable), Node: testbed.NodeReal, Audit: true,
		APIServerArgs: opts.APIServerArgs, Progress: s.progress,
	})
	if err != nil {
		return err
	}
	cluster.Progress = s.progress
	s.Cluster = cluster
	if s.Client, err = connect(cluster.Kubeconfig); err != nil {
		return err
	}
	if err := s.pushImages(ctx, source, opts); err != nil {
		return err
	}
	if err := s.pinDistribution(source); err != nil {
		return err
	}
	if err := s.pushOperator(ctx); err != nil {
		return err
	}
	return s.openFleet(ctx)
}

// abandon is the end of a start that failed.
func (s *Site) abandon(ctx context.Context, name string) error {
	if s.keep {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), downLimit)
	defer cancel()
	return testbed.Down(ctx, name)
}

// Down removes the site without a trace, also when ctx is done already. A site that is kept stays, and how to use it is printed.
func (s *Site) Down(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), downLimit)
	defer cancel()
	defer s.claim.Close()
	if s.keep {
		s.sayf("the cluster is kept:\n  export KUBECONFIG=%s\n  remove it with: go run ./test/testbed/cmd/testbed --name %s down",
			s.Cluster.Kubeconfig, s.Cluster.Name)
		return nil
	}
	return s.Cluster.Down(ctx)
}

// Kept says that the cluster outlives [Site.Down].
func (s *Site) Kept() bool { return s.keep }

// Requests returns what the user asked the API server for since the given time; see [testbed.Requests].
func (s *Site) Requests(user string, since time.Time) ([]testbed.Request, error) {
	all, err := testbed.Requests(s.Cluster.AuditLog, since)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(r testbed.Request) bool { return r.User != user }), nil
}

func (s *Site) sayf(format string, args ...any) {
	fmt.Fprintf(s.progress, format+"\n", args...)
}
