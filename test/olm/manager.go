// Package olm runs the Operator Lifecycle Manager in a site's cluster, out of its own module, and offers it bundles of this project in catalogs.
package olm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-autopilot/flux-operator/test/site"
)

const (
	// Namespace is where the lifecycle manager runs, and the catalogs that it offers to all namespaces.
	Namespace = "olm"
	// startLimit bounds the start of the lifecycle manager.
	startLimit = 3 * time.Minute
	// soon bounds what takes a request or two.
	soon = time.Minute
)

// Manager is the lifecycle manager in a cluster.
type Manager struct {
	site *site.Site
	// opm is the path of the program that makes and serves catalogs.
	opm string
	// probe is the program beside it in an image, with which the kubelet asks whether it serves.
	probe fs.FS
}

// Up starts the lifecycle manager with the rights and the pods that its own chart describes and waits until it is ready.
func Up(ctx context.Context, s *site.Site) (*Manager, error) {
	m := &Manager{site: s}
	manager, opm, err := m.pushImages(ctx)
	if err != nil {
		return nil, err
	}
	kinds, err := definitions(ctx)
	if err != nil {
		return nil, err
	}
	objects, err := manifests(ctx, manager, opm)
	if err != nil {
		return nil, err
	}
	if err := m.apply(ctx, kinds); err != nil {
		return nil, err
	}
	if err := m.apply(ctx, objects); err != nil {
		return nil, err
	}
	m.sayf("waiting for the lifecycle manager")
	return m, m.await(ctx)
}

// apply applies objects; a kind that was just defined is served a moment later.
func (m *Manager) apply(ctx context.Context, objects []*unstructured.Unstructured) error {
	for _, object := range objects {
		err := m.site.Await(ctx, soon, object.GetKind()+" "+object.GetName()+" to be taken", func(ctx context.Context) error {
			return m.site.Apply(ctx, object)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func deployments() []string { return []string{"olm-operator", "catalog-operator"} }

func (m *Manager) await(ctx context.Context) error {
	var errs []error
	for _, name := range deployments() {
		errs = append(errs, m.site.AwaitDeployment(ctx, startLimit, Namespace, name))
	}
	return errors.Join(errs...)
}

// Stop ends the lifecycle manager and waits until none of its pods is left, also of those on their way out, which still act; what it made stays.
func (m *Manager) Stop(ctx context.Context) error {
	for _, name := range deployments() {
		deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: name}}
		if err := m.site.Client.Patch(ctx, deployment, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"replicas":0}}`))); err != nil {
			return fmt.Errorf("stopping %q: %w", name, err)
		}
	}
	return m.site.Await(ctx, startLimit, "the lifecycle manager to end", func(ctx context.Context) error {
		pods := &corev1.PodList{}
		if err := m.site.Client.List(ctx, pods, client.InNamespace(Namespace), client.HasLabels{"app"}); err != nil {
			return err
		}
		for i := range pods.Items {
			if slices.Contains(deployments(), pods.Items[i].Labels["app"]) {
				return fmt.Errorf("pod %q is still there", pods.Items[i].Name)
			}
		}
		return nil
	})
}

func (m *Manager) sayf(format string, args ...any) {
	fmt.Fprintf(m.site.Cluster.Progress, "olm: "+format+"\n", args...)
}

// file names a file of the lifecycle manager in the cluster's folder.
func (m *Manager) file(parts ...string) string {
	return filepath.Join(append([]string{m.site.Cluster.Dir, "olm"}, parts...)...)
}
