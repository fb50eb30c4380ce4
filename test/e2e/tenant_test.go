package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-autopilot/flux-operator/test/site"
	"github.com/flux-autopilot/flux-operator/test/testbed"
	"github.com/flux-autopilot/flux-operator/test/testbed/gitserver"
)

const (
	// tenant is a namespace whose owner may use Flux there and nothing else.
	tenant           = "tenant"
	tenantRepository = "tenants/app"
	// tenantConfig is the ConfigMap in the tenant's repository.
	tenantConfig = "greeting"
)

// lockingTenantsIn needs an instance with multitenant lockdown.
func lockingTenantsIn() {
	It("lets a tenant do what the tenant's own service account may", func(ctx context.Context) {
		apply(ctx, tenantApp("impersonated", ""))
		fluxReady(ctx, ofTenant("GitRepository", "impersonated"))
		refusal := fluxRefuses(ctx, "impersonated", "forbidden")
		Expect(refusal.Message).To(ContainSubstring("system:serviceaccount:" + tenant + ":default"))
		Expect(apierrors.IsNotFound(here.Client.Get(ctx, deployed("impersonated"), &corev1.ConfigMap{}))).To(BeTrue())

		letTenantDeploy(ctx)
		fluxReady(ctx, ofTenant("Kustomization", "impersonated"))
		get(ctx, deployed("impersonated"), &corev1.ConfigMap{})
	})

	It("keeps a tenant from the sources of another namespace", func(ctx context.Context) {
		letTenantDeploy(ctx)
		apply(ctx, fmt.Sprintf(`
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {namespace: %s, name: borrowing}
spec:
  sourceRef: {kind: GitRepository, namespace: %[2]s, name: %[2]s}
  path: clusters/production
  interval: 10m
  prune: true
`, tenant, site.Namespace))
		refusal := fluxRefuses(ctx, "borrowing", "cross-namespace references have been blocked")
		Expect(refusal.Reason).To(Equal("AccessDenied"))
		Expect(refusal.Message).To(ContainSubstring("GitRepository/" + site.Namespace + "/" + site.Namespace))
	})
}

// openTenant makes the tenant's namespace with a repository and the credentials for it. It goes at the end of the container.
func openTenant(ctx context.Context) {
	GinkgoHelper()
	root := here.Cluster.Servers.GitRoot
	must(os.RemoveAll(filepath.Join(root, tenantRepository+".git")))
	repository, err := gitserver.Create(ctx, root, tenantRepository)
	must(err)
	_, err = repository.Commit(ctx, "Say something", map[string]string{"greeting.yaml": fmt.Sprintf(`
apiVersion: v1
kind: ConfigMap
metadata: {name: %s}
data: {message: from the tenant}
`, tenantConfig)})
	must(err)
	must(here.Client.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: tenant}}))
	DeferCleanup(closeTenant)
	must(here.Client.Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: tenant, Name: "git"},
		StringData: map[string]string{"username": testbed.User, "password": testbed.Password},
	}))
}

// closeTenant takes Flux's objects away before the namespace with the rights that their controllers need for it.
func closeTenant(ctx context.Context) {
	GinkgoHelper()
	for _, kind := range []string{"Kustomization", "ArtifactGenerator", "GitRepository"} {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(fluxObject(kind + "List").GroupVersionKind())
		must(here.Client.List(ctx, list, client.InNamespace(tenant)))
		for i := range list.Items {
			must(here.Delete(ctx, soonLimit, &list.Items[i]))
		}
	}
	must(here.Delete(ctx, uninstallLimit, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: tenant}}))
}

// tenantApp is a source of the tenant, the Kustomization that deploys it and the generator that makes another artifact of it, all of one
// name. The shard is the value of the label that assigns them to one; empty means no label.
func tenantApp(name, shard string) string {
	labels := "{}"
	if shard != "" {
		labels = "{sharding.fluxcd.io/key: " + shard + "}"
	}
	return fmt.Sprintf(`
apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {namespace: %[1]s, name: %[2]s, labels: %[3]s}
spec:
  url: %[4]s/%[5]s.git
  ref: {branch: main}
  secretRef: {name: git}
  interval: 10m
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {namespace: %[1]s, name: %[2]s, labels: %[3]s}
spec:
  sourceRef: {kind: GitRepository, name: %[2]s}
  path: .
  targetNamespace: %[1]s
  namePrefix: %[2]s-
  interval: 10m
  retryInterval: 2s
  prune: true
---
apiVersion: source.extensions.fluxcd.io/v1beta1
kind: ArtifactGenerator
metadata: {namespace: %[1]s, name: %[2]s, labels: %[3]s}
spec:
  sources: [{alias: app, kind: GitRepository, name: %[2]s}]
  artifacts: [{name: %[2]s, copy: [{from: "@app/**", to: "@artifact/"}]}]
`, tenant, name, labels, here.Cluster.Servers.GitInside, tenantRepository)
}

// deployed names the ConfigMap that a tenant's Kustomization deploys.
func deployed(name string) client.ObjectKey {
	return client.ObjectKey{Namespace: tenant, Name: name + "-" + tenantConfig}
}

// letTenantDeploy gives the tenant's default service account rights in the tenant's namespace.
func letTenantDeploy(ctx context.Context) {
	GinkgoHelper()
	apply(ctx, fmt.Sprintf(`
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {namespace: %[1]s, name: tenant}
roleRef: {apiGroup: %[2]s, kind: ClusterRole, name: edit}
subjects: [{kind: ServiceAccount, namespace: %[1]s, name: default}]
`, tenant, rbacv1.GroupName))
}

// apply applies a stream of manifests.
func apply(ctx context.Context, manifests string) {
	GinkgoHelper()
	for _, obj := range parse(manifests) {
		must(here.Apply(ctx, obj))
	}
}

func parse(manifests string) []*unstructured.Unstructured {
	GinkgoHelper()
	var objects []*unstructured.Unstructured
	for document := range strings.SplitSeq(manifests, "\n---\n") {
		obj := &unstructured.Unstructured{}
		must(yaml.Unmarshal([]byte(document), &obj.Object))
		objects = append(objects, obj)
	}
	return objects
}

// ofTenant is an object of the tenant, without content.
func ofTenant(kind, name string) *unstructured.Unstructured {
	obj := fluxObject(kind)
	obj.SetNamespace(tenant)
	obj.SetName(name)
	return obj
}

// fluxRefuses waits until a Kustomization of the tenant has failed with a text in its message.
func fluxRefuses(ctx context.Context, name, text string) *metav1.Condition {
	GinkgoHelper()
	var found *metav1.Condition
	eventually(ctx, soonLimit, "Kustomization "+name+" to fail", func(ctx context.Context) error {
		_, condition, err := readiness(ctx, ofTenant("Kustomization", name))
		if err != nil {
			return err
		}
		if condition.Status != metav1.ConditionFalse || !strings.Contains(condition.Message, text) {
			return fmt.Errorf("Ready is %s, %s: %s", condition.Status, condition.Reason, condition.Message)
		}
		found = condition
		return nil
	})
	return found
}
