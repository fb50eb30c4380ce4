package e2eolm

import (
	"context"
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-autopilot/flux-operator/test/olm"
	"github.com/flux-autopilot/flux-operator/test/site"
)

func upgrading() {
	It("upgrades the operator and leaves Flux alone", func(ctx context.Context) {
		flux := observe(ctx)
		must(manager.Offer(ctx, catalogs.now))
		began := time.Now()
		must(manager.AwaitInstalled(ctx, installLimit, versions.now.Name()))
		measured("from the catalog to the phase Succeeded of the next version", began)
		must(here.Await(ctx, installLimit, "the version before to be gone", func(ctx context.Context) error { return gone(ctx, olm.CSV(versions.before.Name())) }))
		operatorPod(ctx, versions.now.Image)
		acts(ctx)
		flux.unchanged(ctx)
	})
}

func refusing() {
	It("leaves what runs alone while a bundle cannot be pulled, and goes on when it can", func(ctx context.Context) {
		flux := observe(ctx)
		pod := operatorPod(ctx, versions.now.Image)
		must(manager.Offer(ctx, catalogs.withoutBundle))
		must(here.Await(ctx, installLimit, "the bundle not to be pulled", func(ctx context.Context) error {
			return waiting(ctx, olm.Namespace, client.HasLabels{"operatorframework.io/bundle-unpack-ref"})
		}))
		Eventually(manager.Blocked, installLimit).WithContext(ctx).Should(MatchError(ContainSubstring("BundleUnpacking")))
		must(manager.AwaitInstalled(ctx, soonLimit, versions.now.Name()))
		same(ctx, pod)
		acts(ctx)
		flux.unchanged(ctx)

		must(manager.PushBundle(ctx, versions.withoutBundle))
		must(manager.AwaitInstalled(ctx, installLimit, versions.withoutBundle.Name()))
		flux.unchanged(ctx)
	})

	It("keeps the operator running while the next one's image cannot be pulled", func(ctx context.Context) {
		flux := observe(ctx)
		pod := operatorPod(ctx, versions.withoutBundle.Image)
		must(manager.Offer(ctx, catalogs.withoutImage))
		must(here.Await(ctx, installLimit, "the operator's image not to be pulled", func(ctx context.Context) error {
			return waiting(ctx, site.Namespace, client.MatchingLabels{"app.kubernetes.io/name": site.OperatorName})
		}))
		same(ctx, pod)
		acts(ctx)
		flux.unchanged(ctx)
	})
}

// waiting returns nil when one of the pods waits for an image that cannot be pulled.
func waiting(ctx context.Context, namespace string, which client.ListOption) error {
	pods := &corev1.PodList{}
	if err := here.Client.List(ctx, pods, client.InNamespace(namespace), which); err != nil {
		return err
	}
	for i := range pods.Items {
		status := &pods.Items[i].Status
		for _, container := range append(status.InitContainerStatuses, status.ContainerStatuses...) {
			if w := container.State.Waiting; w != nil && (w.Reason == "ErrImagePull" || w.Reason == "ImagePullBackOff") {
				return nil
			}
		}
	}
	return fmt.Errorf("none of %d pods waits for an image", len(pods.Items))
}

// gone returns nil when an object does not exist.
func gone(ctx context.Context, obj client.Object) error {
	err := here.Client.Get(ctx, client.ObjectKeyFromObject(obj), obj)
	if apierrors.IsNotFound(err) {
		return nil
	}
	return fmt.Errorf("%s %q is still there: %w", obj.GetObjectKind().GroupVersionKind().Kind, obj.GetName(), err)
}
