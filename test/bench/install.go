package bench

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/render"
)

const (
	// installs are rounds of an install and two kinds of bare apply.
	installs     = 5
	installLimit = 2 * time.Minute
	// idleTime is how long a settled operator is left alone before its idle memory is read.
	idleTime = 30 * time.Second
)

// install is what one install took.
type install struct {
	wall time.Duration
	// prelude is the part of it until the first object is applied: noticing, finalizer, rendering, writing the inventory ahead.
	prelude time.Duration
	used    usage
	started usage
	asked   requests
	before  requests
	idle    usage
}

// bareApply is what applying the same objects took without the operator.
type bareApply struct {
	wall  time.Duration
	asked requests
}

// benchInstall measures installs and bare applies in turn, each into a new API server.
func (b *bench) benchInstall(ctx context.Context) (Part, error) {
	set, err := render.Render(b.distribution.catalog.FS, b.distribution.release, instance(b.distribution.release))
	if err != nil {
		return Part{}, fmt.Errorf("rendering: %w", err)
	}
	b.machine.Objects, b.machine.Components, b.machine.Flux = len(set.Objects), len(set.Images), b.distribution.release
	var ours []install
	floors := map[manners][]bareApply{}
	for i := range installs {
		idle := time.Duration(0)
		if i == installs-1 {
			idle = idleTime
		}
		var one install
		if err := b.onCluster(ctx, func(ctx context.Context) (err error) { one, err = b.installOnce(ctx, idle); return err }); err != nil {
			return Part{}, err
		}
		ours = append(ours, one)
		said := []string{fmt.Sprintf("install %d of %d: %s with %d requests", i+1, installs, one.wall.Round(time.Millisecond), len(one.asked))}
		for _, m := range []manners{patient, hasty} {
			var floor bareApply
			if err := b.onCluster(ctx, func(ctx context.Context) (err error) { floor, err = b.floorOnce(ctx, m, set.Objects); return err }); err != nil {
				return Part{}, err
			}
			floors[m] = append(floors[m], floor)
			said = append(said, fmt.Sprintf("bare apply %s %s with %d", m, floor.wall.Round(time.Millisecond), len(floor.asked)))
		}
		b.sayf("%s", strings.Join(said, ", "))
	}
	return describeInstall(ours, floors), nil
}

// walls collects the seconds that bare applies took.
func walls(floors []bareApply) sample {
	var taken sample
	for _, one := range floors {
		taken = append(taken, one.wall.Seconds())
	}
	return taken
}

func describeInstall(ours []install, floors map[manners][]bareApply) Part {
	var wall, prelude, asked, floorAsked, cpu, peak, before sample
	for i, one := range ours {
		wall, asked = append(wall, one.wall.Seconds()), append(asked, float64(len(one.asked)))
		prelude = append(prelude, inMS(one.prelude))
		floorAsked = append(floorAsked, float64(len(floors[patient][i].asked)))
		cpu = append(cpu, (one.used.cpu - one.started.cpu).Seconds())
		peak = append(peak, inMiB(one.used.peak))
		before = append(before, float64(len(one.before)))
	}
	last := ours[len(ours)-1]
	return Part{
		Title: "Install",
		Method: fmt.Sprintf("A FluxInstance with all components and `wait: false` is created; the time runs until it is Ready. The operator is a process of this machine, freshly started for each install, "+
			"with the rights of `config/rbac`. The bare apply sends the same objects over %d connections: discovery, definitions, wait until these are established, the rest. "+
			"The operator waits for definitions only when it brings objects of their kinds, which it does not here; so there is a second bare apply, which waits for nothing; the target was set for the first. The operator applies 10 objects at a time. "+
			"%d rounds of the three in turn, each into an API server of its own that is new and idle. Requests are read from the audit log; renewals of the leader's lease are not counted.", connections, len(ours)),
		Figures: []Figure{
			atMost("wall time against the bare apply", ratio, wall.over(walls(floors[patient])), 1.3).besides("3 ×").
				because("The ratio compares the whole pipeline (watch, render, inventory written ahead, apply in stages, status) with the requests alone."),
			measured("wall time against a bare apply that waits for nothing", ratio, wall.over(walls(floors[hasty]))),
			measured("wall time", seconds, wall).besides("3.0 s"),
			measured("of it, until the first object is applied", milliseconds, prelude),
			measured("wall time, bare apply", seconds, walls(floors[patient])).besides("0.99 s"),
			measured("wall time, bare apply that waits for nothing", seconds, walls(floors[hasty])),
			atMost("requests", count, asked, 100).besides("177"),
			measured("requests, bare apply", count, floorAsked).besides("67"),
			measured("CPU time", seconds, cpu).besides("0.63 s"),
			measured("peak memory (RSS)", mebibytes, peak).besides("142 MiB"),
			measured("requests from process start until it waits for work", count, before),
			atMost(fmt.Sprintf("idle memory %s after the install, anonymous", idleTime), mebibytes, sample{inMiB(last.idle.anon)}, 22).besides("45 MiB"),
			atMost(fmt.Sprintf("idle memory %s after the install, RSS in all", idleTime), mebibytes, sample{inMiB(last.idle.rss)}, 75).besides("94 to 100 MiB"),
		},
		Notes: []string{
			"What the operator does more than the bare apply: it notices the FluxInstance, sets its finalizer, renders, writes the inventory down before it applies, finishes each stage before the next, reports, and opens watches.",
			"Requests of the last install: " + last.asked.summary() + ".",
			"Requests of the last bare apply: " + floors[patient][len(ours)-1].asked.summary() + ".",
			"Requests before it, from process start: " + last.before.summary() + ".",
		},
	}
}

// installOnce starts an operator and installs.
func (b *bench) installOnce(ctx context.Context, idle time.Duration) (one install, err error) {
	ctx, cancel := context.WithTimeout(ctx, installLimit+idle)
	defer cancel()
	o, err := b.startOperator(ctx)
	if err != nil {
		return one, err
	}
	defer func() { err = errors.Join(err, o.stop(context.WithoutCancel(ctx))) }()
	if one.before, err = b.cluster.audit.settle(ctx, operatorUser, o.began); err != nil {
		return one, err
	}
	if one.started, err = o.usage(); err != nil {
		return one, err
	}
	began := time.Now()
	if err := b.cluster.create(ctx, instance(b.distribution.release)); err != nil {
		return one, err
	}
	one.wall = time.Since(began)
	if one.asked, err = b.cluster.audit.settle(ctx, operatorUser, began); err != nil {
		return one, err
	}
	if first, applied := one.asked.writes().besides("fluxinstances").first(); applied {
		one.prelude = first.Sub(began)
	}
	if one.used, err = o.usage(); err != nil {
		return one, err
	}
	if idle > 0 {
		b.sayf("leaving the operator alone for %s", idle)
		if err := pause(ctx, idle); err != nil {
			return one, err
		}
		if one.idle, err = o.usage(); err != nil {
			return one, err
		}
	}
	return one, nil
}

// floorOnce applies the objects without the operator.
func (b *bench) floorOnce(ctx context.Context, m manners, objects []*unstructured.Unstructured) (one bareApply, err error) {
	ctx, cancel := context.WithTimeout(ctx, installLimit)
	defer cancel()
	config, err := b.cluster.restConfig(floorUser, "system:masters")
	if err != nil {
		return one, err
	}
	f, err := newFloor(config, m)
	if err != nil {
		return one, err
	}
	defer f.close()
	began := time.Now()
	if err := f.apply(ctx, config, objects); err != nil {
		return one, err
	}
	one.wall = time.Since(began)
	one.asked, err = b.cluster.audit.settle(ctx, floorUser, began)
	return one, err
}

// create creates a FluxInstance and returns when it is Ready.
func (c *cluster) create(ctx context.Context, in *v1.FluxInstance) error {
	events, err := c.admin.Watch(ctx, &v1.FluxInstanceList{}, client.InNamespace(in.Namespace))
	if err != nil {
		return fmt.Errorf("watching the FluxInstance: %w", err)
	}
	defer events.Stop()
	if err := c.admin.Create(ctx, in); err != nil {
		return fmt.Errorf("creating the FluxInstance: %w", err)
	}
	return awaitReady(ctx, events, in.Generation)
}

// remove deletes the FluxInstance and returns when it is gone, which is when the operator has removed everything.
func (c *cluster) remove(ctx context.Context) error {
	in := &v1.FluxInstance{ObjectMeta: metav1.ObjectMeta{Name: v1.DefaultInstanceName, Namespace: v1.DefaultNamespace}}
	if err := c.admin.Delete(ctx, in); err != nil {
		return fmt.Errorf("deleting the FluxInstance: %w", err)
	}
	return c.awaitGone(ctx, in)
}

// awaitGone returns when an object is gone.
func (c *cluster) awaitGone(ctx context.Context, obj client.Object) error {
	key := client.ObjectKeyFromObject(obj)
	return c.group.Await(ctx, fmt.Sprintf("%T %q to be gone", obj, key), func(ctx context.Context) error {
		err := c.admin.Get(ctx, key, obj)
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err == nil {
			return errors.New("it is still there")
		}
		return err
	})
}

// isReady tells whether an instance says that it is ready in this generation or a later one.
func isReady(in *v1.FluxInstance, generation int64) bool {
	ready := apimeta.FindStatusCondition(in.Status.Conditions, meta.ReadyCondition)
	return ready != nil && ready.Status == metav1.ConditionTrue && ready.ObservedGeneration >= generation
}

// pause waits for a while; it is for leaving a process alone, not for hoping that something happens.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
