package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/test/site"
)

const (
	// oldObjects is how many objects a long upgrade has to bring along, fewOldObjects how many where it is about the way.
	oldObjects, fewOldObjects = 1000, 130
	// journeyKills is how often the operator is killed on the way at most, each time after journeyWindow at the latest: a leg takes longer than that.
	journeyKills  = 12
	journeyWindow = 8 * time.Second
	// journeyLimit bounds the way through all releases; each leg rolls six Deployments out.
	journeyLimit = 6 * time.Minute
)

// journey is the way from the first release to the newest, as the history tells it: the newest first.
func journey() []string { return []string{"v2.9.4", "v2.8.8", "v2.6.4", "v2.2.3"} }

// migrating takes what users stored years ago to the newest release. There are no programs of those releases: stand-ins run under their names.
func migrating() {
	It(fmt.Sprintf("brings %d objects stored in beta versions of 2.2 to the newest release in one go, though it is killed on the way", oldObjects), func(ctx context.Context) {
		olden(ctx)
		stored := storeBetas(ctx, oldObjects)
		seed := uint64(GinkgoRandomSeed())
		GinkgoWriter.Printf("seed %d (repeat with -ginkgo.seed=%d)\n", seed, seed)
		random := rand.New(rand.NewPCG(seed, 0))
		begin := time.Now()
		depart(ctx)
		for round := range journeyKills {
			delay := time.Duration(random.Int64N(int64(journeyWindow)))
			stage := killOperator(ctx, delay)
			GinkgoWriter.Printf("%5.1f s: kill %2d, %4d ms after it led; the instance said: %s\n", time.Since(begin).Seconds(), round+1, delay.Milliseconds(), stage)
			if stage == isReady {
				break
			}
		}
		instance := arrived(ctx, stored)
		GinkgoWriter.Printf("%5.1f s: it has converged\n", time.Since(begin).Seconds())
		checkWay(instance)
	})

	It("finishes an upgrade that somebody left half done", func(ctx context.Context) {
		olden(ctx)
		stored := storeBetas(ctx, fewOldObjects)
		stored = append(stored, halfUpgrade(ctx, "v2.6.4")...)
		depart(ctx)
		instance := arrived(ctx, stored)
		checkWay(instance)
		Expect(len(releases(instance))).To(BeNumerically(">", 2))
		recorded(ctx, v1.ReasonProgressing, "is installed, on the way to v2.9.4")
	})
}

// isReady is what [said] says of an instance that is ready.
const isReady = "ready"

// olden installs the first release, with all its controllers and nothing stored, and has the operator leave it alone.
func olden(ctx context.Context) {
	GinkgoHelper()
	absent(ctx)
	instance := sample()
	instance.Spec.Distribution.Version = "2.2.x"
	instance.Spec.Components = []v1.Component{
		v1.SourceController, v1.KustomizeController, v1.HelmController, v1.NotificationController, v1.ImageReflectorController, v1.ImageAutomationController,
	}
	instance.Spec.Sync = nil
	instance.Spec.Kustomize = quickHandover()
	must(here.Client.Create(ctx, instance))
	DeferCleanup(func(ctx context.Context) {
		absent(ctx)
		must(here.Delete(ctx, soonLimit, storedNamespace()))
	})
	checkRevision(ready(ctx), "v2.2.3")
	change(ctx, func(i *v1.FluxInstance) { i.Annotations = map[string]string{v1.ReconcileAnnotation: v1.DisabledValue} })
	eventually(ctx, soonLimit, "the operator to leave Flux alone", func(ctx context.Context) error {
		events := &corev1.EventList{}
		about := client.MatchingFields{"involvedObject.uid": string(instance.UID), "reason": v1.ReasonReconciliationDisabled}
		if err := here.Client.List(ctx, events, client.InNamespace(site.Namespace), about); err != nil {
			return err
		}
		if len(events.Items) == 0 {
			return errors.New("it has not said so")
		}
		return nil
	})
}

// depart asks for the newest release.
func depart(ctx context.Context) {
	GinkgoHelper()
	change(ctx, func(i *v1.FluxInstance) {
		i.Annotations = nil
		i.Spec.Distribution.Version = "2.x"
	})
}

// arrived waits for the newest release and checks that all objects are there as they were, in its version alone.
func arrived(ctx context.Context, stored []storedObject) *v1.FluxInstance {
	GinkgoHelper()
	instance, err := here.AwaitReady(ctx, journeyLimit)
	must(err)
	checkConditions(instance)
	checkRevision(instance, "v2.9.4")
	exactInventory(ctx)
	storedInOneVersion(ctx)
	unharmed(ctx, stored)
	return instance
}

// checkWay checks that the history tells the way from 2.2 to the newest release in order. A release at whose end
// the operator was killed, or lost its lease on a busy machine, is not told of: the next pass goes on from what the definitions say.
func checkWay(instance *v1.FluxInstance) {
	GinkgoHelper()
	whole, way := journey(), releases(instance)
	Expect(way[0]).To(Equal(whole[0]))
	Expect(way[len(way)-1]).To(Equal(whole[len(whole)-1]))
	Expect(whole).To(ContainElements(way))
	Expect(slices.IsSortedFunc(way, func(a, b string) int { return slices.Index(whole, a) - slices.Index(whole, b) })).To(BeTrue(), "%q", way)
}

// releases are those of the history, the newest first, each once however often it was tried.
func releases(instance *v1.FluxInstance) []string {
	var found []string
	for _, snapshot := range instance.Status.History {
		if release := snapshot.Metadata["flux"]; !slices.Contains(found, release) {
			found = append(found, release)
		}
	}
	return found
}

// halfUpgrade applies every second definition of a release, as somebody does whose upgrade fails in the middle, and stores an object of each of
// these kinds in the version that is new then.
func halfUpgrade(ctx context.Context, release string) []storedObject {
	GinkgoHelper()
	var stored []storedObject
	for i, crd := range definitionsOf(release) {
		if i%2 == 1 {
			continue
		}
		before := storedVersionsOf(ctx, crd.GetName())
		must(here.Apply(ctx, crd))
		live := established(ctx, crd.GetName())
		Expect(live.Status.StoredVersions).To(ContainElements(before))
		stored = append(stored, storeSome(ctx, live, storageVersion(live), 1)...)
	}
	Expect(stored).NotTo(BeEmpty())
	deploymentsAvailable(ctx, append(defaultControllers(), "image-reflector-controller", "image-automation-controller")...)
	checkRevision(must1(here.Instance(ctx)), "v2.2.3")
	return stored
}

// must1 is [must] with a value.
func must1[T any](value T, err error) T {
	GinkgoHelper()
	must(err)
	return value
}
