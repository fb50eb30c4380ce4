// Command flux-operator installs, configures, upgrades, repairs and removes Flux from one FluxInstance.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/flux-autopilot/flux-operator/controllers"
)

// VERSION of the operator, set by the linker.
var VERSION = "0.0.0-dev"

func main() {
	collectGarbage(os.LookupEnv)
	config, err := configure(os.Args[1:], os.LookupEnv)
	if errors.Is(err, errPrinted) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	if err := run(ctrl.SetupSignalHandler(), config); err != nil {
		ctrl.Log.Error(err, "the operator failed")
		os.Exit(1)
	}
}

// run builds the manager and its controllers and blocks until ctx ends or something fails.
func run(ctx context.Context, config *config) error {
	logger, err := config.logger(os.Stderr)
	if err != nil {
		return err
	}
	ctrl.SetLogger(logger)
	if err := config.reachClusterDirectly(); err != nil {
		return fmt.Errorf("setting NO_PROXY: %w", err)
	}
	mgr, err := newManager(config)
	if err != nil {
		return err
	}
	direct, err := newDirectClient(mgr)
	if err != nil {
		return err
	}
	if err := addControllers(mgr, direct, config); err != nil {
		return err
	}
	farewell := &controllers.Farewell{Client: direct, Applier: newApplier(direct, config), Namespace: config.namespace}
	logger.Info("starting", "version", VERSION, "fips140", fipsMode(), "namespace", config.namespace)
	return serve(ctx, mgr, farewell)
}
