package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/fluxcd/pkg/apis/meta"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/test/site"
)

func refusing() {
	BeforeAll(absent) // of one object, no more than 25 events are recorded at a time
	BeforeEach(asInReadme)

	It("refuses a component that does not exist when it is applied", func(ctx context.Context) {
		_, err := here.Change(ctx, func(i *v1.FluxInstance) { i.Spec.Components = append(i.Spec.Components, "gitops-controller") })
		Expect(apierrors.IsInvalid(err)).To(BeTrue(), "%v", err)
		Expect(err).To(MatchError(And(ContainSubstring("spec.components[4]"), ContainSubstring("gitops-controller"))))
	})

	It("stalls on a range that nothing matches, and recovers", func(ctx context.Context) {
		stalls(ctx, []string{"spec.distribution.version", "3.x"}, func(i *v1.FluxInstance) {
			i.Spec.Distribution.Version = "3.x"
		})
	})

	It("stalls on a range that is none, and recovers", func(ctx context.Context) {
		stalls(ctx, []string{"spec.distribution.version", "newest please"}, func(i *v1.FluxInstance) {
			i.Spec.Distribution.Version = "newest please"
		})
	})

	It("stalls on an older minor, and recovers", func(ctx context.Context) {
		stalls(ctx, []string{"spec.distribution.version", "v2.8.8", "v2.9.4"}, func(i *v1.FluxInstance) {
			i.Spec.Distribution.Version = "2.8.x"
		})
	})

	It("stalls on a patch that matches nothing, and recovers", func(ctx context.Context) {
		stalls(ctx, []string{"patches[0]", "no-such-controller"}, func(i *v1.FluxInstance) {
			i.Spec.Kustomize = &v1.Kustomize{Patches: []kustomize.Patch{{
				Patch:  `[{"op": "replace", "path": "/spec/replicas", "value": 2}]`,
				Target: &kustomize.Selector{Kind: "Deployment", Name: "no-such-controller"},
			}}}
		})
	})

	It("says which image is missing, keeps trying, and recovers", func(ctx context.Context) {
		pod, before := workloadPod(ctx), ready(ctx)
		change(ctx, func(i *v1.FluxInstance) {
			i.Annotations = map[string]string{v1.ReconcileTimeoutAnnotation: "10s"}
			i.Spec.Distribution.Registry, i.Spec.Distribution.Variant = "ghcr.io/nowhere", "upstream-alpine"
		})
		instance, err := here.AwaitFailure(ctx, installLimit, v1.ReasonHealthCheckFailed,
			"Deployment", "helm-controller", "ImagePullBackOff", "ghcr.io/nowhere/helm-controller", "no such image")
		must(err)
		failed := apimeta.FindStatusCondition(instance.Status.Conditions, meta.ReadyCondition)
		Expect(failed.Message).NotTo(ContainSubstring("denies"))
		retrying := apimeta.FindStatusCondition(instance.Status.Conditions, meta.ReconcilingCondition)
		Expect(retrying).NotTo(BeNil())
		Expect(retrying.Reason).To(Equal(v1.ReasonProgressingWithRetry))
		Expect(apimeta.FindStatusCondition(instance.Status.Conditions, meta.StalledCondition)).To(BeNil())
		Expect(instance.Status.LastAppliedRevision).To(Equal(before.Status.LastAppliedRevision))
		Expect(instance.Status.LastAttemptedRevision).NotTo(Equal(before.Status.LastAppliedRevision))
		Expect(instance.Status.History.Latest().LastReconciledStatus).To(Equal(v1.ReasonHealthCheckFailed))
		recorded(ctx, v1.ReasonHealthCheckFailed, "ImagePullBackOff")
		untouched(ctx, pod)

		asInReadme(ctx)
		deploymentsAvailable(ctx, defaultControllers()...)
		exactInventory(ctx)
		untouched(ctx, pod)
	})

	It("tells an instance in another namespace that nobody acts on it", func(ctx context.Context) {
		stray := sample()
		stray.Namespace = site.WorkloadNamespace
		must(here.Client.Create(ctx, stray))
		DeferCleanup(func(ctx context.Context) { must(here.Delete(ctx, soonLimit, stray)) })
		eventually(ctx, soonLimit, "the stray instance to be told", func(ctx context.Context) error {
			if err := here.Client.Get(ctx, client.ObjectKeyFromObject(stray), stray); err != nil {
				return err
			}
			stalled := apimeta.FindStatusCondition(stray.Status.Conditions, meta.StalledCondition)
			if stalled == nil || stalled.Reason != v1.ReasonNotWatched || !strings.Contains(stalled.Message, site.Namespace) {
				return fmt.Errorf("its conditions are %+v", stray.Status.Conditions)
			}
			return nil
		})
	})
}

// stalls changes the README's instance to something that cannot be had, checks that the operator says so and touches nothing, and goes back.
func stalls(ctx context.Context, words []string, edit func(*v1.FluxInstance)) {
	GinkgoHelper()
	objects := versions(ctx)
	refused(ctx, v1.ReasonBuildFailed, words, edit)
	deploymentsAvailable(ctx, defaultControllers()...)

	asInReadme(ctx)
	Expect(versions(ctx)).To(Equal(objects))
}

// refused changes the instance to something that cannot be had and checks that the operator says so, with all the words, and touches nothing.
func refused(ctx context.Context, reason string, words []string, edit func(*v1.FluxInstance)) {
	GinkgoHelper()
	before := ready(ctx)
	objects := versions(ctx)
	change(ctx, edit)
	instance, err := here.AwaitFailure(ctx, soonLimit, reason)
	must(err)
	stalled := apimeta.FindStatusCondition(instance.Status.Conditions, meta.StalledCondition)
	Expect(stalled).NotTo(BeNil())
	Expect(stalled.Reason).To(Equal(reason))
	for _, word := range words {
		Expect(stalled.Message).To(ContainSubstring(word))
	}
	Expect(apimeta.FindStatusCondition(instance.Status.Conditions, meta.ReconcilingCondition)).To(BeNil())
	Expect(instance.Status.LastAppliedRevision).To(Equal(before.Status.LastAppliedRevision))
	Expect(instance.Status.Inventory).To(Equal(before.Status.Inventory))
	Expect(instance.Status.Components).To(Equal(before.Status.Components))
	Expect(instance.Status.History.Latest().LastReconciledStatus).To(Equal(reason))
	recorded(ctx, reason, words[len(words)-1])
	Expect(versions(ctx)).To(Equal(objects), "the running version was touched")
}

// versions are identities and generations of the controllers' Deployments.
func versions(ctx context.Context) map[string]string {
	GinkgoHelper()
	list := &appsv1.DeploymentList{}
	must(here.Client.List(ctx, list, client.InNamespace(site.Namespace)))
	found := map[string]string{}
	for _, deployment := range list.Items {
		if metav1.HasLabel(deployment.ObjectMeta, v1.OwnerNameLabel) {
			found[deployment.Name] = fmt.Sprintf("%s generation %d", deployment.UID, deployment.Generation)
		}
	}
	return found
}

// contains returns nil when one of the texts has the part in it.
func contains(texts []string, part string) error {
	if slices.ContainsFunc(texts, func(text string) bool { return strings.Contains(text, part) }) {
		return nil
	}
	return fmt.Errorf("%q is in none of %q", part, texts)
}

// found returns nil when there is a text.
func found(texts []string) error {
	if len(texts) == 0 {
		return errors.New("there is none")
	}
	return nil
}
