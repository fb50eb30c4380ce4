package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// waitingInstalls are installs that wait for readiness.
const waitingInstalls = 3

// settled runs work against an operator that has installed everything and has nothing left to do.
func (b *bench) settled(ctx context.Context, in *v1.FluxInstance, work func(context.Context, *operator) error) error {
	ctx, cancel := context.WithTimeout(ctx, 2*installLimit)
	defer cancel()
	return b.onCluster(ctx, func(ctx context.Context) error { return b.settle(ctx, in, work) })
}

// settle installs, waits until the operator has nothing left to do, and runs work.
func (b *bench) settle(ctx context.Context, in *v1.FluxInstance, work func(context.Context, *operator) error) (err error) {
	o, err := b.startOperator(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.stop(context.WithoutCancel(ctx))) }()
	stop, err := b.cluster.playNodes(ctx)
	if err != nil {
		return err
	}
	err = b.cluster.create(ctx, in)
	if err := errors.Join(err, stop()); err != nil {
		return err
	}
	if _, err := b.cluster.audit.settle(ctx, operatorUser, o.began); err != nil {
		return err
	}
	if err := b.cluster.calm(ctx); err != nil {
		return err
	}
	return work(ctx, o)
}

// benchWaiting measures installs that wait for readiness, with Deployments that become available at once.
func (b *bench) benchWaiting(ctx context.Context) (Part, error) {
	var wall, asked, cpu, peak, gone, removing sample
	var last requests
	for range waitingInstalls {
		var one install
		var uninstall bareApply
		err := b.onCluster(ctx, func(ctx context.Context) (err error) { one, uninstall, err = b.waitingOnce(ctx); return err })
		if err != nil {
			return Part{}, err
		}
		last = one.asked
		wall, asked = append(wall, one.wall.Seconds()), append(asked, float64(len(one.asked)))
		cpu, peak = append(cpu, (one.used.cpu-one.started.cpu).Seconds()), append(peak, inMiB(one.used.peak))
		gone, removing = append(gone, uninstall.wall.Seconds()), append(removing, float64(len(uninstall.asked)))
	}
	return Part{
		Title:  "Install that waits for readiness, and uninstall",
		Method: fmt.Sprintf("As above, but with `wait: true`, and Deployments report that they are available as soon as they exist. Then the FluxInstance is deleted; the time runs until it is gone. %d runs.", waitingInstalls),
		Figures: []Figure{
			measured("wall time", seconds, wall).besides("4.05 s"),
			measured("requests", count, asked).besides("234"),
			measured("CPU time", seconds, cpu),
			measured("peak memory (RSS)", mebibytes, peak),
			measured("uninstall, wall time", seconds, gone),
			measured("uninstall, requests", count, removing),
		},
		Notes: []string{"Requests of the last install: " + last.summary() + "."},
	}, nil
}

// waitingOnce installs with waiting and uninstalls.
func (b *bench) waitingOnce(ctx context.Context) (one install, uninstall bareApply, err error) {
	ctx, cancel := context.WithTimeout(ctx, installLimit)
	defer cancel()
	o, err := b.startOperator(ctx)
	if err != nil {
		return one, uninstall, err
	}
	defer func() { err = errors.Join(err, o.stop(context.WithoutCancel(ctx))) }()
	if one.before, err = b.cluster.audit.settle(ctx, operatorUser, o.began); err != nil {
		return one, uninstall, err
	}
	if one.started, err = o.usage(); err != nil {
		return one, uninstall, err
	}
	stop, err := b.cluster.playNodes(ctx)
	if err != nil {
		return one, uninstall, err
	}
	began := time.Now()
	err = b.cluster.create(ctx, waiting(instance(b.distribution.release)))
	one.wall = time.Since(began)
	if err := errors.Join(err, stop()); err != nil {
		return one, uninstall, err
	}
	if one.asked, err = b.cluster.audit.settle(ctx, operatorUser, began); err != nil {
		return one, uninstall, err
	}
	if one.used, err = o.usage(); err != nil {
		return one, uninstall, err
	}
	if err := b.cluster.calm(ctx); err != nil {
		return one, uninstall, err
	}
	began = time.Now()
	if err := b.cluster.remove(ctx); err != nil {
		return one, uninstall, err
	}
	uninstall.wall = time.Since(began)
	uninstall.asked, err = b.cluster.audit.settle(ctx, operatorUser, began)
	return one, uninstall, err
}

// waiting makes an instance wait until everything is ready.
func waiting(in *v1.FluxInstance) *v1.FluxInstance {
	wait := true
	in.Spec.Wait = &wait
	return in
}
