package e2eolm

import (
	"context"
	"fmt"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-autopilot/flux-operator/test/olm"
	"github.com/flux-autopilot/flux-operator/test/site"
)

func uninstalling() {
	It("removes the operator with its Subscription and its versions, and Flux goes on", func(ctx context.Context) {
		flux := observe(ctx)
		must(manager.Remove(ctx, installLimit, versions.withoutImage.Name()))
		must(manager.Remove(ctx, installLimit, versions.withoutBundle.Name()))
		awaitRemoved(ctx)
		flux.unchanged(ctx)
	})

	It("installs it again when somebody approves, and it takes over", func(ctx context.Context) {
		flux := observe(ctx)
		must(manager.Offer(ctx, catalogs.now))
		must(manager.Subscribe(ctx, olm.Manual, nil))
		plan, err := manager.PendingPlan(ctx, installLimit, versions.now.Name())
		must(err)
		must(gone(ctx, operator()))
		must(manager.Approve(ctx, plan))
		must(manager.AwaitInstalled(ctx, installLimit, versions.now.Name()))
		acts(ctx)
		flux.unchanged(ctx)
	})

	It("leaves nothing but definitions when Flux is removed before it", func(ctx context.Context) {
		must(here.DeleteInstance(ctx, installLimit))
		owned, err := here.Owned(ctx)
		must(err)
		Expect(owned).To(BeEmpty())
		must(manager.Remove(ctx, installLimit, versions.now.Name()))
		awaitRemoved(ctx)
	})
}

// awaitRemoved waits until nothing is left of what the lifecycle manager made for the operator, but the definitions, which stay. The garbage collector
// takes a while, and would take from the next installation what that found in its place.
func awaitRemoved(ctx context.Context) {
	GinkgoHelper()
	must(here.Await(ctx, installLimit, "the operator to be gone", func(ctx context.Context) error {
		left, err := here.Objects(ctx, client.HasLabels{"operators.coreos.com/" + olm.Package + "." + site.Namespace})
		if err != nil {
			return err
		}
		for i := range left {
			if left[i].Kind != "CustomResourceDefinition" {
				return fmt.Errorf("%s %q is still there", left[i].Kind, left[i].Name)
			}
		}
		return gone(ctx, operator())
	}))
}

// operator names the operator's Deployment.
func operator() *appsv1.Deployment {
	return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: site.Namespace, Name: site.OperatorName}}
}
