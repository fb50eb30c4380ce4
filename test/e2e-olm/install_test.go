package e2eolm

import (
	"context"
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-autopilot/flux-operator/test/olm"
	"github.com/flux-autopilot/flux-operator/test/site"
)

func installing() {
	It("works in a namespace that refuses privileged pods", func(ctx context.Context) {
		privileged := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: site.Namespace, Name: "privileged"},
			Spec: corev1.PodSpec{Containers: []corev1.Container{{
				Name: "it", Image: "example.com/it", SecurityContext: &corev1.SecurityContext{Privileged: new(true)},
			}}},
		}
		Expect(here.Client.Create(ctx, privileged, client.DryRunAll)).To(MatchError(ContainSubstring(`violates PodSecurity "restricted:latest"`)))
	})

	It("installs the operator for a Subscription, and the operator installs Flux", func(ctx context.Context) {
		must(manager.Offer(ctx, catalogs.before))
		began := time.Now()
		must(manager.Subscribe(ctx, olm.Automatic, nil))
		must(manager.AwaitInstalled(ctx, installLimit, versions.before.Name()))
		measured("from the Subscription to the phase Succeeded", began)
		must(here.Client.Create(ctx, sample()))
		_, err := here.AwaitReady(ctx, installLimit)
		must(err)
		measured("from the Subscription to the FluxInstance Ready", began)
		must(here.AwaitDeployment(ctx, soonLimit, site.WorkloadNamespace, site.Workload))
	})

	It("unpacked the bundle from its image", func(ctx context.Context) {
		jobs := &batchv1.JobList{}
		must(here.Client.List(ctx, jobs, client.InNamespace(olm.Namespace), client.HasLabels{"operatorframework.io/bundle-unpack-ref"}))
		Expect(jobs.Items).To(HaveLen(1))
		Expect(jobs.Items[0].Status.Succeeded).To(BeEquivalentTo(1))
	})

	It("runs the image that the bundle names", func(ctx context.Context) {
		operatorPod(ctx, versions.before.Image)
	})
}

func configuring() {
	It("hands variables of the Subscription to the operator", func(ctx context.Context) {
		flux := observe(ctx)
		must(manager.Subscribe(ctx, olm.Automatic, map[string]string{"LEADER_ELECTION_LEASE_DURATION": "40s"}))
		must(here.Await(ctx, installLimit, "the operator to elect a leader for 40 seconds", func(ctx context.Context) error {
			lease := &coordinationv1.Lease{}
			err := here.Client.Get(ctx, client.ObjectKey{Namespace: site.Namespace, Name: site.OperatorName}, lease)
			if err == nil && ptr.Deref(lease.Spec.LeaseDurationSeconds, 0) != 40 {
				err = fmt.Errorf("it is %d seconds", ptr.Deref(lease.Spec.LeaseDurationSeconds, 0))
			}
			return err
		}))
		must(manager.AwaitInstalled(ctx, installLimit, versions.before.Name()))
		flux.unchanged(ctx)
	})
}
