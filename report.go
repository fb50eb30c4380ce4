package main

import (
	"errors"
	"fmt"
	"runtime"

	appsv1 "k8s.io/api/apps/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/controllers"
	"github.com/flux-autopilot/flux-operator/pkg/report"
)

// reportCache keeps what a report is made of: the controllers of Flux and the report itself, in the operator's namespace alone.
func (c *config) reportCache() cache.Options {
	here := map[string]cache.Config{c.namespace: {}}
	return cache.Options{
		DefaultTransform: cache.TransformStripManagedFields(),
		ByObject: map[client.Object]cache.ByObject{
			&v1.FluxInstance{}:   {Transform: whole},
			&v1.FluxReport{}:     {Namespaces: here},
			&appsv1.Deployment{}: {Namespaces: here}, // all of them: a controller whose label somebody changed is one still
		},
	}
}

// whole keeps the managed fields of an object, which tell what its author wrote.
func whole(in any) (any, error) { return in, nil }

// addReport constructs the observer of Flux's objects, the controller that reports on them, and the metrics of them.
func addReport(mgr ctrl.Manager, c *config, reader client.Reader, instances *controllers.FluxInstanceReconciler) error {
	observer, err := report.NewObserver(mgr.GetConfig(), mgr.GetHTTPClient(), report.ObserverOptions{})
	if err != nil {
		return err
	}
	operator := v1.OperatorInfo{APIVersion: v1.GroupVersion.String(), Version: VERSION, Platform: runtime.GOOS + "/" + runtime.GOARCH}
	reports := &controllers.FluxReportReconciler{
		Client: mgr.GetClient(), Reader: reader, Observer: observer, Applier: instances.Applier, Platform: instances.Platform,
		Namespace: c.namespace, Operator: operator, Server: instances.Server, Interval: c.reportingInterval,
	}
	collector := report.NewCollector(observer, report.CollectorOptions{
		Operator: operator, Components: reports.Components, Upgrade: reports.Upgrade, Labels: c.metricsLabels, MaxSeries: c.metricsMaxSeries,
	})
	if err := errors.Join(reports.SetupWithManager(mgr, c.backoff()), metrics.Registry.Register(collector)); err != nil {
		return fmt.Errorf("setting up the report: %w", err)
	}
	return nil
}
