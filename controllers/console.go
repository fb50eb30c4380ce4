package controllers

import (
	"bytes"
	"context"
	_ "embed" // the objects
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// consoleObjects are shown by the web console of OpenShift.
//
//go:embed console/objects.yaml
var consoleObjects []byte

// consolePath is where the API server lists the kinds that the web console shows.
const consolePath = "/apis/console.openshift.io/v1"

// Console shows samples, a quick start and a link in the web console of OpenShift: once after each start, in the replica that leads, and only where
// the cluster has such a console. They go with the operator's rights, which own them.
type Console struct {
	// API asks the API server which kinds it serves.
	API rest.Interface
	// Client writes to the API server, and reads past every cache.
	Client client.Client
	// Namespace is where Flux is installed.
	Namespace string
	// Off takes the objects away instead.
	Off bool
	// Backoff bounds the delay between two attempts.
	Backoff Backoff
}

// Start tries until it succeeds or the manager ends. It never fails: Flux is to be looked after all the same.
func (c *Console) Start(ctx context.Context) error {
	for delay := c.Backoff.Min; ; delay = min(2*delay, c.Backoff.Max) {
		err := c.show(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			log.FromContext(ctx).Error(err, "showing Flux in the web console; trying again", "delay", delay.String())
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(delay):
		}
	}
}

// show is one attempt.
func (c *Console) show(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, platformTimeout)
	defer cancel()
	objects, err := c.objects(ctx)
	if err != nil || len(objects) == 0 {
		return err
	}
	if c.Off {
		return c.remove(ctx, objects)
	}
	owners, err := c.owners(ctx)
	if err != nil {
		return err
	}
	for _, obj := range objects {
		obj.SetOwnerReferences(owners)
		//nolint:staticcheck // the typed apply of newer clients needs generated types
		if err := c.Client.Patch(ctx, obj, client.Apply, client.ForceOwnership, client.FieldOwner(v1.FieldManager)); err != nil {
			return fmt.Errorf("applying %s %q: %w", obj.GetKind(), obj.GetName(), err)
		}
	}
	return nil
}

// remove takes the objects away.
func (c *Console) remove(ctx context.Context, objects []*unstructured.Unstructured) error {
	for _, obj := range objects {
		if err := c.Client.Delete(ctx, obj); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("deleting %s %q: %w", obj.GetKind(), obj.GetName(), err)
		}
	}
	return nil
}

// objects are those whose kinds are served, none where there is no console.
func (c *Console) objects(ctx context.Context) ([]*unstructured.Unstructured, error) {
	served := &metav1.APIResourceList{}
	err := c.API.Get().AbsPath(consolePath).Do(ctx).Into(served)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("asking for the kinds of the web console: %w", err)
	}
	var objects []*unstructured.Unstructured
	for decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(consoleObjects), len(consoleObjects)); ; {
		obj := &unstructured.Unstructured{}
		if err := decoder.Decode(obj); errors.Is(err, io.EOF) {
			return objects, nil
		} else if err != nil {
			return nil, fmt.Errorf("reading what the web console shows: %w", err)
		}
		if !slices.ContainsFunc(served.APIResources, func(r metav1.APIResource) bool { return r.Kind == obj.GetKind() }) {
			continue
		}
		if obj.GetKind() == "ConsoleLink" {
			if err := unstructured.SetNestedStringSlice(obj.Object, []string{c.Namespace}, "spec", "namespaceDashboard", "namespaces"); err != nil {
				return nil, fmt.Errorf("reading what the web console shows: %w", err)
			}
		}
		objects = append(objects, obj)
	}
}

// owners are the bindings that give the operator its rights in the cluster: whoever removes the operator removes them, and with the last one what
// they own. During an upgrade by the lifecycle manager there are those of both versions, and the older ones go. Other objects outlive the operator:
// its definitions and its namespace are kept.
func (c *Console) owners(ctx context.Context) ([]metav1.OwnerReference, error) {
	self := &authenticationv1.SelfSubjectReview{}
	if err := c.Client.Create(ctx, self); err != nil {
		return nil, fmt.Errorf("asking who the operator is: %w", err)
	}
	bindings := &rbacv1.ClusterRoleBindingList{}
	if err := c.Client.List(ctx, bindings); err != nil {
		return nil, fmt.Errorf("looking for the operator's rights: %w", err)
	}
	namespace, name, _ := strings.Cut(strings.TrimPrefix(self.Status.UserInfo.Username, "system:serviceaccount:"), ":")
	var owners []metav1.OwnerReference
	for _, binding := range bindings.Items {
		if slices.Contains(binding.Subjects, rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: name}) {
			owners = append(owners, metav1.OwnerReference{
				APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "ClusterRoleBinding", Name: binding.Name, UID: binding.UID,
			})
		}
	}
	if len(owners) == 0 {
		return nil, fmt.Errorf("no ClusterRoleBinding names %q: nothing would remove what is shown with the operator", self.Status.UserInfo.Username)
	}
	return owners, nil
}

var _ manager.Runnable = (*Console)(nil)
