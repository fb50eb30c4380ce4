package olm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-autopilot/flux-operator/test/site"
)

// lendLimit bounds the installation by a Subscription on a busy machine.
const lendLimit = 5 * time.Minute

// Lend lets the lifecycle manager install the bundle of this checkout into a site's cluster, and then the site run the operator under the service
// account and with the rights that this made, and no others.
func Lend(ctx context.Context, s *site.Site, number string) error {
	m, err := Up(ctx, s)
	if err != nil {
		return err
	}
	v, catalog := Version{Number: number}, ""
	for _, step := range []func() error{
		func() error { return m.Prepare(ctx) },
		func() error { v.Image, err = s.PushOperator(ctx, "v"+number); return err },
		func() error { return m.Generate(ctx, v) },
		func() error { return m.PushBundle(ctx, v) },
		func() error { catalog, err = m.PushCatalog(ctx, number, v); return err },
		func() error { return m.Offer(ctx, catalog) },
		func() error { return m.Subscribe(ctx, Automatic, nil) },
		func() error { return m.AwaitInstalled(ctx, lendLimit, v.Name()) },
		func() error { return m.HandOver(ctx, lendLimit, v) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// HandOver leaves of an installed version the service account and the rights that the lifecycle manager made for it, and lets the site run the
// operator with those and no others. The lifecycle manager itself is stopped.
func (m *Manager) HandOver(ctx context.Context, limit time.Duration, v Version) error {
	rights, err := m.rights(ctx)
	if err != nil {
		return err
	}
	if err := m.Stop(ctx); err != nil {
		return err
	}
	if err := m.abandon(ctx, limit, CSV(v.Name())); err != nil {
		return err
	}
	deployment := &unstructured.Unstructured{}
	deployment.SetGroupVersionKind(schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"})
	deployment.SetNamespace(site.Namespace)
	deployment.SetName(site.OperatorName)
	m.site.Rights = rights
	if err := m.site.Delete(ctx, limit, deployment); err != nil {
		return err
	}
	return m.site.Await(ctx, limit, "the operator of the lifecycle manager to end", func(ctx context.Context) error {
		pods := &corev1.PodList{}
		err := m.site.Client.List(ctx, pods, client.InNamespace(site.Namespace), client.MatchingLabels{"app.kubernetes.io/name": site.OperatorName})
		if err == nil && len(pods.Items) > 0 {
			err = fmt.Errorf("%d of its pods are still there", len(pods.Items))
		}
		return err
	})
}

// abandon deletes a ClusterServiceVersion whose finalizer nobody handles any more, and leaves what belongs to it.
func (m *Manager) abandon(ctx context.Context, limit time.Duration, csv *unstructured.Unstructured) error {
	if err := m.site.Client.Patch(ctx, csv, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`))); err != nil {
		return fmt.Errorf("releasing %q: %w", csv.GetName(), err)
	}
	if err := m.site.Client.Delete(ctx, csv, client.PropagationPolicy(metav1.DeletePropagationOrphan)); err != nil {
		return fmt.Errorf("deleting %q: %w", csv.GetName(), err)
	}
	return m.site.Delete(ctx, limit, csv)
}

// rights are the operator's service account, and the roles and bindings that are made for it, as they would be applied.
func (m *Manager) rights(ctx context.Context) ([]*unstructured.Unstructured, error) {
	account := &unstructured.Unstructured{}
	account.SetGroupVersionKind(schema.GroupVersionKind{Version: "v1", Kind: "ServiceAccount"})
	if err := m.site.Client.Get(ctx, client.ObjectKey{Namespace: site.Namespace, Name: site.OperatorName}, account); err != nil {
		return nil, fmt.Errorf("reading the operator's service account: %w", err)
	}
	found := []*unstructured.Unstructured{bare(account)}
	for _, kind := range []string{"RoleBinding", "ClusterRoleBinding"} {
		more, err := m.bound(ctx, kind)
		if err != nil {
			return nil, err
		}
		found = append(found, more...)
	}
	if len(found) == 1 {
		return nil, errors.New("reading the operator's rights: its service account has none")
	}
	return found, nil
}

// bound are the bindings of a kind that name the operator's service account, each after its role.
func (m *Manager) bound(ctx context.Context, kind string) ([]*unstructured.Unstructured, error) {
	bindings := &unstructured.UnstructuredList{}
	bindings.SetGroupVersionKind(rbacv1.SchemeGroupVersion.WithKind(kind + "List"))
	if err := m.site.Client.List(ctx, bindings); err != nil {
		return nil, fmt.Errorf("reading the operator's rights: %w", err)
	}
	var found []*unstructured.Unstructured
	for i := range bindings.Items {
		binding := &bindings.Items[i]
		subjects, _, err := unstructured.NestedSlice(binding.Object, "subjects")
		if err != nil {
			return nil, fmt.Errorf("reading %s %q: %w", kind, binding.GetName(), err)
		}
		if !slices.ContainsFunc(subjects, func(subject any) bool { return isOperator(subject, binding.GetNamespace()) }) {
			continue
		}
		role := &unstructured.Unstructured{}
		role.SetGroupVersionKind(rbacv1.SchemeGroupVersion.WithKind(text(binding, "roleRef", "kind")))
		if err := m.site.Client.Get(ctx, client.ObjectKey{Namespace: binding.GetNamespace(), Name: text(binding, "roleRef", "name")}, role); err != nil {
			return nil, fmt.Errorf("reading the role of %q: %w", binding.GetName(), err)
		}
		found = append(found, bare(role), bare(binding))
	}
	return found, nil
}

// isOperator says whether a subject is the operator's service account. One without a namespace is in that of its binding.
func isOperator(subject any, namespace string) bool {
	fields, ok := subject.(map[string]any)
	if stated, _ := fields["namespace"].(string); stated != "" {
		namespace = stated
	}
	return ok && fields["kind"] == rbacv1.ServiceAccountKind && fields["name"] == site.OperatorName && namespace == site.Namespace
}

// bare is an object as it would be applied: without what the API server and the lifecycle manager note in it.
func bare(obj *unstructured.Unstructured) *unstructured.Unstructured {
	copied := obj.DeepCopy()
	copied.Object["metadata"] = map[string]any{}
	copied.SetName(obj.GetName())
	if obj.GetNamespace() != "" {
		copied.SetNamespace(obj.GetNamespace())
	}
	return copied
}
