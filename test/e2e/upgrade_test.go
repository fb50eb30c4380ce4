package e2e

import (
	"context"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/test/site"
)

func upgrading() {
	BeforeAll(func(ctx context.Context) {
		asInReadme(ctx)
		absent(ctx)
	})

	It("installs an exact release over workloads that run already", func(ctx context.Context) {
		pod := workloadPod(ctx)
		instance := sample()
		instance.Spec.Distribution.Version = "2.9.2"
		must(here.Client.Create(ctx, instance))
		instance = ready(ctx)
		checkRevision(instance, "v2.9.2")
		checkComponents(ctx, instance, map[string]string{
			"source-controller": "v1.9.3", "kustomize-controller": "v1.9.3", "helm-controller": "v1.6.2", "notification-controller": "v1.9.2",
		})
		exactInventory(ctx)
		untouched(ctx, pod)
	})

	It("upgrades to a later one", func(ctx context.Context) {
		before, pod := uids(owned(ctx)), workloadPod(ctx)
		change(ctx, func(i *v1.FluxInstance) { i.Spec.Distribution.Version = "2.9.4" })
		instance := ready(ctx)
		checkConditions(instance)
		checkRevision(instance, "v2.9.4")
		checkComponents(ctx, instance, map[string]string{
			"source-controller": "v1.9.4", "kustomize-controller": "v1.9.4", "helm-controller": "v1.6.3", "notification-controller": "v1.9.3",
		})
		deploymentsAvailable(ctx, defaultControllers()...)
		exactInventory(ctx)
		for id, uid := range uids(owned(ctx)) {
			if was, known := before[id]; known {
				Expect(uid).To(Equal(was), "%s was made anew", id)
			}
		}
		var releases []string
		for _, snapshot := range instance.Status.History {
			releases = append(releases, snapshot.Metadata["flux"])
		}
		Expect(releases).To(Equal([]string{"v2.9.4", "v2.9.2"}))
		recorded(ctx, v1.ReasonReconciliationSucceeded, "before it was v2.9.2")
		untouched(ctx, pod)
	})

	It("goes on syncing", func(ctx context.Context) {
		second := site.FleetState{Message: "deployed after the upgrade", Version: "2.0.0"}
		_, err := here.Commit(ctx, "Change after the upgrade", second)
		must(err)
		requestSync(ctx)
		eventually(ctx, soonLimit, "the commit to run", func(ctx context.Context) error { return answers(ctx, second) })
	})
}
