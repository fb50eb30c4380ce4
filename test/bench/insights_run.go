package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

const (
	insightsLimit = 15 * time.Minute
	// readLimit is how long the operator may take to know all objects.
	readLimit = 2 * time.Minute
	// restUnit is the time that processor time at rest is told of.
	restUnit = 30 * time.Second
	// scrapes of each program are timed.
	scrapes = 5
)

// insight is what knowing a number of objects takes.
type insight struct {
	objects int
	// rest is how long programs are watched that have nothing to do.
	rest time.Duration

	// storing is how long it took to store the objects that were not there before, bytes what an object takes in the store.
	storing time.Duration
	bytes   int64
	// known is the time from the start of the operator until its report tells of all objects.
	known time.Duration
	// idle is the operator's usage at the end of its rest, most what it ever had until the end.
	idle, idleBeside, most usage
	// restCPU is the processor time at rest for each restUnit, of the operator and of kube-state-metrics.
	restCPU, restCPUBeside float64
	// scrape are those of the operator, beside those of kube-state-metrics.
	scrape, beside scraping
	polling        Polling
	// rate of changes that was reached, and the operator's share of a core meanwhile.
	rate, share float64
	// inReport and inMetrics are how late changes were seen, in seconds.
	inReport, inMetrics sample
}

// scraping is what scrapes took.
type scraping struct {
	took, cpu sample
	last      scrape
}

// total is how many objects there are.
func total(crowds []*crowd) int {
	objects := 0
	for _, kind := range crowds {
		objects += kind.objects
	}
	return objects
}

// gainInsight measures with one number of objects after the other in one cluster, which grows.
func (b *bench) gainInsight(ctx context.Context, growing []*insight) error {
	ctx, cancel := context.WithTimeout(ctx, insightsLimit)
	defer cancel()
	return b.onCluster(ctx, func(ctx context.Context) error {
		crowds, err := b.crowds(ctx)
		if err != nil {
			return err
		}
		metrics, err := b.cluster.newScraper(ctx)
		if err != nil {
			return err
		}
		changing := &changes{crowd: crowds[0]}
		for _, in := range growing {
			began := time.Now()
			if err := b.cluster.grow(ctx, crowds, in.objects); err != nil {
				return err
			}
			in.storing, in.bytes = time.Since(began), meanBytes(crowds)
			if err := b.cluster.calm(ctx); err != nil {
				return err
			}
			if err := b.know(ctx, in, crowds, changing, metrics); err != nil {
				return fmt.Errorf("with %d objects: %w", in.objects, err)
			}
			b.sayf("%d objects: stored in %.0f s, all measured in %.0f s", in.objects, in.storing.Seconds(), time.Since(began).Seconds())
		}
		return nil
	})
}

// meanBytes is what an object takes in the store.
func meanBytes(crowds []*crowd) int64 {
	var sum int64
	for _, kind := range crowds {
		sum += kind.bytes
	}
	return sum / int64(total(crowds))
}

// know measures a fresh operator, and what does its work beside it.
func (b *bench) know(ctx context.Context, in *insight, crowds []*crowd, changing *changes, metrics *scraper) (err error) {
	o, err := b.launchOperator(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.stop(context.WithoutCancel(ctx))) }()
	peak := watchMemory(o.usage)
	defer func() { in.most = peak() }()
	if err := b.awaitKnown(ctx, o, total(crowds)); err != nil {
		return err
	}
	in.known = time.Since(o.began)
	if err := b.watchRest(ctx, in, o, crowds, metrics); err != nil {
		return err
	}
	if in.polling, err = b.poll(ctx, crowds); err != nil {
		return err
	}
	if in.polling.Objects != total(crowds) || in.polling.Failing != in.scrape.last.failing {
		return fmt.Errorf("listing tells of %d objects, %d of them failing, metrics of %+v", in.polling.Objects, in.polling.Failing, in.scrape.last)
	}
	changing.failing = in.scrape.last.failing
	return b.watchChanges(ctx, in, o, changing, metrics)
}

// awaitKnown waits until the report tells of all objects.
func (b *bench) awaitKnown(ctx context.Context, o *operator, objects int) error {
	ctx, cancel := context.WithTimeout(ctx, readLimit)
	defer cancel()
	return o.group.Await(ctx, "the report to be complete", func(ctx context.Context) error {
		report := &v1.FluxReport{}
		if err := b.cluster.admin.Get(ctx, client.ObjectKey{Namespace: v1.DefaultNamespace, Name: v1.DefaultInstanceName}, report); err != nil {
			return err
		}
		if known, _ := told(report); known != objects || len(report.Spec.Stale) > 0 {
			return fmt.Errorf("it tells of %d objects of %d, and %d of its parts are old", known, objects, len(report.Spec.Stale))
		}
		return nil
	})
}

// watchRest leaves the operator and kube-state-metrics alone for a while, and scrapes both afterwards.
func (b *bench) watchRest(ctx context.Context, in *insight, o *operator, crowds []*crowd, metrics *scraper) error {
	beside, err := b.startStateMetrics(ctx, crowds, metrics)
	if err != nil {
		return err
	}
	defer beside.stop(context.WithoutCancel(ctx))
	if err := b.cluster.calm(ctx); err != nil {
		return err
	}
	before, err := o.usage()
	if err != nil {
		return err
	}
	besideBefore, err := usageOf(beside.pid)
	if err != nil {
		return err
	}
	if err := pause(ctx, in.rest); err != nil {
		return err
	}
	if in.idle, err = o.usage(); err != nil {
		return err
	}
	if in.idleBeside, err = usageOf(beside.pid); err != nil {
		return err
	}
	units := in.rest.Seconds() / restUnit.Seconds()
	in.restCPU = (in.idle.cpu - before.cpu).Seconds() / units
	in.restCPUBeside = (in.idleBeside.cpu - besideBefore.cpu).Seconds() / units
	if in.scrape, err = metrics.several(ctx, o.metricsURL(), o.pid); err != nil {
		return err
	}
	if found := in.scrape.last; found.objects != total(crowds) {
		return fmt.Errorf("metrics tell of %d objects of %d", found.objects, total(crowds))
	}
	in.beside, err = metrics.several(ctx, beside.address, beside.pid)
	return err
}

// several scrapes a program some times.
func (s *scraper) several(ctx context.Context, address string, pid int) (all scraping, err error) {
	for range scrapes {
		before, err := usageOf(pid)
		if err != nil {
			return all, err
		}
		if all.last, err = s.scrape(ctx, address); err != nil {
			return all, err
		}
		after, err := usageOf(pid)
		if err != nil {
			return all, err
		}
		all.took, all.cpu = append(all.took, all.last.took.Seconds()), append(all.cpu, (after.cpu-before.cpu).Seconds())
	}
	return all, nil
}

// watchChanges changes objects, once while nobody but the report's reader looks, and once while somebody scrapes.
func (b *bench) watchChanges(ctx context.Context, in *insight, o *operator, changing *changes, metrics *scraper) error {
	before, err := o.usage()
	if err != nil {
		return err
	}
	late, took, err := changing.round(ctx, b.cluster, b.cluster.inReport)
	if err != nil {
		return fmt.Errorf("watching changes in the report: %w", err)
	}
	after, err := o.usage()
	if err != nil {
		return err
	}
	in.inReport, in.rate, in.share = late, float64(len(late))/took.Seconds(), (after.cpu-before.cpu).Seconds()/took.Seconds()*100
	if in.inMetrics, _, err = changing.round(ctx, b.cluster, metrics.inMetrics(o)); err != nil {
		return fmt.Errorf("watching changes in metrics: %w", err)
	}
	return nil
}
