package migrate_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/flux-autopilot/flux-operator/pkg/migrate"
)

// BenchmarkRun measures a migration in which all objects, or a tenth of them, are stored in an old version, against the same writes sent by
// name by a client that does nothing else. It needs KUBEBUILDER_ASSETS.
func BenchmarkRun(b *testing.B) {
	RegisterTestingT(b)
	startCluster(b)
	for _, objects := range []int{1_000, 10_000} {
		for _, share := range []int{1, 10} {
			b.Run(fmt.Sprintf("objects=%d/old=1in%d", objects, share), func(b *testing.B) {
				RegisterTestingT(b)
				var took, floor time.Duration
				var heap uint64
				for b.Loop() {
					b.StopTimer()
					migrated, raw := newWorkload(b, objects, share), newWorkload(b, objects, share)
					began := time.Now()
					raw.writeByName(b)
					floor += time.Since(began)
					b.StartTimer()
					began = time.Now()
					heap = max(heap, migrated.migrate(b))
					took += time.Since(began)
				}
				n := float64(objects * b.N)
				b.ReportMetric(n/took.Seconds(), "objects/s")
				b.ReportMetric(n/floor.Seconds(), "floor-objects/s")
				b.ReportMetric(floor.Seconds()/took.Seconds(), "of-floor")
				b.ReportMetric(float64(heap)/(1<<20), "heap-MiB")
			})
		}
	}
}

// startCluster starts an API server for a benchmark.
func startCluster(b *testing.B) {
	b.Helper()
	cluster = &envtest.Environment{}
	var err error
	clusterCfg, err = cluster.Start()
	Expect(err).NotTo(HaveOccurred())
	b.Cleanup(func() { Expect(cluster.Stop()).To(Succeed()) })
	clusterCfg.QPS = -1
	clusterCfg.WarningHandler = rest.NoWarnings{}
	admin, err = client.New(clusterCfg, client.Options{})
	Expect(err).NotTo(HaveOccurred())
}

// workload is a definition with objects, some of them stored in an old version.
type workload struct {
	*world

	old, wanted *unstructured.Unstructured
	names       []string
}

// newWorkload stores objects, one in every so many of them in an old version.
func newWorkload(b *testing.B, objects, share int) *workload {
	b.Helper()
	ctx := b.Context()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "bench-"}}
	Expect(admin.Create(ctx, ns)).To(Succeed())
	c, err := client.New(clusterCfg, client.Options{})
	Expect(err).NotTo(HaveOccurred())
	w := &workload{world: &world{ns: ns.Name, migrator: migrate.New(c, migrate.Options{})}}
	w.old, w.wanted = w.crd("v1* v1beta1"), w.crd("v1*")
	things := w.manyThings("v1", objects)
	for _, thing := range things {
		w.names = append(w.names, thing.GetName())
	}
	storeIn(ctx, w.old, "v1beta1")
	create(ctx, things[:objects/share])
	install(ctx, w.old)
	create(ctx, things[objects/share:])
	return w
}

// migrate is what is measured. It returns the largest live heap.
func (w *workload) migrate(b *testing.B) uint64 {
	b.Helper()
	definitions, err := migrate.Definitions([]*unstructured.Unstructured{w.wanted})
	Expect(err).NotTo(HaveOccurred())
	live, err := w.migrator.Live(b.Context(), definitions)
	Expect(err).NotTo(HaveOccurred())
	steps, err := migrate.Plan(live, definitions)
	Expect(err).NotTo(HaveOccurred())
	var largest uint64
	Expect(w.migrator.Run(b.Context(), steps, func(migrate.Progress) {
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		largest = max(largest, stats.HeapAlloc)
	})).To(Succeed())
	Expect(storedVersions(b.Context(), w.old)).To(Equal([]string{"v1"}))
	return largest
}

// writeByName makes the same writes as a migration, and nothing else, as fast as the API server takes them.
func (w *workload) writeByName(b *testing.B) {
	b.Helper()
	c, err := dynamic.NewForConfig(clusterCfg)
	Expect(err).NotTo(HaveOccurred())
	things := c.Resource(schema.GroupVersionResource{Group: w.group(), Version: "v1", Resource: "things"}).Namespace(w.ns)
	var taken, failed atomic.Int64
	var workers sync.WaitGroup
	for range floorConcurrency {
		workers.Go(func() {
			for i := int(taken.Add(1)) - 1; i < len(w.names); i = int(taken.Add(1)) - 1 {
				if err := patchEmpty(b.Context(), things, w.names[i]); err != nil {
					failed.Add(1)
				}
			}
		})
	}
	workers.Wait()
	Expect(failed.Load()).To(BeZero())
}

// floorConcurrency is how many requests the client that does nothing else has in flight: twice as many as a migration.
const floorConcurrency = 16

func patchEmpty(ctx context.Context, things dynamic.ResourceInterface, name string) error {
	_, err := things.Patch(ctx, name, types.MergePatchType, []byte("{}"), metav1.PatchOptions{})
	return err
}
