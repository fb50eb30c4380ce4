package bench

import (
	"context"
	"fmt"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// rollouts are changes of a ready instance that roll all Deployments out.
const rollouts = 5

// benchReady measures how long it takes from the last Deployment's report to the FluxInstance's.
func (b *bench) benchReady(ctx context.Context) (Part, error) {
	var late sample
	in := waiting(instance(b.distribution.release))
	err := b.settled(ctx, in, func(ctx context.Context, _ *operator) error {
		for i := range rollouts {
			took, err := b.rollOut(ctx, fmt.Sprintf("pull-%d", i))
			if err != nil {
				return err
			}
			late = append(late, inMS(took))
		}
		return nil
	})
	if err != nil {
		return Part{}, err
	}
	return Part{
		Title: "Readiness",
		Method: fmt.Sprintf("The pull secret of a ready FluxInstance is changed, which rolls all Deployments out. One after the other reports that it is available; "+
			"the time runs from the answer to the last report until the FluxInstance is Ready. %d roll-outs.", rollouts),
		Figures: []Figure{
			atMost("from the last Deployment to Ready", milliseconds, late, 500).besides("polls every 5 s"),
		},
	}, nil
}

// rollOut changes all Deployments and returns the time from the last one's report to the instance's.
func (b *bench) rollOut(ctx context.Context, secret string) (time.Duration, error) {
	c := b.cluster
	in := &v1.FluxInstance{}
	if err := c.admin.Get(ctx, client.ObjectKey{Namespace: v1.DefaultNamespace, Name: v1.DefaultInstanceName}, in); err != nil {
		return 0, fmt.Errorf("reading the FluxInstance: %w", err)
	}
	base := in.DeepCopy()
	in.Spec.Distribution.ImagePullSecret = secret
	began := time.Now()
	if err := c.admin.Patch(ctx, in, client.MergeFrom(base)); err != nil {
		return 0, fmt.Errorf("changing the FluxInstance: %w", err)
	}
	events, err := c.admin.Watch(ctx, &v1.FluxInstanceList{}, client.InNamespace(in.Namespace))
	if err != nil {
		return 0, fmt.Errorf("watching the FluxInstance: %w", err)
	}
	defer events.Stop()
	rollingOut, err := c.awaitRolling(ctx, len(in.Spec.Components))
	if err != nil {
		return 0, err
	}
	// The operator is to wait already, as it does in a cluster, where pods take seconds.
	if _, err := c.audit.settle(ctx, operatorUser, began); err != nil {
		return 0, err
	}
	for i := range rollingOut {
		if err := c.becomeAvailable(ctx, &rollingOut[i]); err != nil {
			return 0, err
		}
	}
	last := time.Now()
	if err := awaitReady(ctx, events, in.Generation); err != nil {
		return 0, err
	}
	return time.Since(last), nil
}
