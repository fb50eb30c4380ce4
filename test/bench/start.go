package bench

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// starts are restarts beside a settled install.
const starts = 7

// start is what one start took.
type start struct {
	ready, working time.Duration
	asked          requests
	used           usage
}

// benchStart measures how long the process takes from its start to its first request in a pass.
func (b *bench) benchStart(ctx context.Context) (Part, error) {
	var runs []start
	err := b.settled(ctx, instance(b.distribution.release), func(ctx context.Context, o *operator) error {
		if err := o.stop(ctx); err != nil {
			return err
		}
		for range starts {
			one, err := b.startOnce(ctx)
			if err != nil {
				return err
			}
			runs = append(runs, one)
		}
		return nil
	})
	if err != nil {
		return Part{}, err
	}
	var ready, working, asked, cpu, anon, rss sample
	for _, one := range runs {
		ready, working = append(ready, one.ready.Seconds()), append(working, one.working.Seconds())
		asked, cpu = append(asked, float64(len(one.asked))), append(cpu, one.used.cpu.Seconds())
		anon, rss = append(anon, inMiB(one.used.anon)), append(rss, inMiB(one.used.rss))
	}
	return Part{
		Title: "Start",
		Method: fmt.Sprintf("The operator is started beside an install that it made before and that nobody changed. Working means that the API server received the first write of a pass; "+
			"what comes before it is starting, leading, filling the cache and rendering. The first pass after a start applies everything once. %d starts.", len(runs)),
		Figures: []Figure{
			atMost("from process start to working", seconds, working, 0.3).besides("0.28 to 0.34 s"),
			measured("from process start to readyz", seconds, ready),
			measured("requests until it is done", count, asked),
			measured("CPU time until it is done", seconds, cpu),
			measured("memory a second after it is done, anonymous", mebibytes, anon),
			measured("memory a second after it is done, RSS in all", mebibytes, rss),
		},
		Notes: []string{"Requests of the last start: " + runs[len(runs)-1].asked.summary() + "."},
	}, nil
}

// startOnce starts the operator, lets it finish its first pass and stops it.
func (b *bench) startOnce(ctx context.Context) (one start, err error) {
	o, err := b.launchOperator(ctx)
	if err != nil {
		return one, err
	}
	defer func() { err = errors.Join(err, o.stop(context.WithoutCancel(ctx))) }()
	if err := o.awaitReady(ctx); err != nil {
		return one, err
	}
	one.ready = time.Since(o.began)
	if err := b.awaitWork(ctx, o); err != nil {
		return one, err
	}
	if one.asked, err = b.cluster.audit.settle(ctx, operatorUser, o.began); err != nil {
		return one, err
	}
	first, worked := one.asked.writes().first()
	if !worked {
		return one, errors.New("the operator wrote nothing after its start")
	}
	one.working = first.Sub(o.began)
	one.used, err = o.usage()
	return one, err
}

// awaitReady asks the readiness probe more often than a start takes steps.
func (o *operator) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, operatorStart)
	defer cancel()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for {
		last := o.ready(ctx)
		if last == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the operator: %w: %w", ctx.Err(), last)
		case <-ticker.C:
		}
	}
}

// awaitWork returns when the operator has written something besides its lease.
func (b *bench) awaitWork(ctx context.Context, o *operator) error {
	ctx, cancel := context.WithTimeout(ctx, operatorStart)
	defer cancel()
	return o.group.Await(ctx, "the operator to work", func(context.Context) error {
		found, err := b.cluster.audit.between(operatorUser, o.began, time.Now())
		if err != nil {
			return err
		}
		if len(found.work().writes()) == 0 {
			return errors.New("it has written nothing yet")
		}
		return nil
	})
}
