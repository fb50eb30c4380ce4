package site

import (
	"context"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// Owned returns the metadata of every object in the cluster, of whatever kind, that carries the owner labels of the instance. Endpoints and
// EndpointSlices are left out: they take their labels from a Service.
func (s *Site) Owned(ctx context.Context) ([]metav1.PartialObjectMetadata, error) {
	owned, err := s.Objects(ctx, client.MatchingLabels{v1.OwnerNameLabel: v1.DefaultInstanceName, v1.OwnerNamespaceLabel: Namespace})
	return slices.DeleteFunc(owned, func(obj metav1.PartialObjectMetadata) bool { return strings.HasPrefix(obj.Kind, "Endpoint") }), err
}

// Objects returns the metadata of every object in the cluster, of whatever kind, to which the options apply; each in one API version.
func (s *Site) Objects(ctx context.Context, options ...client.ListOption) ([]metav1.PartialObjectMetadata, error) {
	kinds, err := s.kinds()
	if err != nil {
		return nil, err
	}
	var objects []metav1.PartialObjectMetadata
	for _, kind := range kinds {
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
		err := s.Client.List(ctx, list, options...)
		if apierrors.IsNotFound(err) || apimeta.IsNoMatchError(err) {
			continue // the kind has just gone
		}
		if err != nil {
			return nil, fmt.Errorf("listing all %s: %w", kind.Kind, err)
		}
		for i := range list.Items {
			list.Items[i].SetGroupVersionKind(kind)
		}
		objects = append(objects, list.Items...)
	}
	return objects, nil
}

// kinds are those whose objects can be listed and have a life of their own.
func (s *Site) kinds() ([]schema.GroupVersionKind, error) {
	config, err := restConfig(s.Cluster.Kubeconfig)
	if err != nil {
		return nil, err
	}
	questions, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("making the discovery client: %w", err)
	}
	resources, err := questions.ServerPreferredResources()
	if err != nil && !discovery.IsGroupDiscoveryFailedError(err) { // a group fails for a moment while its last kind goes
		return nil, fmt.Errorf("asking for the kinds of the cluster: %w", err)
	}
	var kinds []schema.GroupVersionKind
	for _, list := range resources {
		version, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			return nil, fmt.Errorf("asking for the kinds of the cluster: %w", err)
		}
		for i := range list.APIResources {
			resource := &list.APIResources[i]
			if slices.Contains(resource.Verbs, "list") && !strings.Contains(resource.Name, "/") && resource.Kind != "Event" {
				kinds = append(kinds, version.WithKind(resource.Kind))
			}
		}
	}
	return kinds, nil
}
