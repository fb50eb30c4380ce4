package monitoring

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/flux-autopilot/flux-operator/test/site"
	"github.com/flux-autopilot/flux-operator/tools"
)

// scraper is the account, and the Secret with its token, that config/monitoring scrapes the operator with.
const scraper = "flux-operator-scraper"

// tokenLimit bounds the time in which the cluster puts a token into a Secret.
const tokenLimit = time.Minute

// Install applies config/monitoring without the kinds of the Prometheus Operator, which the cluster does not have. What it returns removes it again.
func Install(ctx context.Context, s *site.Site) (remove func(context.Context) error, err error) {
	root, err := tools.Root()
	if err != nil {
		return nil, err
	}
	rendered, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), filepath.Join(root, "config", "monitoring"))
	if err != nil {
		return nil, fmt.Errorf("building config/monitoring: %w", err)
	}
	var applied []*unstructured.Unstructured
	for _, resource := range rendered.Resources() {
		if resource.GetGvk().Group == "monitoring.coreos.com" {
			continue
		}
		content, err := resource.Map()
		if err != nil {
			return nil, fmt.Errorf("reading %s of config/monitoring: %w", resource.CurId(), err)
		}
		obj := &unstructured.Unstructured{Object: content}
		if err := s.Apply(ctx, obj); err != nil {
			return nil, err
		}
		applied = append(applied, obj)
	}
	return func(ctx context.Context) error {
		var failed []error
		for _, obj := range applied {
			failed = append(failed, client.IgnoreNotFound(s.Client.Delete(ctx, obj)))
		}
		return errors.Join(failed...)
	}, nil
}

// scraperToken waits for the token that the cluster puts into the Secret.
func scraperToken(ctx context.Context, s *site.Site) (string, error) {
	var token string
	err := s.Await(ctx, tokenLimit, "the token of the scraper", func(ctx context.Context) error {
		secret := &corev1.Secret{}
		if err := s.Client.Get(ctx, client.ObjectKey{Namespace: site.Namespace, Name: scraper}, secret); err != nil {
			return err
		}
		if token = string(secret.Data[corev1.ServiceAccountTokenKey]); token == "" {
			return errors.New("the Secret has none yet")
		}
		return nil
	})
	return token, err
}
