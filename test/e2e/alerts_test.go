package e2e

import (
	"context"
	"fmt"
	"slices"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/test/monitoring"
	"github.com/flux-autopilot/flux-operator/test/site"
)

func beingWatched() {
	var p prometheus
	BeforeAll(func(ctx context.Context) {
		asInReadme(ctx)
		p = startPrometheus(ctx)
		p.clears(ctx)
	})
	AfterEach(func(ctx context.Context) {
		asInReadme(ctx)
		p.clears(ctx)
	})

	It("raises an alert about an object that fails, and shows it in a dashboard", func(ctx context.Context) {
		source := branchless()
		must(here.Client.Create(ctx, source))
		DeferCleanup(func(ctx context.Context) { must(here.Delete(ctx, soonLimit, source)) })
		p.fires(ctx, "FluxObjectNotReady", "kind=GitRepository", "exported_namespace="+site.Namespace, "name=branchless", "severity=warning")

		// The first correction of an object begins its series; once that was scraped, there is something to count from.
		scaledDown(ctx)
		p.awaitData(ctx, `flux_operator_drift_corrections_total{name="helm-controller"}`)
		scaledDown(ctx)
		p.awaitData(ctx, `sum(increase(flux_operator_drift_corrections_total{name="helm-controller"}[5m])) > 0`)
		drawn(ctx, p)

		before := source.DeepCopy()
		source.Object["spec"].(map[string]any)["ref"] = map[string]any{"branch": "main"}
		must(here.Client.Patch(ctx, source, client.MergeFrom(before)))
		p.clears(ctx)
	})

	It("raises alerts about an instance and a controller that do not become healthy", func(ctx context.Context) {
		change(ctx, func(i *v1.FluxInstance) {
			i.Annotations = map[string]string{v1.ReconcileTimeoutAnnotation: "10s"}
			i.Spec.Distribution.Registry, i.Spec.Distribution.Variant = "ghcr.io/nowhere", "upstream-alpine"
		})
		p.fires(ctx, "FluxInstanceNotReady", "exported_namespace="+site.Namespace, "name="+v1.DefaultInstanceName, "severity=critical")
		p.fires(ctx, "FluxControllerNotReady", "name=helm-controller", "severity=critical")
	})

	It("raises an alert about an upgrade that waits for somebody", func(ctx context.Context) {
		change(ctx, func(i *v1.FluxInstance) { i.Spec.Distribution.Version = "3.x" })
		p.fires(ctx, "FluxInstanceBlocked", "name="+v1.DefaultInstanceName, "reason="+v1.ReasonBuildFailed)
	})

	It("raises alerts about a fight, a kind that it may not read, and a release that is behind", func(ctx context.Context) {
		allow := strangers(ctx)
		end := rivalOf(ctx, "helm-controller")
		DeferCleanup(func() { end() })
		p.fires(ctx, "FluxKindNotObserved", "kind=Stranger", "api_version="+strangerGroup+"/v1", "severity=warning")
		p.fires(ctx, "FluxFieldsContested", "kind=Deployment", "name=helm-controller", "manager=e2e-rival", "severity=warning")

		allow(ctx)
		end()
		change(ctx, func(i *v1.FluxInstance) { i.Spec.Distribution.Version = "2.9.2" })
		p.fires(ctx, "FluxReleaseOutdated", "severity=info")
		p.clears(ctx, "FluxKindNotObserved", "FluxFieldsContested")
	})

	It("raises alerts about an operator that is gone, and about objects that it has no series for", func(ctx context.Context) {
		deployment := get(ctx, key(site.OperatorName), &appsv1.Deployment{})
		before := deployment.DeepCopy()
		deployment.Spec.Replicas = new(int32)
		must(here.Client.Patch(ctx, deployment, client.MergeFrom(before)))
		p.fires(ctx, "FluxOperatorAbsent", "severity=critical")

		restart := func(ctx context.Context, env map[string]string) {
			GinkgoHelper()
			restartWith(ctx, env)
			p.follow(ctx)
		}
		restart(ctx, map[string]string{"METRICS_MAX_SERIES": "1"})
		p.fires(ctx, "FluxSeriesDropped", "severity=info")
		p.clears(ctx, "FluxOperatorAbsent")
		restart(ctx, nil)
	})

	It("finds the controllers by the port that the PodMonitor names", func(ctx context.Context) {
		isMetrics := func(p corev1.ContainerPort) bool { return p.Name == "http-prom" }
		pods := &corev1.PodList{}
		must(here.Client.List(ctx, pods, client.InNamespace(site.Namespace), client.HasLabels{"app"}))
		var found []string
		for _, pod := range pods.Items {
			if pod.DeletionTimestamp == nil && slices.ContainsFunc(pod.Spec.Containers[0].Ports, isMetrics) {
				found = append(found, pod.Labels["app"])
			}
		}
		Expect(found).To(ConsistOf(defaultControllers()))
	})
}

// strangerGroup is the API group of a kind that the operator may not read.
const strangerGroup = "strangers.example.com"

// strangers defines a kind that says it is part of Flux, but which the operator's ClusterRole knows nothing of. What it returns gives the right to read it.
func strangers(ctx context.Context) (allow func(context.Context)) {
	GinkgoHelper()
	made := func(ctx context.Context, obj client.Object) {
		GinkgoHelper()
		must(here.Client.Create(ctx, obj))
		DeferCleanup(func(ctx context.Context) { must(here.Delete(ctx, soonLimit, obj)) })
	}
	made(ctx, &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "strangers." + strangerGroup, Labels: map[string]string{partOf: "flux"}},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: strangerGroup, Scope: apiextensionsv1.NamespaceScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Kind: "Stranger", ListKind: "StrangerList", Plural: "strangers", Singular: "stranger"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: "v1", Served: true, Storage: true,
				Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object"}},
			}},
		},
	})
	return func(ctx context.Context) {
		GinkgoHelper()
		name := metav1.ObjectMeta{Name: "e2e-reads-strangers"}
		made(ctx, &rbacv1.ClusterRole{ObjectMeta: name, Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{strangerGroup}, Resources: []string{"strangers"}, Verbs: []string{"get", "list", "watch"}},
		}})
		made(ctx, &rbacv1.ClusterRoleBinding{
			ObjectMeta: name,
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name.Name},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: site.OperatorUser}},
		})
	}
}

// branchless is a source that fetches a branch of the fleet repository that does not exist.
func branchless() *unstructured.Unstructured {
	source := fluxObject("GitRepository")
	source.SetNamespace(site.Namespace)
	source.SetName("branchless")
	source.Object["spec"] = map[string]any{
		"url": here.FleetURL(), "interval": "1m", "secretRef": map[string]any{"name": site.PullSecret}, "ref": map[string]any{"branch": "no-such-branch"},
	}
	return source
}

// scaledDown takes a controller's replicas away and waits until they are back.
func scaledDown(ctx context.Context) {
	GinkgoHelper()
	deployment := get(ctx, key("helm-controller"), &appsv1.Deployment{})
	before := deployment.DeepCopy()
	deployment.Spec.Replicas = new(int32)
	must(here.Client.Patch(ctx, deployment, client.MergeFrom(before)))
	putBack(ctx, "the number of replicas", func(ctx context.Context) error {
		now := &appsv1.Deployment{}
		if err := here.Client.Get(ctx, key("helm-controller"), now); err != nil {
			return err
		}
		return same(now.Spec.Replicas, before.Spec.Replicas)
	})
	must(here.AwaitDeployment(ctx, soonLimit, site.Namespace, "helm-controller"))
}

// drawn evaluates every query of every dashboard: none may be an error, and all come to have data but those about what there is none of.
func drawn(ctx context.Context, p prometheus) {
	GinkgoHelper()
	dashboards, err := monitoring.Dashboards()
	must(err)
	for _, dashboard := range dashboards {
		for _, panel := range dashboard.Panels {
			for _, target := range panel.Targets {
				what := fmt.Sprintf("%s: %s: %s", dashboard.Title, panel.Title, target.Query())
				if _, err := p.Query(ctx, target.Query()); err != nil {
					Fail(what + ": " + err.Error())
				}
				if !slices.Contains([]string{"Contested", "Artifact seen"}, panel.Title) {
					p.awaitData(ctx, target.Query())
				}
			}
		}
	}
}
