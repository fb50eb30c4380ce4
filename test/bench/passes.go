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

// benchPasses measures passes that have nothing to do, and one that is asked for.
func (b *bench) benchPasses(ctx context.Context) (Part, error) {
	var idle, cost, calm sample
	var touched requests
	var forced []install
	err := b.settled(ctx, waiting(instance(b.distribution.release)), func(ctx context.Context, o *operator) error {
		for i := range rounds {
			resting, err := b.spent(ctx, o, func(context.Context, int) error { return nil })
			if err != nil {
				return err
			}
			began := time.Now()
			working, err := b.spent(ctx, o, func(ctx context.Context, n int) error {
				return b.cluster.annotate(ctx, v1.ReconcileEveryAnnotation, fmt.Sprintf("%dm", 30+(i*passes+n)%30))
			})
			if err != nil {
				return err
			}
			asked, err := b.cluster.audit.settle(ctx, operatorUser, began)
			if err != nil {
				return err
			}
			touched = append(touched, asked...)
			idle = append(idle, float64(len(asked))/passes)
			calm = append(calm, inMS(resting))
			cost = append(cost, inMS(working-resting)/passes)
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
		Method: fmt.Sprintf("An annotation of a ready FluxInstance is changed, which causes a pass: %d times %d passes, %s apart. CPU time is what they took more than the same time without them. "+
			"A pass that somebody asks for (`reconcile.fluxcd.io/requestedAt`) looks at everything again; %d of them.", rounds, passes, passInterval, len(forced)),
		Figures: []Figure{
			atMost("requests", perPass, idle, 0).besides("137, when waiting 194"),
			measured("CPU time", fine, cost).besides("500 to 600 ms"),
			measured("CPU time of the idle operator over the same time", fine, calm),
			measured("a pass that is asked for, requests", count, asked),
			measured("a pass that is asked for, CPU time", seconds, cpu),
		},
		Notes: []string{"Requests of the last pass that was asked for: " + forced[len(forced)-1].asked.summary() + "."},
	}
	if len(touched) > 0 {
		p.Notes = append(p.Notes, "Requests of passes without a change: "+touched.summary()+".")
	}
	return p, nil
}

// spent returns the CPU time of the operator while something is done at intervals.
func (b *bench) spent(ctx context.Context, o *operator, do func(context.Context, int) error) (time.Duration, error) {
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
