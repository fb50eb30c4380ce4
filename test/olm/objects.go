package olm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-autopilot/flux-operator/test/site"
)

const (
	// CatalogName is the name of the CatalogSource.
	CatalogName = "flux-autopilot"
	// SubscriptionName is the name of the Subscription.
	SubscriptionName = Package
	// Automatic approves of every InstallPlan.
	Automatic = "Automatic"
	// Manual leaves the approval to somebody.
	Manual = "Manual"
)

// object makes an empty object of the lifecycle manager.
func object(version, kind, namespace, name string) *unstructured.Unstructured {
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(schema.GroupVersionKind{Group: "operators.coreos.com", Version: version, Kind: kind})
	o.SetNamespace(namespace)
	o.SetName(name)
	return o
}

// Subscription names a Subscription in the operator's namespace.
func Subscription() *unstructured.Unstructured {
	return object("v1alpha1", "Subscription", site.Namespace, SubscriptionName)
}

// CSV names a ClusterServiceVersion in the operator's namespace.
func CSV(name string) *unstructured.Unstructured {
	return object("v1alpha1", "ClusterServiceVersion", site.Namespace, name)
}

// Prepare makes the operator's namespace, in which no pod may ask for more than the restricted policy gives, and lets operators in it serve all
// namespaces; the credentials of the fleet repository are there.
func (m *Manager) Prepare(ctx context.Context) error {
	namespace := &unstructured.Unstructured{}
	namespace.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	namespace.SetName(site.Namespace)
	namespace.SetLabels(map[string]string{"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/enforce-version": "latest"})
	group := object("v1", "OperatorGroup", site.Namespace, Package)
	group.Object["spec"] = map[string]any{}
	if err := m.apply(ctx, []*unstructured.Unstructured{namespace, group}); err != nil {
		return err
	}
	return m.site.ApplyPullSecret(ctx)
}

// Offer makes a catalog the one that is offered to all namespaces, in place of an earlier one, and waits until it is served.
func (m *Manager) Offer(ctx context.Context, image string) error {
	catalog := object("v1alpha1", "CatalogSource", Namespace, CatalogName)
	catalog.Object["spec"] = map[string]any{
		"sourceType": "grpc", "image": image, "displayName": "Flux Autopilot", "publisher": "Flux Autopilot",
		"grpcPodConfig": map[string]any{"securityContextConfig": "restricted"},
	}
	if err := m.site.Apply(ctx, catalog); err != nil {
		return err
	}
	return m.site.Await(ctx, startLimit, "the catalog to be served", func(ctx context.Context) error {
		if err := m.site.Client.Get(ctx, client.ObjectKeyFromObject(catalog), catalog); err != nil {
			return err
		}
		return m.serves(ctx, catalog, image)
	})
}

// serves returns nil when the lifecycle manager talks to the pod of a catalog's image. A connection from before that pod was ready is one to the pod
// of another image: a Subscription made now would be resolved with what that one offers, and stay so.
func (m *Manager) serves(ctx context.Context, catalog *unstructured.Unstructured, image string) error {
	pods := &corev1.PodList{}
	if err := m.site.Client.List(ctx, pods, client.InNamespace(Namespace), client.MatchingLabels{"olm.catalogSource": CatalogName}); err != nil {
		return err
	}
	if len(pods.Items) != 1 || pods.Items[0].Spec.Containers[0].Image != image {
		return fmt.Errorf("there are %d pods, or one of another image", len(pods.Items))
	}
	conditions := pods.Items[0].Status.Conditions
	at := slices.IndexFunc(conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue })
	if at < 0 {
		return errors.New("its pod is not ready")
	}
	if state := text(catalog, "status", "connectionState", "lastObservedState"); state != "READY" {
		return fmt.Errorf("its connection is %q", state)
	}
	since, err := time.Parse(time.RFC3339, text(catalog, "status", "connectionState", "lastConnect"))
	if err != nil {
		return fmt.Errorf("reading the time of its connection: %w", err)
	}
	if ready := conditions[at].LastTransitionTime; since.Before(ready.Time) {
		return fmt.Errorf("its connection is of %s, its pod ready since %s", since, ready)
	}
	return nil
}

// Subscribe asks for the operator.
func (m *Manager) Subscribe(ctx context.Context, approval string, env map[string]string) error {
	subscription := Subscription()
	variables := []any{}
	for name, value := range env {
		variables = append(variables, map[string]any{"name": name, "value": value})
	}
	subscription.Object["spec"] = map[string]any{
		"name": Package, "channel": Channel, "source": CatalogName, "sourceNamespace": Namespace, "installPlanApproval": approval,
		"config": map[string]any{"env": variables},
	}
	return m.site.Apply(ctx, subscription)
}

// AwaitInstalled waits until a version is installed, the Subscription says so, and the operator has the variables of the Subscription: a version is
// installed without them first, and once more when the Subscription says that it is the one installed.
func (m *Manager) AwaitInstalled(ctx context.Context, limit time.Duration, name string) error {
	return m.site.Await(ctx, limit, name+" to be installed", func(ctx context.Context) error {
		csv, subscription := CSV(name), Subscription()
		if err := m.site.Client.Get(ctx, client.ObjectKeyFromObject(subscription), subscription); err != nil {
			return err
		}
		if installed := text(subscription, "status", "installedCSV"); installed != name {
			return errors.Join(fmt.Errorf("the Subscription has %q installed", installed), m.Blocked(ctx))
		}
		if err := m.configured(ctx, subscription); err != nil {
			return err
		}
		if err := m.site.Client.Get(ctx, client.ObjectKeyFromObject(csv), csv); err != nil {
			return err
		}
		if phase := text(csv, "status", "phase"); phase != "Succeeded" {
			return fmt.Errorf("its phase is %q, %s: %s", phase, text(csv, "status", "reason"), text(csv, "status", "message"))
		}
		return nil
	})
}

// configured returns nil when the operator's Deployment has the variables of a Subscription.
func (m *Manager) configured(ctx context.Context, subscription *unstructured.Unstructured) error {
	deployment := &appsv1.Deployment{}
	if err := m.site.Client.Get(ctx, client.ObjectKey{Namespace: site.Namespace, Name: site.OperatorName}, deployment); err != nil {
		return err
	}
	wanted, _, _ := unstructured.NestedSlice(subscription.Object, "spec", "config", "env") // none when nobody asked for any
	for _, variable := range wanted {
		fields, _ := variable.(map[string]any)
		name, value := fields["name"], fields["value"]
		if !slices.ContainsFunc(deployment.Spec.Template.Spec.Containers[0].Env, func(v corev1.EnvVar) bool { return v.Name == name && v.Value == value }) {
			return fmt.Errorf("the operator is without the variable %v=%v", name, value)
		}
	}
	return nil
}

// Blocked returns what the Subscription says against an installation.
func (m *Manager) Blocked(ctx context.Context) error {
	subscription := Subscription()
	if err := m.site.Client.Get(ctx, client.ObjectKeyFromObject(subscription), subscription); err != nil {
		return err
	}
	var errs []error
	for _, condition := range conditions(subscription) {
		if condition.Status == metav1.ConditionTrue {
			errs = append(errs, fmt.Errorf("%s, %s: %s", condition.Type, condition.Reason, condition.Message))
		}
	}
	return errors.Join(errs...)
}

// PendingPlan returns the InstallPlan of a version that waits for approval.
func (m *Manager) PendingPlan(ctx context.Context, limit time.Duration, name string) (*unstructured.Unstructured, error) {
	var pending *unstructured.Unstructured
	err := m.site.Await(ctx, limit, "an InstallPlan of "+name+" that waits for approval", func(ctx context.Context) error {
		plans := &unstructured.UnstructuredList{}
		plans.SetGroupVersionKind(schema.GroupVersionKind{Group: "operators.coreos.com", Version: "v1alpha1", Kind: "InstallPlanList"})
		if err := m.site.Client.List(ctx, plans, client.InNamespace(site.Namespace)); err != nil {
			return err
		}
		var others []string
		for i := range plans.Items {
			names, _, _ := unstructured.NestedStringSlice(plans.Items[i].Object, "spec", "clusterServiceVersionNames") // what is not a list is as good as absent
			phase := text(&plans.Items[i], "status", "phase")
			if phase == "RequiresApproval" && slices.Equal(names, []string{name}) {
				pending = &plans.Items[i]
				return nil
			}
			others = append(others, fmt.Sprintf("%v is %s", names, phase))
		}
		return errors.Join(fmt.Errorf("none of the InstallPlans is it: %q", others), m.Blocked(ctx))
	})
	return pending, err
}

// Approve approves an InstallPlan.
func (m *Manager) Approve(ctx context.Context, plan *unstructured.Unstructured) error {
	if err := m.site.Client.Patch(ctx, plan, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"approved":true}}`))); err != nil {
		return fmt.Errorf("approving InstallPlan %q: %w", plan.GetName(), err)
	}
	return nil
}

// Remove ends the operator as users do: the Subscription first, then what it installed.
func (m *Manager) Remove(ctx context.Context, limit time.Duration, name string) error {
	return errors.Join(m.site.Delete(ctx, limit, Subscription()), m.site.Delete(ctx, limit, CSV(name)))
}

func text(o *unstructured.Unstructured, path ...string) string {
	value, _, _ := unstructured.NestedString(o.Object, path...) // what is not text is as good as absent
	return value
}

func conditions(o *unstructured.Unstructured) []metav1.Condition {
	list, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions") // none yet
	var found []metav1.Condition
	for _, item := range list {
		if fields, ok := item.(map[string]any); ok {
			condition := &unstructured.Unstructured{Object: fields}
			found = append(found, metav1.Condition{
				Type: text(condition, "type"), Status: metav1.ConditionStatus(text(condition, "status")),
				Reason: text(condition, "reason"), Message: text(condition, "message"),
			})
		}
	}
	return found
}
