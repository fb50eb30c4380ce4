package controllers_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"github.com/fluxcd/pkg/apis/meta"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// readRights reads a role of config/rbac.
func readRights(file string, into any) {
	GinkgoHelper()
	content, err := os.ReadFile(filepath.Join("..", "config", "rbac", file))
	Expect(err).NotTo(HaveOccurred())
	Expect(yaml.Unmarshal(content, into)).To(Succeed())
}

// operatorOf makes a user with the rights that the bundle gives the operator in a namespace: those in the cluster are for Flux in flux-system,
// whatever the namespace is.
func operatorOf(ctx context.Context, namespace string) *rest.Config {
	GinkgoHelper()
	name := "operator-of-" + namespace
	user, err := testEnv.AddUser(envtest.User{Name: name}, nil)
	Expect(err).NotTo(HaveOccurred())
	everywhere, here := &rbacv1.ClusterRole{}, &rbacv1.Role{}
	readRights("cluster_role.yaml", everywhere)
	readRights("role.yaml", here)
	everywhere.Name, here.Name, here.Namespace = name, name, namespace
	subjects := []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: name}}
	binding := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1Name(name), Subjects: subjects,
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name}}
	within := &rbacv1.RoleBinding{ObjectMeta: here.ObjectMeta, Subjects: subjects,
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name}}
	for _, obj := range []client.Object{everywhere, here, binding, within} {
		Expect(k8s.Create(ctx, obj)).To(Succeed())
	}
	DeferCleanup(func(ctx context.Context) {
		Expect(k8s.Delete(ctx, binding)).To(Succeed())
		Expect(k8s.Delete(ctx, everywhere)).To(Succeed())
	})
	return user.Config()
}

var _ = Describe("An operator without rights for its namespace", Ordered, func() {
	const operators = "operators" // where the lifecycle manager installs who knows nothing better
	noWait := false
	instance := newInstance(func(in *v1.FluxInstance) { in.Namespace, in.Spec.Wait = operators, &noWait })
	key := client.ObjectKeyFromObject(instance)

	BeforeAll(func(ctx SpecContext) {
		Expect(k8s.Create(ctx, &corev1.Namespace{ObjectMeta: metav1Name(operators)})).To(Succeed())
		DeferCleanup(startOperatorAs(operatorOf(ctx, operators), operators))
	})

	gone := func(ctx context.Context) error { return k8s.Get(ctx, key, &v1.FluxInstance{}) }
	refused := func(ctx context.Context) *v1.FluxInstance {
		GinkgoHelper()
		found := &v1.FluxInstance{}
		Eventually(func(g Gomega) {
			g.Expect(k8s.Get(ctx, key, found)).To(Succeed())
			ready := apimeta.FindStatusCondition(found.Status.Conditions, meta.ReadyCondition)
			g.Expect(ready).NotTo(BeNil())
			g.Expect(ready.Reason).To(Equal(v1.ReasonPreflightFailed), ready.Message)
			g.Expect(ready.Message).To(ContainSubstring(`no rights for a Flux in namespace "operators"`))
			g.Expect(ready.Message).To(ContainSubstring(`ClusterRole "crd-controller-operators"`))
		}, soon, tick).Should(Succeed())
		return found
	}

	It("installs nothing, says why, and lets the instance go at once", func(ctx SpecContext) {
		Expect(k8s.Create(ctx, instance.DeepCopy())).To(Succeed())
		found := refused(ctx)
		Expect(found.Status.Inventory).To(BeNil())
		Expect(apimeta.FindStatusCondition(found.Status.Conditions, meta.StalledCondition)).To(BeNil(), "rights may come")

		Expect(k8s.Delete(ctx, found)).To(Succeed())
		Eventually(gone, soon, tick).WithContext(ctx).Should(Satisfy(apierrors.IsNotFound))
	})

	It("goes on once it has them", func(ctx SpecContext) {
		Expect(k8s.Create(ctx, instance.DeepCopy())).To(Succeed())
		refused(ctx)

		rights := &rbacv1.ClusterRole{}
		Expect(k8s.Get(ctx, client.ObjectKey{Name: "operator-of-" + operators}, rights)).To(Succeed())
		for _, rule := range rights.Rules {
			for i, name := range rule.ResourceNames {
				rule.ResourceNames[i] = strings.Replace(name, "-"+v1.DefaultNamespace, "-"+operators, 1)
			}
		}
		Expect(k8s.Update(ctx, rights)).To(Succeed())
		found := &v1.FluxInstance{}
		Eventually(func(g Gomega) {
			g.Expect(k8s.Get(ctx, key, found)).To(Succeed())
			g.Expect(apimeta.IsStatusConditionTrue(found.Status.Conditions, meta.ReadyCondition)).To(BeTrue())
		}, soon, tick).Should(Succeed())

		Expect(k8s.Delete(ctx, found)).To(Succeed())
		Eventually(gone, soon, tick).WithContext(ctx).Should(Satisfy(apierrors.IsNotFound))
	})
})
