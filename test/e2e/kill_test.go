package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/fluxcd/pkg/apis/kustomize"
	. "github.com/onsi/ginkgo/v2"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/test/site"
)

const (
	// kills is how often the operator is killed; installEvery of them begins with an install, and checkEvery of them ends with a check.
	kills        = 20
	installEvery = 10
	checkEvery   = 5
	// killWindow is how long after it leads the operator is killed at the latest; applying everything takes about half of it.
	killWindow = 2500 * time.Millisecond
)

func beingKilled() {
	It(fmt.Sprintf("converges after %d kills at random moments of installs and changes", kills), func(ctx context.Context) {
		asInReadme(ctx)
		workload := workloadPod(ctx)
		seed := uint64(GinkgoRandomSeed())
		GinkgoWriter.Printf("seed %d (repeat with -ginkgo.seed=%d)\n", seed, seed)
		random := rand.New(rand.NewPCG(seed, 0))
		begin := time.Now()
		for round := range kills {
			if round%installEvery == 0 {
				absent(ctx)
				instance := sample()
				instance.Spec.Kustomize = quickHandover()
				must(here.Client.Create(ctx, instance))
			} else {
				change(ctx, variation(random))
			}
			delay := time.Duration(random.Int64N(int64(killWindow)))
			stage := killOperator(ctx, delay)
			GinkgoWriter.Printf("%5.1f s: kill %2d of %d, %4d ms after it led; the instance said: %s\n",
				time.Since(begin).Seconds(), round+1, kills, delay.Milliseconds(), stage)
			if (round+1)%checkEvery == 0 {
				ready(ctx)
				exactInventory(ctx)
				GinkgoWriter.Printf("%5.1f s: it has converged\n", time.Since(begin).Seconds())
			}
		}
		asInReadme(ctx)
		checkConditions(ready(ctx))
		exactInventory(ctx)
		deploymentsAvailable(ctx, defaultControllers()...)
		untouched(ctx, workload)
	})

	It("finishes an uninstall in the middle of which it was killed", func(ctx context.Context) {
		asInReadme(ctx)
		workload := workloadPod(ctx)
		instance, err := here.Instance(ctx)
		must(err)
		must(here.Client.Delete(ctx, instance))
		killOperator(ctx, 500*time.Millisecond)
		absent(ctx)
		leftNothing(ctx)
		untouched(ctx, workload)
	})
}

// quickHandover makes Flux's controllers hand over fast. A process that is told to end in its first moments, before it listens, misses that,
// and the rollouts here follow each other so fast that it happens: such a pod would run on for up to ten minutes and its successor wait
// for a lease that nobody gave back.
func quickHandover() *v1.Kustomize {
	return &v1.Kustomize{Patches: []kustomize.Patch{{
		Patch: `[
			{"op": "add", "path": "/spec/template/spec/terminationGracePeriodSeconds", "value": 5},
			{"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": "--leader-election-lease-duration=6s"},
			{"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": "--leader-election-renew-deadline=5s"},
			{"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": "--leader-election-retry-period=1s"}
		]`,
		Target: &kustomize.Selector{Kind: "Deployment"},
	}}}
}

// variation is a random change that adds, removes and rewrites objects.
func variation(random *rand.Rand) func(*v1.FluxInstance) {
	components := [][]v1.Component{
		nil,
		{v1.SourceController, v1.KustomizeController},
		{v1.SourceController, v1.KustomizeController, v1.NotificationController},
		{v1.SourceController, v1.KustomizeController, v1.HelmController},
	}[random.IntN(4)]
	policy := random.IntN(2) == 0
	size := []string{"", "small", "medium"}[random.IntN(3)]
	release := []string{"2.9.2", "2.9.4"}[random.IntN(2)]
	team := fmt.Sprintf("team-%d", random.IntN(1000))
	return func(i *v1.FluxInstance) {
		i.Spec.Components = components
		i.Spec.Cluster.NetworkPolicy, i.Spec.Cluster.Size = policy, size
		i.Spec.Distribution.Version = release
		i.Spec.CommonMetadata = &v1.CommonMetadata{Labels: map[string]string{"team": team}}
	}
}

// killOperator waits until the operator leads, ends its process after the delay without any warning, and takes the pod away, since the
// kubelet would start it again only after a growing delay. It returns what the instance said at that moment.
func killOperator(ctx context.Context, delay time.Duration) string {
	GinkgoHelper()
	var pod *corev1.Pod
	eventually(ctx, soonLimit, "the operator to lead", func(ctx context.Context) error {
		var err error
		if pod, err = here.OperatorPod(ctx); err != nil {
			return err
		}
		return leads(ctx, pod)
	})
	moment := time.NewTimer(delay)
	defer moment.Stop()
	select {
	case <-ctx.Done():
		Fail("interrupted")
	case <-moment.C:
	}
	must(site.Kill(pod))
	must(client.IgnoreNotFound(here.Client.Delete(ctx, pod, client.GracePeriodSeconds(0))))
	instance, err := here.Instance(ctx)
	if err != nil {
		return err.Error()
	}
	return said(instance)
}

// leads returns nil when the pod's process holds the lease.
func leads(ctx context.Context, pod *corev1.Pod) error {
	lease := &coordinationv1.Lease{}
	if err := here.Client.Get(ctx, key(site.OperatorName), lease); err != nil {
		return err
	}
	if holder := lease.Spec.HolderIdentity; holder == nil || !strings.HasPrefix(*holder, pod.Name+"_") {
		return fmt.Errorf("the lease is held by %v, the pod is %s, %s", holder, pod.Name, pod.Status.Phase)
	}
	return nil
}

// said is what the instance says of itself, in one line.
func said(instance *v1.FluxInstance) string {
	if err := site.Ready(instance); err != nil {
		return err.Error()
	}
	return "ready"
}
