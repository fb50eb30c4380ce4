package controllers

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/render"
)

// Types of clusters that the operator tells apart by itself, as spec.cluster.type names them.
const (
	kubernetesType = "kubernetes"
	openshiftType  = "openshift"
)

// platformTimeout bounds the requests for what is known of the cluster.
const platformTimeout = 10 * time.Second

// Platform finds out where the operator runs, and what of that concerns the controllers of Flux.
// All exported fields are required unless they say otherwise, and must not change after the start.
type Platform struct {
	// API asks the API server which groups it serves.
	API rest.Interface
	// Reader reads from the API server.
	Reader client.Reader
	// Namespace is where Flux is installed.
	Namespace string
	// Images are those that came with the operator. Optional.
	Images render.RelatedImages
	// Proxy is handed on to the controllers. Optional.
	Proxy render.Proxy
	// TrustedCA is render.AutomaticTrustedCA, render.NoTrustedCA, or the name of a ConfigMap. Optional, none by default.
	TrustedCA string

	mu     sync.Mutex
	kind   string
	looked render.TrustedCA
	// stale says that the certificates changed since Look was called last, where that is watched.
	stale atomic.Bool
}

// Look finds out what holds now.
func (p *Platform) Look(ctx context.Context) (render.Platform, error) {
	if p == nil {
		return render.Platform{}, nil
	}
	kind, err := p.Type(ctx)
	if err != nil {
		return render.Platform{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, platformTimeout)
	defer cancel()
	p.stale.Store(false)
	trusted, err := p.authorities(ctx, kind)
	if err != nil {
		return render.Platform{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.looked = trusted
	return render.Platform{Type: kind, Images: p.Images, Proxy: p.Proxy, TrustedCA: trusted}, nil
}

// changed tells whether Look would find something else than it did the last time, where that can be seen without asking what kind of cluster
// this is. On other clusters than OpenShift's that takes no request, unless a ConfigMap was named.
func (p *Platform) changed(ctx context.Context) bool {
	if p == nil {
		return false
	}
	p.mu.Lock()
	kind, before := p.kind, p.looked
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, platformTimeout)
	defer cancel()
	now, err := p.authorities(ctx, kind)
	return err != nil || now != before
}

// Known is the type of the cluster as it was found last, without asking: empty when nobody asked yet.
func (p *Platform) Known() string {
	if p == nil {
		return ""
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.kind
}

// Type asks for the type of the cluster unless it is known to be OpenShift, from this process or the report that one before it left: that its
// API is not served for a moment does not make it another cluster, and the controllers would be refused.
func (p *Platform) Type(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, platformTimeout)
	defer cancel()
	before := p.Known()
	if before == openshiftType {
		return before, nil
	}
	kind, err := p.ask(ctx)
	if err == nil && kind == kubernetesType && before == "" {
		kind, err = p.reported(ctx)
	}
	if err != nil {
		return "", err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kind = kind
	return kind, nil
}

// ask tells the type of the cluster by what its API server serves.
func (p *Platform) ask(ctx context.Context) (string, error) {
	err := p.API.Get().AbsPath("/apis/" + render.OpenShiftGroup).Do(ctx).Error()
	if apierrors.IsNotFound(err) {
		return kubernetesType, nil
	}
	if err != nil {
		return "", fmt.Errorf("asking for the API group %q: %w", render.OpenShiftGroup, err)
	}
	return openshiftType, nil
}

// reported is the type that the report says.
func (p *Platform) reported(ctx context.Context) (string, error) {
	known := &v1.FluxReport{}
	err := p.Reader.Get(ctx, client.ObjectKey{Namespace: p.Namespace, Name: v1.DefaultInstanceName}, known)
	if client.IgnoreNotFound(err) != nil {
		return "", fmt.Errorf("reading the FluxReport: %w", err)
	}
	if known.Spec.Cluster != nil && known.Spec.Cluster.Type == openshiftType {
		return openshiftType, nil
	}
	return kubernetesType, nil
}

// authorities looks for the ConfigMap with what the controllers are to trust.
func (p *Platform) authorities(ctx context.Context, kind string) (render.TrustedCA, error) {
	switch p.TrustedCA {
	case "", render.NoTrustedCA:
		return render.TrustedCA{}, nil
	case render.AutomaticTrustedCA:
		if kind != openshiftType {
			return render.TrustedCA{}, nil
		}
		return p.clusterAuthorities(ctx)
	}
	digest, err := p.digest(ctx, p.TrustedCA)
	if err == nil && digest == "" {
		err = fmt.Errorf("no ConfigMap %q in namespace %q holds certificates under the key %s", p.TrustedCA, p.Namespace, render.TrustedCAKey)
	}
	if err != nil {
		return render.TrustedCA{}, fmt.Errorf("--trusted-ca: %w", err)
	}
	return render.TrustedCA{ConfigMap: p.TrustedCA, Digest: digest}, nil
}

// clusterAuthorities asks OpenShift for what the cluster trusts, where an administrator gave it authorities of its own.
func (p *Platform) clusterAuthorities(ctx context.Context) (render.TrustedCA, error) {
	settings := &unstructured.Unstructured{}
	settings.SetGroupVersionKind(schema.GroupVersionKind{Group: "config.openshift.io", Version: "v1", Kind: "Proxy"})
	err := p.Reader.Get(ctx, client.ObjectKey{Name: "cluster"}, settings)
	if apierrors.IsNotFound(err) || apimeta.IsNoMatchError(err) {
		return render.TrustedCA{}, nil // a small variant of OpenShift
	}
	if err != nil {
		return render.TrustedCA{}, fmt.Errorf("reading the cluster's Proxy: %w", err)
	}
	if name, _, _ := unstructured.NestedString(settings.Object, "spec", "trustedCA", "name"); name == "" {
		return render.TrustedCA{}, nil
	}
	digest, err := p.digest(ctx, render.ClusterCA)
	return render.TrustedCA{ConfigMap: render.ClusterCA, Filled: true, Digest: digest}, err
}

// digest is that of the certificates in a ConfigMap, empty while there are none.
func (p *Platform) digest(ctx context.Context, name string) (string, error) {
	config := &corev1.ConfigMap{}
	err := p.Reader.Get(ctx, client.ObjectKey{Namespace: p.Namespace, Name: name}, config)
	if apierrors.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("reading ConfigMap %q: %w", name, err)
	}
	return render.TrustedCADigest(config.Data), nil
}
