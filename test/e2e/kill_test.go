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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/test/site"
	"github.com/flux-autopilot/flux-operator/test/testbed/definitions"
)

const (
	// kills is how often the operator is killed; installEvery of them begins with an install, and checkEvery of them ends with a check.
	kills        = 20
	installEvery = 10
	checkEvery   = 5
	// killWindow is how long after it leads the operator is killed at the latest; applying everything takes about half of it.
	killWindow = 2500 * time.Millisecond
	// uninstallSteps is in how many steps everything is removed.
	uninstallSteps = 4
)

func beingKilled() {
	BeforeAll(nudging)

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
				leader(ctx) // a process that the kubelet still started again may have taken the lease to its grave
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

	It("finishes an uninstall at every step of which it was killed", func(ctx context.Context) {
		for step := range uninstallSteps {
			asInReadme(ctx)
			workload := workloadPod(ctx)
			stage := killUninstalling(ctx, step+1)
			leader(ctx)
			began := time.Now()
			absent(ctx)
			GinkgoWriter.Printf("killed when it said %q: gone after another %s\n", stage, time.Since(began).Round(time.Millisecond))
			leftNothing(ctx)
			untouched(ctx, workload)
		}
	})
}

// nudging keeps the API server, until the end of the specs, from forgetting definitions that are removed moments after they were made.
func nudging(ctx context.Context) {
	GinkgoHelper()
	config, err := clientcmd.BuildConfigFromFlags("", here.Cluster.Kubeconfig)
	must(err)
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	DeferCleanup(stop)
	must(definitions.Nudge(ctx, config, GinkgoWriter.Printf))
}

// restartWith runs the operator anew with some environment variables and waits until that one leads.
func restartWith(ctx context.Context, env map[string]string) {
	GinkgoHelper()
	must(here.ApplyOperator(ctx, env))
	must(here.AwaitDeployment(ctx, installLimit, site.Namespace, site.OperatorName))
	leader(ctx)
}

// killUninstalling deletes the instance, ends the operator's process when it says that it has come to a step, and returns what it said.
func killUninstalling(ctx context.Context, step int) string {
	GinkgoHelper()
	pod := leader(ctx)
	instance, err := here.Instance(ctx)
	must(err)
	ctx, cancel := context.WithTimeout(ctx, uninstallLimit)
	defer cancel()
	watcher, err := here.Client.Watch(ctx, &v1.FluxInstanceList{}, client.InNamespace(site.Namespace))
	must(err)
	defer watcher.Stop()
	must(here.Client.Delete(ctx, instance))
	for event := range watcher.ResultChan() {
		seen, ok := event.Object.(*v1.FluxInstance)
		if ok && strings.Contains(said(seen), fmt.Sprintf("Uninstalling Flux, %d of %d", step, uninstallSteps)) {
			end(ctx, pod)
			return said(seen)
		}
	}
	Fail(fmt.Sprintf("the operator never said that it had come to step %d", step))
	return ""
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
	pod := leader(ctx)
	moment := time.NewTimer(delay)
	defer moment.Stop()
	select {
	case <-ctx.Done():
		Fail("interrupted")
	case <-moment.C:
	}
	end(ctx, pod)
	instance, err := here.Instance(ctx)
	if err != nil {
		return err.Error()
	}
	return said(instance)
}

// leader waits until the operator leads and returns its pod.
func leader(ctx context.Context) *corev1.Pod {
	GinkgoHelper()
	var pod *corev1.Pod
	eventually(ctx, installLimit, "the operator to lead", func(ctx context.Context) error {
		var err error
		if pod, err = here.OperatorPod(ctx); err != nil {
			return err
		}
		return leads(ctx, pod)
	})
	return pod
}

// end ends the process of the pod that leads without any warning, and takes the pod away and the lease that it could not give back: the next one would
// wait for its end, half a minute each time. With a lease that is shorter, the operator loses it on a busy machine, and the kubelet restarts it ever later.
func end(ctx context.Context, pod *corev1.Pod) {
	GinkgoHelper()
	eventually(ctx, installLimit, "the process of pod "+pod.Name+" to be known, which may lead before the kubelet tells of it", func(ctx context.Context) error {
		if err := here.Client.Get(ctx, client.ObjectKeyFromObject(pod), pod); err != nil {
			return err
		}
		return site.Kill(pod)
	})
	must(client.IgnoreNotFound(here.Client.Delete(ctx, pod, client.GracePeriodSeconds(0))))
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: site.Namespace, Name: site.OperatorName}}
	must(client.IgnoreNotFound(here.Client.Delete(ctx, lease)))
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
