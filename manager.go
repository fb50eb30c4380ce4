package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"sync/atomic"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/controllers"
	"github.com/flux-autopilot/flux-operator/pkg/apply"
	"github.com/flux-autopilot/flux-operator/pkg/artifact"
	"github.com/flux-autopilot/flux-operator/pkg/migrate"
	"github.com/flux-autopilot/flux-operator/pkg/preflight"
	"github.com/flux-autopilot/flux-operator/pkg/snapshot"
)

// leaderElectionID names the Lease that replicas compete for.
const leaderElectionID = "flux-operator"

// newManager builds the manager with its cache of FluxInstances, its metrics server and leader election.
func newManager(c *config) (ctrl.Manager, error) { //nolint:ireturn // controller-runtime hands out its manager as an interface
	scheme, err := newScheme()
	if err != nil {
		return nil, err
	}
	restConfig, err := newRESTConfig()
	if err != nil {
		return nil, err
	}
	mgr, err := ctrl.NewManager(restConfig, ctrl.Options{
		Scheme:                        scheme,
		Cache:                         c.reportCache(),
		Metrics:                       c.metrics(),
		HealthProbeBindAddress:        c.healthAddr,
		PprofBindAddress:              c.pprofAddr,
		LeaderElection:                c.leaderElection,
		LeaderElectionID:              leaderElectionID,
		LeaderElectionNamespace:       c.namespace,
		LeaderElectionReleaseOnCancel: c.leaderReleaseOnEnd,
		LeaseDuration:                 &c.leaderLeaseDuration,
		RenewDeadline:                 &c.leaderRenewDeadline,
		RetryPeriod:                   &c.leaderRetryPeriod,
		GracefulShutdownTimeout:       &c.gracefulShutdownTime,
	})
	if err != nil {
		return nil, fmt.Errorf("making the manager: %w", err)
	}
	return mgr, nil
}

func newScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	err := errors.Join(v1.AddToScheme(scheme), apply.AddToScheme(scheme), corev1.AddToScheme(scheme), appsv1.AddToScheme(scheme), metav1.AddMetaToScheme(scheme), authenticationv1.AddToScheme(scheme),
		authorizationv1.AddToScheme(scheme), rbacv1.AddToScheme(scheme))
	if err != nil {
		return nil, fmt.Errorf("building the scheme: %w", err)
	}
	return scheme, nil
}

// newRESTConfig leaves flow control to the API server's priority and fairness: the operator sends few requests, but those at once.
func newRESTConfig() (*rest.Config, error) {
	config, err := ctrl.GetConfig()
	if err != nil {
		return nil, fmt.Errorf("finding the cluster: %w", err)
	}
	config.QPS = -1
	config.UserAgent = "flux-operator/" + VERSION
	return config, nil
}

// metrics are served over HTTPS to those who may read them, unless plain HTTP was asked for.
func (c *config) metrics() metricsserver.Options {
	options := metricsserver.Options{BindAddress: c.metricsAddr}
	if !c.metricsInsecure {
		options.SecureServing = true
		options.CertDir = c.tls.certDir
		options.TLSOpts = []func(*tls.Config){c.tls.apply}
		options.FilterProvider = filters.WithAuthenticationAndAuthorization
	}
	return options
}

// newDirectClient returns a client that reads from the API server, and works when the manager and its caches have ended.
func newDirectClient(mgr ctrl.Manager) (client.WithWatch, error) {
	direct, err := client.NewWithWatch(mgr.GetConfig(), client.Options{
		HTTPClient: mgr.GetHTTPClient(), Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper(),
	})
	if err != nil {
		return nil, fmt.Errorf("making the client: %w", err)
	}
	return direct, nil
}

// newApplier returns what changes the cluster for the instance of the operator's namespace.
func newApplier(direct client.WithWatch, c *config) *apply.Applier {
	return apply.New(direct, apply.Options{
		FieldManager:     v1.FieldManager,
		OverrideManagers: c.overrideManagers,
		Concurrency:      c.concurrent,
		Owner:            types.NamespacedName{Namespace: c.namespace, Name: v1.DefaultInstanceName},
	})
}

// addControllers constructs the rooms and hands them to the controllers, and adds the probes.
func addControllers(mgr ctrl.Manager, direct client.WithWatch, c *config) error {
	artifacts, err := newArtifacts(direct, c)
	if err != nil {
		return err
	}
	platform, console, err := newPlatform(mgr, direct, c)
	if err != nil {
		return err
	}
	changed := make(chan event.GenericEvent, 1)
	watchdog := &controllers.Watchdog{}
	backoff := c.backoff()
	jitter := float64(c.jitterPercentage) / 100
	migrator := migrate.New(direct, migrate.Options{Concurrency: c.concurrent})
	recorder := mgr.GetEventRecorderFor(v1.FieldManager) //nolint:staticcheck // the newer recorder cannot annotate events with the revision, which the API promises
	notifier := controllers.NewNotifier(recorder, mgr.GetScheme(), c.eventsAddr)
	instances := &controllers.FluxInstanceReconciler{
		Client:          mgr.GetClient(),
		Applier:         newApplier(direct, c),
		Migrator:        migrator,
		Snapshots:       snapshot.NewStore(direct, snapshot.Options{Namespace: c.namespace, Operator: "flux-operator/" + VERSION}),
		Recorder:        notifier,
		Artifacts:       artifacts,
		ArtifactChanged: changed,
		Facts:           preflight.Facts{OperatorNamespace: c.namespace},
		Server:          controllers.NewAPIServer(platform.API),
		Watchdog:        watchdog,
		Jitter:          jitter,

		Platform:         platform,
		OverrideManagers: c.overrideManagers,
	}
	poller := &controllers.ArtifactPoller{Artifacts: artifacts, Namespace: c.namespace, Jitter: jitter, Changed: changed}
	definitions := &controllers.OwnDefinitions{Migrator: migrator, Backoff: backoff}
	if err := errors.Join(instances.SetupWithManager(mgr, backoff), poller.SetupWithManager(mgr, backoff), mgr.Add(definitions), mgr.Add(notifier), mgr.Add(console)); err != nil {
		return err
	}
	return errors.Join(addReport(mgr, c, direct, instances), addProbes(mgr, watchdog))
}

// newArtifacts opens the cache of pulled distributions, which needs a folder that can be written to.
func newArtifacts(reader client.Client, c *config) (*controllers.Artifacts, error) {
	store, err := artifact.NewStore(filepath.Join(c.artifactCachePath, "artifacts"), artifact.DefaultLimits())
	if err != nil {
		return nil, fmt.Errorf("--artifact-cache-path: %w", err)
	}
	clouds, err := artifact.NewClouds(reader, artifact.TokenMetrics(metrics.Registry)...)
	if err != nil {
		return nil, err
	}
	return &controllers.Artifacts{
		Builtin:   func() (*artifact.Catalog, error) { return artifact.Builtin(c.storagePath) },
		Store:     store,
		Reader:    reader,
		Clouds:    clouds,
		RootCache: filepath.Join(c.artifactCachePath, "sigstore"),
		UserAgent: "flux-operator/" + VERSION,
	}, nil
}

// addProbes makes /healthz fail when a reconcile loop is stuck, and /readyz succeed only once the caches are filled.
func addProbes(mgr ctrl.Manager, watchdog *controllers.Watchdog) error {
	var synced atomic.Bool
	ready := func(*http.Request) error {
		if synced.Load() {
			return nil
		}
		return errors.New("caches are not filled yet")
	}
	return errors.Join(
		mgr.Add(everyReplica(func(ctx context.Context) error {
			synced.Store(mgr.GetCache().WaitForCacheSync(ctx))
			return nil
		})),
		mgr.AddHealthzCheck("reconcile", watchdog.Check),
		mgr.AddReadyzCheck("caches", ready),
	)
}

// everyReplica runs also where another replica leads.
type everyReplica manager.RunnableFunc

// Start runs the function.
func (f everyReplica) Start(ctx context.Context) error { return f(ctx) }

// NeedLeaderElection says no.
func (everyReplica) NeedLeaderElection() bool { return false }

var _ manager.LeaderElectionRunnable = everyReplica(nil)
