package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

const (
	// changeRate is how many objects a second begin to fail.
	changeRate = 20
	// changeTime is how long they do.
	changeTime = 9 * time.Second
	// scrapePause is the time from the end of a scrape to the next one while what they tell is compared with what was written.
	scrapePause = 100 * time.Millisecond
	// seenLimit is how long the last change may take to be seen.
	seenLimit = 20 * time.Second
)

// sighting is somebody's look at how many objects fail.
type sighting struct {
	at      time.Time
	failing int
}

// changes are objects that begin to fail one after the other, as if their controllers said so.
type changes struct {
	crowd *crowd
	// next is the object that is looked at next; each fails once.
	next int
	// failing is how many fail when a round begins.
	failing int
}

// stale tells how late changes were seen: of each, the time from before it was written until somebody saw as many failing objects.
func stale(written []time.Time, before int, seen []sighting) (sample, error) {
	var late sample
	next := 0
	for _, one := range seen {
		for ; next < len(written) && before+next < one.failing; next++ {
			late = append(late, one.at.Sub(written[next]).Seconds())
		}
	}
	if next < len(written) {
		return nil, fmt.Errorf("only %d of %d changes were seen", next, len(written))
	}
	return late, nil
}

// make changes objects at the rate, and returns when each was.
func (c *changes) make(ctx context.Context, cluster *cluster) ([]time.Time, error) {
	ticker := time.NewTicker(time.Second / changeRate)
	defer ticker.Stop()
	var written []time.Time
	for end := time.Now().Add(changeTime); time.Now().Before(end); {
		for isFailing(c.next) {
			c.next++
		}
		if c.next >= c.crowd.objects {
			return nil, fmt.Errorf("changing objects: all %d fail", c.crowd.objects)
		}
		written = append(written, time.Now())
		if err := cluster.fail(ctx, c.crowd, c.next); err != nil {
			return nil, err
		}
		c.next++
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-ticker.C:
		}
	}
	return written, nil
}

// fail writes into the status of an object that it is not ready.
func (c *cluster) fail(ctx context.Context, kind *crowd, i int) error {
	named := kind.named(i)
	obj := &unstructured.Unstructured{}
	obj.SetGroupVersionKind(kind.model.GroupVersionKind())
	obj.SetNamespace(named.Namespace)
	obj.SetName(named.Name)
	patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"status":{"conditions":[{"type":"Ready","status":"False","reason":"HealthCheckFailed","observedGeneration":1,
		"lastTransitionTime":%q,"message":"health check failed after 5m0s: timeout waiting for: [Deployment/%s/%s status: 'InProgress']"}]}}`,
		time.Now().UTC().Format(time.RFC3339), named.Namespace, named.Name))
	if err := c.admin.Status().Patch(ctx, obj, patch, client.FieldOwner("gotk-controller")); err != nil {
		return fmt.Errorf("changing %s: %w", named, err)
	}
	return nil
}

// round makes changes while look looks, until it has seen the last one. It returns how late they were seen, and how long making them took.
func (c *changes) round(ctx context.Context, cluster *cluster, look func(context.Context, func(sighting)) error) (late sample, took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, changeTime+seenLimit)
	defer cancel()
	book, looking := &book{}, make(chan error, 1)
	go func() { looking <- look(ctx, book.note) }()
	began := time.Now()
	written, err := c.make(ctx, cluster)
	took = time.Since(began)
	before := c.failing
	c.failing += len(written)
	if err == nil {
		err = cluster.group.Await(ctx, "the changes to be seen", func(context.Context) error {
			if seen := book.most(); seen < c.failing {
				return fmt.Errorf("%d objects of %d are seen failing", seen, c.failing)
			}
			return nil
		})
	}
	cancel()
	if ended := <-looking; err != nil { // it is told to end, which is no failure where all was seen
		return nil, took, errors.Join(err, ended)
	}
	late, err = stale(written, before, book.sightings)
	return late, took, err
}

// book is where what was seen is noted.
type book struct {
	mu        sync.Mutex
	sightings []sighting
}

func (b *book) note(seen sighting) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sightings = append(b.sightings, seen)
}

// most is the most that was ever seen failing.
func (b *book) most() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	most := 0
	for _, one := range b.sightings {
		most = max(most, one.failing)
	}
	return most
}

// inReport looks at the FluxReport whenever it changes.
func (c *cluster) inReport(ctx context.Context, saw func(sighting)) error {
	events, err := c.admin.Watch(ctx, &v1.FluxReportList{}, client.InNamespace(v1.DefaultNamespace))
	if err != nil {
		return fmt.Errorf("watching the report: %w", err)
	}
	defer events.Stop()
	return await(ctx, "further changes in the report", events, func(_ watch.EventType, obj runtime.Object) bool {
		if report, ok := obj.(*v1.FluxReport); ok {
			_, failing := told(report)
			saw(sighting{at: time.Now(), failing: failing})
		}
		return false
	})
}

// told are how many objects a report tells of, and how many of them fail.
func told(report *v1.FluxReport) (objects, failing int) {
	for _, kind := range report.Spec.ReconcilersStatus {
		objects += kind.Stats.Running + kind.Stats.Suspended
		failing += kind.Stats.Failing
	}
	return objects, failing
}

// inMetrics scrapes again and again.
func (s *scraper) inMetrics(o *operator) func(context.Context, func(sighting)) error {
	return func(ctx context.Context, saw func(sighting)) error {
		for {
			one, err := s.scrape(ctx, o.metricsURL())
			if err != nil {
				return err
			}
			saw(sighting{at: one.read, failing: one.failing})
			if err := pause(ctx, scrapePause); err != nil {
				return err
			}
		}
	}
}
