package e2e

import (
	"context"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/test/site"
)

func changing() {
	BeforeAll(asInReadme)

	It("removes what components and network policies bring, and leaves the rest alone", func(ctx context.Context) {
		before, pod := owned(ctx), workloadPod(ctx)
		change(ctx, func(i *v1.FluxInstance) {
			i.Spec.Components = []v1.Component{v1.SourceController, v1.KustomizeController}
			i.Spec.Cluster.NetworkPolicy = false
		})
		ready(ctx)
		after := owned(ctx)
		for id, was := range before {
			is, kept := after[id]
			if goesWithComponents(id) {
				Expect(kept).To(BeFalse(), "%s should be gone", id)
				continue
			}
			Expect(kept).To(BeTrue(), "%s should be there", id)
			Expect(is.UID).To(Equal(was.UID), "%s should not have been made anew", id)
			if was.Kind == "ServiceAccount" || was.Kind == "CustomResourceDefinition" && !strings.Contains(id, "notification") {
				Expect(is.ResourceVersion).To(Equal(was.ResourceVersion), "%s should not have been written", id)
			}
		}
		Expect(len(after)).To(BeNumerically("<", len(before)))
		exactInventory(ctx)
		deploymentsAvailable(ctx, "source-controller", "kustomize-controller")
		untouched(ctx, pod)
	})

	It("brings them back", func(ctx context.Context) {
		pod := workloadPod(ctx)
		asInReadme(ctx)
		exactInventory(ctx)
		deploymentsAvailable(ctx, defaultControllers()...)
		untouched(ctx, pod)
	})

	It("sets metadata on everything and takes it off again", func(ctx context.Context) {
		before := uids(owned(ctx))
		change(ctx, func(i *v1.FluxInstance) {
			i.Spec.CommonMetadata = &v1.CommonMetadata{Labels: map[string]string{"team": "platform"}}
		})
		ready(ctx)
		for id, obj := range owned(ctx) {
			Expect(obj.Labels).To(HaveKeyWithValue("team", "platform"), id)
		}
		asInReadme(ctx)
		for id, obj := range owned(ctx) {
			Expect(obj.Labels).NotTo(HaveKey("team"), id)
		}
		Expect(uids(owned(ctx))).To(Equal(before))
	})

	It("leaves everything alone while it is disabled", func(ctx context.Context) {
		DeferCleanup(asInReadme)
		change(ctx, func(i *v1.FluxInstance) { i.Annotations = map[string]string{v1.ReconcileAnnotation: v1.DisabledValue} })
		eventually(ctx, soonLimit, "an event about it", func(ctx context.Context) error {
			return found(messages(ctx, v1.ReasonReconciliationDisabled))
		})
		policies := client.ObjectKey{Namespace: site.Namespace, Name: "critical-pods-" + site.Namespace}
		must(here.Client.Delete(ctx, get(ctx, policies, &corev1.ResourceQuota{})))
		change(ctx, func(i *v1.FluxInstance) { i.Annotations = nil })
		eventually(ctx, soonLimit, "what was deleted meanwhile to be back", func(ctx context.Context) error {
			return here.Client.Get(ctx, policies, &corev1.ResourceQuota{})
		})
	})
}

// goesWithComponents tells whether an object goes when only source-controller and kustomize-controller stay, without network policies.
func goesWithComponents(id string) bool {
	for _, part := range []string{"helm-controller", "notification-controller", "webhook-receiver", "notification.toolkit", "_helmreleases.helm.toolkit", "_NetworkPolicy"} {
		if strings.Contains(id, part) {
			return true
		}
	}
	return false
}
