package e2e

import (
	"context"
	"fmt"
	"strings"

	"github.com/fluxcd/pkg/apis/meta"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/version"
	"github.com/flux-autopilot/flux-operator/test/site"
)

func installing() {
	It("installs the instance of the README and deploys its repository", func(ctx context.Context) {
		must(here.Client.Create(ctx, sample()))
		ready(ctx)
		deploymentsAvailable(ctx, defaultControllers()...)
		config := get(ctx, workloadKey(site.WorkloadConfig), &corev1.ConfigMap{})
		Expect(config.Data).To(HaveKeyWithValue("message", site.FirstState().Message))
		workloadPod(ctx)
		eventually(ctx, soonLimit, "the Service to lead to its pod", func(ctx context.Context) error { return answers(ctx, site.FirstState()) })
	})

	It("says in its status what runs", func(ctx context.Context) {
		asInReadme(ctx)
		instance := ready(ctx)
		Expect(instance.Finalizers).To(ConsistOf(v1.Finalizer))
		checkConditions(instance)
		checkRevision(instance, "v2.9.4")
		checkComponents(ctx, instance, map[string]string{
			"source-controller": "v1.9.4", "kustomize-controller": "v1.9.4", "helm-controller": "v1.6.3", "notification-controller": "v1.9.3",
		})
		exactInventory(ctx)
		recorded(ctx, v1.ReasonProgressing, "Installing revision v2.9.4@sha256:")
		recorded(ctx, v1.ReasonReconciliationSucceeded, "Flux v2.9.4 installed")
	})

	It("deploys a second commit", func(ctx context.Context) {
		asInReadme(ctx)
		before := workloadPod(ctx)
		second := site.FleetState{Message: "deployed by a second commit", Version: "2.0.0"}
		commit, err := here.Commit(ctx, "Change the message", second)
		must(err)
		DeferCleanup(func(ctx context.Context) {
			_, err := here.Commit(ctx, "Go back", site.FirstState())
			must(err)
			requestSync(ctx)
			eventually(ctx, soonLimit, "the first state to be back", func(ctx context.Context) error { return answers(ctx, site.FirstState()) })
			workloadPod(ctx)
		})
		requestSync(ctx)
		eventually(ctx, soonLimit, "the second commit to run", func(ctx context.Context) error { return answers(ctx, second) })
		Expect(get(ctx, workloadKey(site.WorkloadConfig), &corev1.ConfigMap{}).Data).To(HaveKeyWithValue("message", second.Message))
		Expect(workloadPod(ctx).UID).NotTo(Equal(before.UID))
		applied, _, err := unstructured.NestedString(get(ctx, key(site.Namespace), fluxObject("Kustomization")).Object, "status", "lastAppliedRevision")
		must(err)
		Expect(applied).To(HaveSuffix("@sha1:" + commit))
	})
}

func workloadKey(name string) client.ObjectKey {
	return client.ObjectKey{Namespace: site.WorkloadNamespace, Name: name}
}

// answer is what the sample app says through its Service.
func answer(ctx context.Context) (string, error) {
	return here.Cluster.Kubectl(ctx, "", "get", "--raw",
		fmt.Sprintf("/api/v1/namespaces/%s/services/http:%s:80/proxy/", site.WorkloadNamespace, site.Workload))
}

func answers(ctx context.Context, wanted site.FleetState) error {
	said, err := answer(ctx)
	if err != nil {
		return err
	}
	if said != fmt.Sprintf("%s\nversion %s\n", wanted.Message, wanted.Version) {
		return fmt.Errorf("the sample app says %q", said)
	}
	return nil
}

// checkConditions checks what a successful pass leaves: Ready alone.
func checkConditions(instance *v1.FluxInstance) {
	GinkgoHelper()
	Expect(instance.Status.Conditions).To(HaveLen(1))
	ready := apimeta.FindStatusCondition(instance.Status.Conditions, meta.ReadyCondition)
	Expect(ready.Reason).To(Equal(v1.ReasonReconciliationSucceeded))
	Expect(ready.Message).To(MatchRegexp(`^Reconciliation finished in [0-9.]+(ms|s|m[0-9]+s)$`))
	Expect(ready.ObservedGeneration).To(Equal(instance.Generation))
}

// checkRevision checks the revisions and that the history begins with them.
func checkRevision(instance *v1.FluxInstance, release string) {
	GinkgoHelper()
	revision, err := version.ParseRevision(instance.Status.LastAppliedRevision)
	must(err)
	Expect(revision.Version).To(Equal(release))
	Expect(instance.Status.LastAttemptedRevision).To(Equal(instance.Status.LastAppliedRevision))
	Expect(instance.Status.LastArtifactRevision).To(BeEmpty(), "the distribution is the built-in one")
	latest := instance.Status.History.Latest()
	Expect(latest).NotTo(BeNil())
	Expect(latest.Digest).To(Equal(revision.Digest))
	Expect(latest.LastReconciledStatus).To(Equal(v1.ReasonReconciliationSucceeded))
	Expect(latest.Metadata).To(HaveKeyWithValue("flux", release))
	Expect(latest.TotalReconciliations).To(BeNumerically(">=", 1))
}

// checkComponents checks that the status names the images that really run: those in the registry, by digest.
func checkComponents(ctx context.Context, instance *v1.FluxInstance, tags map[string]string) {
	GinkgoHelper()
	checkImages(ctx, instance, tags, "ghcr.io/fluxcd", here.Images)
}

// checkImages checks the same of images that come from a registry, with the digests that they have there.
func checkImages(ctx context.Context, instance *v1.FluxInstance, tags map[string]string, from string, digests map[string]string) {
	GinkgoHelper()
	Expect(instance.Status.Components).To(HaveLen(len(tags)))
	for _, component := range instance.Status.Components {
		Expect(component.Repository).To(Equal(from + "/" + component.Name))
		Expect(component.Tag).To(Equal(tags[component.Name]), component.Name)
		Expect(component.Digest).To(Equal(digests["fluxcd/"+component.Name+":"+component.Tag]), component.Name)
		deployment := get(ctx, key(component.Name), &appsv1.Deployment{})
		Expect(deployment.Spec.Template.Spec.Containers[0].Image).To(Equal(component.Repository + ":" + component.Tag + "@" + component.Digest))
		pods := &corev1.PodList{}
		must(here.Client.List(ctx, pods, client.InNamespace(site.Namespace), client.MatchingLabels(deployment.Spec.Selector.MatchLabels)))
		for i := range pods.Items {
			if pods.Items[i].DeletionTimestamp == nil {
				Expect(strings.HasSuffix(pods.Items[i].Status.ContainerStatuses[0].ImageID, component.Digest)).To(BeTrue(), pods.Items[i].Name)
			}
		}
	}
}
