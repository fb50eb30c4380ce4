package main

import (
	"context"
	"errors"
	"fmt"

	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/flux-autopilot/flux-operator/controllers"
)

// serve runs the manager until ctx ends or something fails. Told to end, it takes its leave.
func serve(ctx context.Context, mgr ctrl.Manager, farewell *controllers.Farewell) error {
	err := mgr.Start(ctx)
	if err != nil {
		err = fmt.Errorf("running the manager: %w", err)
	}
	if ctx.Err() == nil {
		return err
	}
	return errors.Join(err, farewell.Say(ctrl.LoggerInto(context.WithoutCancel(ctx), ctrl.Log.WithName("farewell"))))
}
