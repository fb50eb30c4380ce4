package controllers_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	stdsync "sync"
	"syscall"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/types"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

const sourceAPI = "source.toolkit.fluxcd.io/v1"

var _ = Describe("a FluxReport on Flux objects", func() {
	BeforeEach(func(ctx context.Context) {
		defineRepositories(ctx)
		DeferCleanup(func(ctx context.Context) {
			Expect(client.IgnoreNotFound(k8s.Delete(ctx, &v1.FluxReport{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: v1.DefaultInstanceName}}))).To(Succeed())
		})
	})

	It("keeps a part that cannot be read, says so, and heals", func(ctx context.Context) {
		var api outage
		for _, name := range []string{"one", "two"} {
			createCustom(ctx, repository(name, nil))
		}
		DeferCleanup(startReporter(api.wrap))
		Eventually(func(g Gomega) {
			found := reported(g, ctx)
			g.Expect(repositories(found)).To(Equal(2))
			g.Expect(found.Spec.Stale).To(BeEmpty())
		}, soon, tick).Should(Succeed())

		By("losing the kind")
		api.begin("/apis/" + sourceAPI + "/")
		Expect(k8s.Delete(ctx, repository("two", nil))).To(Succeed())
		Eventually(func(g Gomega) {
			found := reported(g, ctx)
			g.Expect(found.Spec.Stale).To(HaveLen(1))
			g.Expect(found.Spec.Stale[0].Part).To(Equal("reconcilers/GitRepository"))
			g.Expect(found.Spec.Stale[0].Message).To(ContainSubstring(errOutage.Error()))
			ready := apimeta.FindStatusCondition(found.Status.Conditions, "Ready")
			g.Expect(ready.Status).To(Equal(metav1.ConditionFalse))
			g.Expect(ready.Reason).To(Equal(v1.ReasonIncomplete))
			g.Expect(ready.Message).To(ContainSubstring("reconcilers/GitRepository"))
			g.Expect(repositories(found)).To(Equal(2), "what was known before is kept")
		}, soon, tick).Should(Succeed())

		By("having it again")
		api.end()
		Eventually(func(g Gomega) {
			found := reported(g, ctx)
			g.Expect(found.Spec.Stale).To(BeEmpty())
			g.Expect(repositories(found)).To(Equal(1))
			g.Expect(apimeta.IsStatusConditionTrue(found.Status.Conditions, "Ready")).To(BeTrue())
		}, soon, tick).Should(Succeed())
	})

	It("tells the load of shards by the key that the instance names", func(ctx context.Context) {
		const label = "team.example.com/shard"
		Expect(k8s.Create(ctx, newInstance(func(i *v1.FluxInstance) {
			i.Spec.Sharding = &v1.Sharding{Key: label, Shards: []string{"a"}}
		}))).To(Succeed())
		DeferCleanup(func(ctx context.Context) { Expect(k8s.Delete(ctx, fetch(ctx))).To(Succeed()) })
		for name, selector := range map[string]string{"source-controller": "!" + label, "source-controller-a": label + "=a"} {
			deployment := controllerSelecting(name, selector)
			Expect(k8s.Create(ctx, deployment)).To(Succeed())
			DeferCleanup(func(ctx context.Context) { Expect(k8s.Delete(ctx, deployment)).To(Succeed()) })
		}
		for name, shard := range map[string]string{"main": "", "first": "a", "second": "a", "lost": "b"} {
			createCustom(ctx, repository(name, map[string]string{label: shard}))
		}
		DeferCleanup(startReporter())
		Eventually(func(g Gomega) {
			sharding := reported(g, ctx).Spec.Sharding
			g.Expect(sharding).NotTo(BeNil())
			g.Expect(sharding.Key).To(Equal(label))
			g.Expect(sharding.Shards).To(Equal([]v1.FluxShardStatus{{Objects: 1}, {Name: "a", Objects: 2}}))
			g.Expect(sharding.Orphans).To(Equal(1))
			g.Expect(sharding.Orphaned).To(Equal([]v1.FluxObjectReference{{Kind: "GitRepository", Namespace: namespace, Name: "lost"}}))
		}, soon, tick).Should(Succeed())

		sharded := func(sharding *v1.Sharding, orphans types.GomegaMatcher) {
			GinkgoHelper()
			base := fetch(ctx)
			changed := base.DeepCopy()
			changed.Spec.Sharding = sharding
			Expect(k8s.Patch(ctx, changed, client.MergeFrom(base))).To(Succeed())
			Eventually(func(g Gomega) { g.Expect(reported(g, ctx).Spec.Sharding).To(orphans) }, soon, tick).Should(Succeed())
		}
		none := Or(BeNil(), HaveField("Orphans", 0))
		By("leaving the key to its default")
		sharded(&v1.Sharding{Key: "sharding.fluxcd.io/key", Shards: []string{"a"}}, none)
		By("naming it again")
		sharded(&v1.Sharding{Key: label, Shards: []string{"a"}}, And(Not(BeNil()), HaveField("Orphans", 1)))
		By("leaving shards alone altogether")
		sharded(nil, none)
	})
})

// repositories is the number of GitRepositories that a report says run.
func repositories(found *v1.FluxReport) int {
	for _, reconciler := range found.Spec.ReconcilersStatus {
		if reconciler.Kind == "GitRepository" {
			return reconciler.Stats.Running
		}
	}
	return -1
}

// repository is a GitRepository; labels without a value are left out.
func repository(name string, labels map[string]string) *unstructured.Unstructured {
	object := &unstructured.Unstructured{}
	object.SetAPIVersion(sourceAPI)
	object.SetKind("GitRepository")
	object.SetNamespace(namespace)
	object.SetName(name)
	set := map[string]string{}
	for label, value := range labels {
		if value != "" {
			set[label] = value
		}
	}
	object.SetLabels(set)
	return object
}

// controllerSelecting is the Deployment of a controller that takes the objects which a label selector selects.
func controllerSelecting(name, selector string) *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"app.kubernetes.io/part-of": "flux"}},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": name}},
				Spec: corev1.PodSpec{Containers: []corev1.Container{{
					Name: "manager", Image: "example.com/source-controller:v1", Args: []string{"--watch-label-selector=" + selector},
				}}},
			},
		},
	}
}

// defineRepositories defines GitRepositories that take any content, until the end of the test.
func defineRepositories(ctx context.Context) {
	GinkgoHelper()
	definition := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"metadata": map[string]any{"name": "gitrepositories.source.toolkit.fluxcd.io", "labels": map[string]any{"app.kubernetes.io/part-of": "flux"}},
		"spec": map[string]any{
			"group": "source.toolkit.fluxcd.io", "scope": "Namespaced",
			"names": map[string]any{"kind": "GitRepository", "listKind": "GitRepositoryList", "plural": "gitrepositories", "singular": "gitrepository"},
			"versions": []any{map[string]any{"name": "v1", "served": true, "storage": true, "schema": map[string]any{
				"openAPIV3Schema": map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true},
			}}},
		},
	}}
	Expect(k8s.Create(ctx, definition.DeepCopy())).To(Succeed())
	DeferCleanup(func(ctx context.Context) {
		Expect(k8s.Delete(ctx, definition.DeepCopy())).To(Succeed())
		Eventually(func() bool {
			return apierrors.IsNotFound(k8s.Get(ctx, client.ObjectKeyFromObject(definition), definition.DeepCopy()))
		}, soon, tick).Should(BeTrue())
	})
	list := &unstructured.UnstructuredList{}
	list.SetAPIVersion(sourceAPI)
	list.SetKind("GitRepositoryList")
	Eventually(func() error { return k8s.List(ctx, list) }, soon, tick).Should(Succeed())
}

// errOutage is what a connection that is refused says: the same each time, so that nothing but time tells that it lasts.
var errOutage = fmt.Errorf("the API server is out: %w", syscall.ECONNREFUSED)

// outage keeps requests for some paths from the API server, and ends those that are under way.
type outage struct {
	mu    stdsync.Mutex
	path  string
	under map[context.Context]func() // what ends the requests under way
}

// begin ends and refuses requests for paths that begin so.
func (o *outage) begin(path string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.path = path
	for _, end := range o.under {
		end()
	}
}

// end lets all requests through again.
func (o *outage) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.path = ""
}

func (o *outage) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		ctx, cancel := context.WithCancel(req.Context())
		if err := o.enter(ctx, req.URL.Path, cancel); err != nil {
			cancel()
			return nil, err
		}
		return next.RoundTrip(req.WithContext(ctx))
	})
}

// enter notes a request, or refuses it.
func (o *outage) enter(ctx context.Context, path string, cancel func()) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.path != "" && strings.HasPrefix(path+"/", o.path) {
		return fmt.Errorf("asking for %q: %w", path, errOutage)
	}
	if o.under == nil {
		o.under = map[context.Context]func(){}
	}
	if strings.HasPrefix(path, "/apis/"+sourceAPI) {
		o.under[ctx] = cancel
	}
	return nil
}
