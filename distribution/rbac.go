package distribution

import (
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// fluxNamespace is the namespace of the service accounts in the base manifests; rendering replaces it.
const fluxNamespace = "flux-system"

// API groups of Flux.
const (
	groupSource       = "source.toolkit.fluxcd.io"
	groupKustomize    = "kustomize.toolkit.fluxcd.io"
	groupHelm         = "helm.toolkit.fluxcd.io"
	groupNotification = "notification.toolkit.fluxcd.io"
	groupImage        = "image.toolkit.fluxcd.io"
	groupExtensions   = "source.extensions.fluxcd.io"
)

func (r Release) serviceAccount(component Component) *corev1.ServiceAccount {
	return &corev1.ServiceAccount{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"},
		ObjectMeta: metav1.ObjectMeta{Name: component.Name, Labels: r.labels(component)},
	}
}

// rbac returns what is not bound to one component: the quota, the roles and their bindings.
func (r Release) rbac() []any {
	read := []string{"get", "list", "watch"}
	change := []string{"create", "delete", "deletecollection", "patch", "update"}
	return []any{
		criticalPods(),
		clusterRole("crd-controller", nil, r.controllerRules()),
		clusterRole("flux-edit", aggregatedTo("admin", "edit"), r.userRules(change)),
		clusterRole("flux-view", aggregatedTo("admin", "edit", "view"), r.userRules(read)),
		// Without an impersonated account these two apply whatever the sources hold.
		r.clusterRoleBinding("cluster-reconciler", "cluster-admin", KustomizeController, HelmController),
		r.clusterRoleBinding("crd-controller", "crd-controller",
			KustomizeController, HelmController, SourceController, NotificationController,
			ImageReflectorController, ImageAutomationController, SourceWatcher),
	}
}

// controllerRules are the permissions that all controllers share.
func (r Release) controllerRules() []rbacv1.PolicyRule {
	groups := []string{groupSource, groupKustomize, groupHelm, groupNotification, groupImage}
	if r.hasExtensions() {
		groups = append(groups, groupExtensions)
	}
	var rules []rbacv1.PolicyRule
	for _, group := range groups {
		rules = append(rules, allow(group, []string{"*"}, "*"))
	}
	everything := []string{"get", "list", "watch", "create", "update", "patch", "delete"}
	rules = append(rules,
		allow("", []string{"namespaces", "secrets", "configmaps", "serviceaccounts"}, "get", "list", "watch"),
		allow("", []string{"events"}, "create", "patch"),
		// Leader election takes leases, and took config maps before.
		allow("", []string{"configmaps"}, everything...),
		allow("", []string{"configmaps/status"}, "get", "update", "patch"),
		allow("coordination.k8s.io", []string{"leases"}, everything...),
	)
	if r.rules[serviceAccountTokens] {
		rules = append(rules, allow("", []string{"serviceaccounts/token"}, "create"))
	}
	if r.rules[apiServerPing] {
		rules = append(rules, rbacv1.PolicyRule{NonResourceURLs: []string{"/livez/ping"}, Verbs: []string{"head"}})
	}
	return rules
}

// userRules are the permissions on Flux objects for people who hold one of Kubernetes' own roles.
func (r Release) userRules(verbs []string) []rbacv1.PolicyRule {
	groups := []string{groupNotification, groupSource}
	if r.hasExtensions() {
		groups = append(groups, groupExtensions)
	}
	return []rbacv1.PolicyRule{{
		APIGroups: append(groups, groupHelm, groupImage, groupKustomize),
		Resources: []string{"*"},
		Verbs:     verbs,
	}}
}

// hasExtensions tells whether the release has the controller whose API the group of extensions is.
func (r Release) hasExtensions() bool {
	_, ok := r.Component(SourceWatcher)
	return ok
}

func allow(group string, kinds []string, verbs ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: []string{group}, Resources: kinds, Verbs: verbs}
}

func aggregatedTo(roles ...string) map[string]string {
	labels := map[string]string{}
	for _, role := range roles {
		labels["rbac.authorization.k8s.io/aggregate-to-"+role] = "true"
	}
	return labels
}

func clusterRole(name string, labels map[string]string, rules []rbacv1.PolicyRule) *rbacv1.ClusterRole {
	return &rbacv1.ClusterRole{
		TypeMeta:   metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "ClusterRole"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
		Rules:      rules,
	}
}

// clusterRoleBinding binds the role to those of the controllers that the release has.
func (r Release) clusterRoleBinding(name, role string, controllers ...string) *rbacv1.ClusterRoleBinding {
	binding := &rbacv1.ClusterRoleBinding{
		TypeMeta:   metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "ClusterRoleBinding"},
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
	}
	for _, controller := range controllers {
		if _, ok := r.Component(controller); !ok {
			continue
		}
		binding.Subjects = append(binding.Subjects, rbacv1.Subject{
			Kind: rbacv1.ServiceAccountKind, Name: controller, Namespace: fluxNamespace,
		})
	}
	return binding
}
