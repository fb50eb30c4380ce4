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
	// rounds of this many passes with nothing to do, each after the same time without any.
	rounds = 5
	passes = 20
	// passInterval is long enough for two passes not to become one.
	passInterval = 100 * time.Millisecond
	// forcedPasses are those that somebody asks for.
	forcedPasses = 3
)

// quietRounds is what passes with nothing to do took: for each round the requests and milliseconds of a pass, and the milliseconds of the
// same time without any.
type quietRounds struct {
	requests, cost, calm sample
	asked                requests
	made                 float64
}

// benchPasses measures passes that have nothing to do, and some that are asked for.
func (b *bench) benchPasses(ctx context.Context) (Part, error) {
	var quiet quietRounds
	var forced []install
	err := b.settled(ctx, waiting(instance(b.distribution.release)), func(ctx context.Context, o *operator) (err error) {
		if quiet, err = b.quietPasses(ctx, o); err != nil {
			return err
		}
		for i := range forcedPasses {
			one, err := b.forcedPass(ctx, o, fmt.Sprintf("request-%d", i))
			if err != nil {
				return err
			}
			forced = append(forced, one)
		}
		return nil
	})
	if err != nil {
		return Part{}, err
	}
	var asked, cpu sample
	for _, one := range forced {
		asked, cpu = append(asked, float64(len(one.asked))), append(cpu, (one.used.cpu-one.started.cpu).Seconds())
	}
	p := Part{
		Title: "A pass without a change",
		Method: fmt.Sprintf("An annotation of a ready FluxInstance is changed, which causes a pass: %d times %d changes, %s apart; by its own metrics the operator made %.0f passes. "+
			"CPU time is what they took more than the same time without them. A pass that somebody asks for (`reconcile.fluxcd.io/requestedAt`) looks at everything again; %d of them.",
			rounds, passes, passInterval, quiet.made, len(forced)),
		Figures: []Figure{
			atMost("requests", perPass, quiet.requests, 0).besides("137, when waiting 194"),
			measured("CPU time", tenths, quiet.cost).besides("500 to 600 ms"),
			measured(fmt.Sprintf("CPU time of the idle operator in %s", passes*passInterval), tenths, quiet.calm),
			measured("a pass that is asked for, requests", count, asked),
			measured("a pass that is asked for, CPU time", seconds, cpu),
		},
		Notes: []string{"Requests of the last pass that was asked for: " + forced[len(forced)-1].asked.summary() + "."},
	}
	if len(quiet.asked) > 0 {
		p.Notes = append(p.Notes, "Requests of passes without a change: "+quiet.asked.summary()+".")
	}
	return p, nil
}

// quietPasses makes the operator look at an instance of which nothing that matters changed.
func (b *bench) quietPasses(ctx context.Context, o *operator) (quiet quietRounds, err error) {
	metrics, err := b.cluster.newScraper(ctx)
	if err != nil {
		return quiet, err
	}
	before, err := metrics.passes(ctx, o, instanceController)
	if err != nil {
		return quiet, err
	}
	for i := range rounds {
		resting, err := spent(ctx, o, func(context.Context, int) error { return nil })
		if err != nil {
			return quiet, err
		}
		began := time.Now()
		working, err := spent(ctx, o, func(ctx context.Context, n int) error {
			return b.cluster.annotate(ctx, v1.ReconcileEveryAnnotation, fmt.Sprintf("%dm", 60+i*passes+n))
		})
		if err != nil {
			return quiet, err
		}
		asked, err := b.cluster.audit.settle(ctx, operatorUser, began)
		if err != nil {
			return quiet, err
		}
		quiet.asked = append(quiet.asked, asked...)
		quiet.requests = append(quiet.requests, float64(len(asked))/passes)
		quiet.calm, quiet.cost = append(quiet.calm, inMS(resting)), append(quiet.cost, inMS(working-resting)/passes)
	}
	after, err := metrics.passes(ctx, o, instanceController)
	quiet.made = after - before
	if err == nil && quiet.made < rounds*passes {
		err = fmt.Errorf("the operator made %.0f passes for %d changes: a quiet pass is not measured by making none", quiet.made, rounds*passes)
	}
	return quiet, err
}

// spent returns the CPU time of the operator while something is done at intervals.
func spent(ctx context.Context, o *operator, do func(context.Context, int) error) (time.Duration, error) {
	before, err := o.usage()
	if err != nil {
		return 0, err
	}
	for i := range passes {
		if err := do(ctx, i); err != nil {
			return 0, err
		}
		if err := pause(ctx, passInterval); err != nil {
			return 0, err
		}
	}
	after, err := o.usage()
	return after.cpu - before.cpu, err
}

// forcedPass asks for a pass and returns what it took.
func (b *bench) forcedPass(ctx context.Context, o *operator, token string) (one install, err error) {
	if one.started, err = o.usage(); err != nil {
		return one, err
	}
	began := time.Now()
	if err := b.cluster.annotate(ctx, "reconcile.fluxcd.io/requestedAt", token); err != nil {
		return one, err
	}
	key := client.ObjectKey{Namespace: v1.DefaultNamespace, Name: v1.DefaultInstanceName}
	err = b.cluster.group.Await(ctx, "the pass that was asked for", func(ctx context.Context) error {
		in := &v1.FluxInstance{}
		if err := b.cluster.admin.Get(ctx, key, in); err != nil {
			return err
		}
		if in.Status.LastHandledReconcileAt != token {
			return errors.New("it was not made yet")
		}
		return nil
	})
	if err != nil {
		return one, err
	}
	if one.asked, err = b.cluster.audit.settle(ctx, operatorUser, began); err != nil {
		return one, err
	}
	one.used, err = o.usage()
	return one, err
}

// annotate sets an annotation of the FluxInstance.
func (c *cluster) annotate(ctx context.Context, key, value string) error {
	in := &v1.FluxInstance{}
	in.SetNamespace(v1.DefaultNamespace)
	in.SetName(v1.DefaultInstanceName)
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, key, value)
	if err := c.admin.Patch(ctx, in, client.RawPatch("application/merge-patch+json", []byte(patch))); err != nil {
		return fmt.Errorf("annotating the FluxInstance: %w", err)
	}
	return nil
}
