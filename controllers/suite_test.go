package controllers_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/controllers"
	"github.com/flux-autopilot/flux-operator/pkg/apply"
	"github.com/flux-autopilot/flux-operator/pkg/artifact"
	"github.com/flux-autopilot/flux-operator/pkg/migrate"
	"github.com/flux-autopilot/flux-operator/pkg/preflight"
	"github.com/flux-autopilot/flux-operator/pkg/snapshot"
	"github.com/flux-autopilot/flux-operator/test/testbed/definitions"
)

const namespace = v1.DefaultNamespace

var (
	testEnv      *envtest.Environment
	k8s          client.Client // sees what is, past every cache
	scheme       *runtime.Scheme
	distribution string // where the operator under test finds its releases; a test may point it elsewhere
	requests     requestCounter
	platform     *controllers.Platform  // what the operator under test finds out about the cluster; nothing unless a test says so
	server       *controllers.APIServer // what it is told of the API server; what its facts say unless a test says so
)

func TestControllers(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "Controllers")
}

var _ = BeforeSuite(func() {
	ctrl.SetLogger(zap.New(zap.WriteTo(GinkgoWriter), zap.UseDevMode(true)))
	Expect(os.Getenv("KUBEBUILDER_ASSETS")).NotTo(BeEmpty(), "KUBEBUILDER_ASSETS names the folder with etcd and kube-apiserver: run this suite with make test-unit")
	distribution = os.Getenv("DISTRIBUTION_DIR")
	Expect(distribution).NotTo(BeEmpty(), "DISTRIBUTION_DIR names the generated distribution: run this suite with make test-unit")

	scheme = runtime.NewScheme()
	Expect(clientscheme.AddToScheme(scheme)).To(Succeed())
	Expect(apiextensionsv1.AddToScheme(scheme)).To(Succeed())
	Expect(v1.AddToScheme(scheme)).To(Succeed())
	testEnv = &envtest.Environment{
		CRDDirectoryPaths:     []string{filepath.Join("..", "config", "crd", "bases")},
		ErrorIfCRDPathMissing: true,
		CRDInstallOptions:     envtest.CRDInstallOptions{MaxTime: soon},
	}
	config, err := testEnv.Start()
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() { Expect(testEnv.Stop()).To(Succeed()) })
	k8s, err = client.New(config, client.Options{Scheme: scheme})
	Expect(err).NotTo(HaveOccurred())
	Expect(k8s.Create(context.Background(), &corev1.Namespace{ObjectMeta: metav1Name(namespace)})).To(Succeed())
	nudging, stop := context.WithCancel(context.Background())
	DeferCleanup(stop)
	Expect(definitions.Nudge(nudging, config, GinkgoWriter.Printf)).To(Succeed())
})

// startOperator runs the controller as the process does, counting its requests, until the returned function is called.
func startOperator() (stop func()) {
	return startOperatorIn(namespace)
}

// startOperatorIn runs it in a namespace of a test's own.
func startOperatorIn(namespace string) (stop func()) {
	return startOperatorAs(testEnv.Config, namespace)
}

// startOperatorAs runs it there with the rights of a user.
func startOperatorAs(user *rest.Config, namespace string) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	config := rest.CopyConfig(user)
	config.QPS = -1
	config.Wrap(requests.count)
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme: scheme, Metrics: metricsserver.Options{BindAddress: "0"}, HealthProbeBindAddress: "0",
		Controller: skipNameValidation(),
	})
	Expect(err).NotTo(HaveOccurred())
	writer, err := client.NewWithWatch(mgr.GetConfig(), client.Options{HTTPClient: mgr.GetHTTPClient(), Scheme: scheme, Mapper: mgr.GetRESTMapper()})
	Expect(err).NotTo(HaveOccurred())
	store, err := artifact.NewStore(GinkgoT().TempDir(), artifact.DefaultLimits())
	Expect(err).NotTo(HaveOccurred())
	clouds, err := artifact.NewClouds(writer)
	Expect(err).NotTo(HaveOccurred())
	artifacts := &controllers.Artifacts{
		Builtin: func() (*artifact.Catalog, error) { return artifact.Builtin(distribution) },
		Store:   store,
		Reader:  writer,
		Clouds:  clouds,
	}
	changed := make(chan event.GenericEvent, 1)
	reconciler := &controllers.FluxInstanceReconciler{
		Client:          mgr.GetClient(),
		Applier:         apply.New(writer, apply.Options{Owner: client.ObjectKey{Namespace: namespace, Name: v1.DefaultInstanceName}}),
		Migrator:        migrate.New(writer, migrate.Options{Settle: time.Second}),
		Snapshots:       snapshot.NewStore(writer, snapshot.Options{Namespace: namespace}),
		Recorder:        mgr.GetEventRecorderFor(v1.FieldManager), //nolint:staticcheck // as in the process itself
		Artifacts:       artifacts,
		ArtifactChanged: changed,
		Facts:           preflight.Facts{KubernetesVersion: "v1.36.3", OperatorNamespace: namespace},
		Watchdog:        &controllers.Watchdog{},
		CoolDown:        coolDown,
		Platform:        platform,
		Server:          server,
	}
	backoff := controllers.Backoff{Min: 50 * time.Millisecond, Max: 500 * time.Millisecond}
	Expect(reconciler.SetupWithManager(mgr, backoff)).To(Succeed())
	poller := &controllers.ArtifactPoller{Artifacts: artifacts, Namespace: namespace, Changed: changed}
	Expect(poller.SetupWithManager(mgr, backoff)).To(Succeed())
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	return func() {
		cancel()
		Eventually(done, soon).Should(Receive(Not(HaveOccurred())))
	}
}

// requestCounter counts what is sent to the API server.
type requestCounter struct{ sent atomic.Int64 }

func (c *requestCounter) count(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		c.sent.Add(1)
		return next.RoundTrip(req)
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// becomeAvailable plays the part of the nodes, which this API server has not: every Deployment of Flux reports its pods as available.
func becomeAvailable(ctx context.Context) {
	list := &appsv1.DeploymentList{}
	Expect(k8s.List(ctx, list, client.InNamespace(namespace))).To(Succeed())
	for i := range list.Items {
		deployment := &list.Items[i]
		if !deployment.DeletionTimestamp.IsZero() || deployment.Status.ObservedGeneration == deployment.Generation {
			continue
		}
		base := deployment.DeepCopy()
		pods := *deployment.Spec.Replicas
		deployment.Status = appsv1.DeploymentStatus{
			ObservedGeneration: deployment.Generation, Replicas: pods, UpdatedReplicas: pods, ReadyReplicas: pods, AvailableReplicas: pods,
			Conditions: []appsv1.DeploymentCondition{
				{Type: appsv1.DeploymentAvailable, Status: corev1.ConditionTrue, Reason: "MinimumReplicasAvailable"},
				{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionTrue, Reason: "NewReplicaSetAvailable"},
			},
		}
		Expect(client.IgnoreNotFound(k8s.Status().Patch(ctx, deployment, client.MergeFrom(base)))).To(Succeed())
	}
}

// createCustom creates an object of Flux. A kind that was just defined is served a moment after its definition says so.
func createCustom(ctx context.Context, obj client.Object) {
	GinkgoHelper()
	Eventually(func() error { return k8s.Create(ctx, obj) }, soon, tick).Should(Succeed())
}
