package bench

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	lifecycleLimit = 12 * time.Minute
	// memoryPoll is how often the operator's memory is read while it works.
	memoryPoll = 20 * time.Millisecond
)

// stored is a cluster with stored objects through which the operator goes twice: to rewrite them before a release, and to take their
// finalizers off when it is uninstalled.
type stored struct {
	// objects there are, of which old are stored in the old version.
	objects, old int
	// whole tells whether the uninstall and the API server's limits are measured as well.
	whole bool

	loading            time.Duration
	migration, release going
	// rewritten is how many objects were really written by the migration.
	rewritten int
	// uninstall is the time from deleting the instance to its end.
	uninstall time.Duration
}

// going is one way through all objects.
type going struct {
	// took is the time from the first to the last request for an object, requests are how many there were.
	took     time.Duration
	requests int
	// peak is the most memory that the operator had meanwhile.
	peak usage
	// limit is how long the same writes take a plain client: half of them before, half of them after.
	limit time.Duration
}

// rate is in objects per second.
func (g going) rate() float64 { return float64(g.requests) / g.took.Seconds() }

// limitRate is what a plain client comes to.
func (g going) limitRate() float64 { return float64(g.requests) / g.limit.Seconds() }

// String is for somebody who watches.
func (g going) String() string {
	said := fmt.Sprintf("%.0f/s with at most %.1f MiB", g.rate(), inMiB(g.peak.anon))
	if g.limit > 0 {
		said += fmt.Sprintf(", the limit is %.0f/s", g.limitRate())
	}
	return said
}

// goThrough measures one cluster.
func (b *bench) goThrough(ctx context.Context, s *stored) error {
	ctx, cancel := context.WithTimeout(ctx, lifecycleLimit)
	defer cancel()
	return b.onCluster(ctx, func(ctx context.Context) error {
		began := time.Now()
		ours, err := b.populate(ctx, storedGroup, s.objects, s.old)
		if err != nil {
			return err
		}
		var others population
		if s.whole {
			if others, err = b.populate(ctx, limitGroup, s.objects, s.old); err != nil {
				return err
			}
		}
		s.loading = time.Since(began)
		if err := b.measureMigration(ctx, s, ours, others); err != nil {
			return err
		}
		b.sayf("%d objects, %d of them old: stored in %.0f s, migrated at %s", s.objects, s.old, s.loading.Seconds(), s.migration)
		if !s.whole {
			return nil
		}
		if err := b.measureRelease(ctx, s, others); err != nil {
			return err
		}
		b.sayf("%d objects: released at %s", s.objects, s.release)
		return nil
	})
}

// measureMigration has the operator install the newest release.
func (b *bench) measureMigration(ctx context.Context, s *stored, ours, others population) error {
	before, err := b.cluster.revisions(ctx, ours)
	if err != nil {
		return err
	}
	var limit writes
	if s.whole {
		if limit, err = b.cluster.migrations(ctx, others); err != nil {
			return err
		}
	}
	s.migration, err = b.between(ctx, limit, func(ctx context.Context) error {
		return b.cluster.create(ctx, instance(b.distribution.release))
	})
	if err != nil {
		return err
	}
	after, err := b.cluster.revisions(ctx, ours)
	if err != nil {
		return err
	}
	if s.rewritten = changed(before, after); s.rewritten < s.old {
		return fmt.Errorf("only %d of %d objects were rewritten that were stored in an old version", s.rewritten, s.old)
	}
	return nil
}

// measureRelease has the operator uninstall.
func (b *bench) measureRelease(ctx context.Context, s *stored, others population) (err error) {
	s.release, err = b.between(ctx, releases(others), func(ctx context.Context) error {
		began := time.Now()
		defer func() { s.uninstall = time.Since(began) }()
		return b.cluster.remove(ctx)
	})
	return err
}

// between has a fresh operator do work, and a plain client half of the same writes before it and half of them after it.
func (b *bench) between(ctx context.Context, limit writes, work func(context.Context) error) (g going, err error) {
	plainly := func(second int) error {
		if len(limit.each) == 0 {
			return nil
		}
		took, err := b.cluster.limit(ctx, limit.half(second))
		g.limit += took
		return errors.Join(err, b.cluster.calm(ctx))
	}
	if err := plainly(0); err != nil {
		return g, err
	}
	if err := b.watchWork(ctx, &g, work); err != nil {
		return g, err
	}
	if len(limit.each) > 0 {
		if err := b.cluster.calm(ctx); err != nil {
			return g, err
		}
	}
	return g, plainly(1)
}

// watchWork has a fresh operator do work, reads its memory all the time, and finds its requests for the objects in the audit log.
func (b *bench) watchWork(ctx context.Context, g *going, work func(context.Context) error) (err error) {
	o, err := b.startOperator(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.stop(context.WithoutCancel(ctx))) }()
	if _, err := b.cluster.audit.settle(ctx, operatorUser, o.began); err != nil {
		return err
	}
	began := time.Now()
	peak := watchMemory(o.usage) // an operator that ended fails the work
	err = work(ctx)
	if g.peak = peak(); err != nil {
		return err
	}
	asked, err := b.cluster.audit.between(operatorUser, began, time.Now())
	if err != nil {
		return err
	}
	patches := asked.patches(storedPlural)
	if len(patches) == 0 {
		return errors.New("the operator wrote no object")
	}
	first, _ := patches.first()
	g.requests, g.took = len(patches), patches[len(patches)-1].received.Sub(first)
	return nil
}

// watchMemory reads the memory of a process until the returned function is called, which returns the most that there was.
func watchMemory(read func() (usage, error)) func() usage {
	var most usage
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(memoryPoll)
		defer ticker.Stop()
		for {
			if now, err := read(); err == nil {
				most.anon, most.rss, most.peak = max(most.anon, now.anon), max(most.rss, now.rss), now.peak
			}
			select {
			case <-done:
				return
			case <-ticker.C:
			}
		}
	}()
	return func() usage {
		close(done)
		<-ended
		return most
	}
}

// patches are those of a resource.
func (r requests) patches(resource string) requests {
	var found requests
	for _, one := range r {
		if one.verb == "patch" && one.resource == resource && one.code < 300 {
			found = append(found, one)
		}
	}
	return found
}
