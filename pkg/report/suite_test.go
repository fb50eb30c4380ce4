package report

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/flux-autopilot/flux-operator/test/testbed/definitions"
)

var (
	cluster    *envtest.Environment
	clusterCfg *rest.Config
	admin      client.Client
)

func TestAgainstAPIServer(t *testing.T) {
	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(time.Minute)
	SetDefaultEventuallyPollingInterval(20 * time.Millisecond)
	RunSpecs(t, "report")
}

var _ = BeforeSuite(func() {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		Fail("KUBEBUILDER_ASSETS is not set: run `make test`, which builds etcd and kube-apiserver and sets it")
	}
	certificates, err := os.MkdirTemp("", "report-") // of its own, so that they outlive a restart
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(os.RemoveAll, certificates)
	cluster = &envtest.Environment{ControlPlane: envtest.ControlPlane{APIServer: &envtest.APIServer{CertDir: certificates, StopTimeout: 5 * time.Second}}}
	clusterCfg, err = cluster.Start()
	Expect(err).NotTo(HaveOccurred())
	clusterCfg.QPS = -1
	clusterCfg.WarningHandler = rest.NoWarnings{}
	admin, err = client.New(clusterCfg, client.Options{})
	Expect(err).NotTo(HaveOccurred())
	nudging, stop := context.WithCancel(context.Background())
	DeferCleanup(stop)
	Expect(definitions.Nudge(nudging, clusterCfg, GinkgoWriter.Printf)).To(Succeed())
})

var _ = AfterSuite(func() {
	if cluster != nil {
		Expect(cluster.Stop()).To(Succeed())
	}
})

// crd is a definition of a kind of Flux that takes any content. Versions with * are those of storage, with - not served, with ~ deprecated.
func crd(group, kind, versions string) *unstructured.Unstructured {
	var list []any
	for version := range strings.FieldsSeq(versions) {
		list = append(list, map[string]any{
			"name": strings.Trim(version, "*-~"), "served": !strings.Contains(version, "-"), "storage": strings.Contains(version, "*"),
			"deprecated":   strings.Contains(version, "~"),
			"subresources": map[string]any{"status": map[string]any{}},
			"schema": map[string]any{"openAPIV3Schema": map[string]any{
				"type": "object", "x-kubernetes-preserve-unknown-fields": true,
			}},
		})
	}
	plural := strings.ToLower(kind) + "s"
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"metadata": map[string]any{"name": plural + "." + group, "labels": map[string]any{
			partOfLabel: partOfFlux, versionLabel: "v2.9.4", managedByLabel: "flux-operator",
		}},
		"spec": map[string]any{
			"group": group, "scope": "Namespaced", "versions": list,
			"names": map[string]any{"kind": kind, "listKind": kind + "List", "plural": plural, "singular": strings.ToLower(kind)},
		},
	}}
}

// define creates or changes a definition, and waits until its objects are served; the test removes it at its end.
func define(ctx context.Context, definition *unstructured.Unstructured) {
	GinkgoHelper()
	live := definition.DeepCopy()
	err := admin.Create(ctx, live)
	if apierrors.IsAlreadyExists(err) {
		Eventually(func() error {
			if err := admin.Get(ctx, client.ObjectKeyFromObject(definition), live); err != nil {
				return err
			}
			live.Object["spec"] = definition.DeepCopy().Object["spec"]
			return admin.Update(ctx, live)
		}).Should(Succeed())
		err = nil
	} else {
		DeferCleanup(func(ctx context.Context) { undefine(ctx, definition) })
	}
	Expect(err).NotTo(HaveOccurred())
	for _, kind := range served(definition) {
		found := &unstructured.UnstructuredList{}
		found.SetGroupVersionKind(kind)
		Eventually(func() error { return admin.List(ctx, found, client.Limit(1)) }).Should(Succeed())
	}
}

// undefine removes a definition with its objects.
func undefine(ctx context.Context, definition *unstructured.Unstructured) {
	GinkgoHelper()
	Expect(client.IgnoreNotFound(admin.Delete(ctx, definition.DeepCopy()))).To(Succeed())
	Eventually(func() bool {
		return apierrors.IsNotFound(admin.Get(ctx, client.ObjectKeyFromObject(definition), definition.DeepCopy()))
	}).Should(BeTrue())
}

// served are the kinds of lists of the versions of a definition that are served.
func served(definition *unstructured.Unstructured) []schema.GroupVersionKind {
	group, _, _ := unstructured.NestedString(definition.Object, "spec", "group")
	kind, _, _ := unstructured.NestedString(definition.Object, "spec", "names", "kind")
	versions, _, _ := unstructured.NestedSlice(definition.Object, "spec", "versions")
	var kinds []schema.GroupVersionKind
	for _, version := range versions {
		if version := version.(map[string]any); version["served"].(bool) {
			kinds = append(kinds, schema.GroupVersionKind{Group: group, Version: version["name"].(string), Kind: kind + "List"})
		}
	}
	return kinds
}

// object is one of a kind of Flux.
func object(apiVersion, kind, name string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": apiVersion, "kind": kind, "metadata": map[string]any{"name": name, "namespace": metav1.NamespaceDefault},
		"spec": map[string]any{"path": "./apps"},
	}}
}

// each calls do for a number of indexes, a few at a time.
func each(n int, do func(i int) error) {
	GinkgoHelper()
	failures := make(chan error, n)
	var workers sync.WaitGroup
	for first := range 8 {
		workers.Go(func() {
			for i := first; i < n; i += 8 {
				failures <- do(i)
			}
		})
	}
	workers.Wait()
	close(failures)
	for err := range failures {
		Expect(err).NotTo(HaveOccurred())
	}
}

// observe starts an observer that ends with the test.
func observe(cfg *rest.Config, options ObserverOptions) *Observer {
	GinkgoHelper()
	observer, err := NewObserver(cfg, nil, options)
	Expect(err).NotTo(HaveOccurred())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- observer.Start(ctx) }()
	DeferCleanup(func() {
		cancel()
		Expect(<-done).To(Succeed())
	})
	return observer
}

// counts returns the number of objects of each kind that was read.
func counts(observer *Observer) func() map[string]int {
	return func() map[string]int {
		found := map[string]int{}
		snapshot := observer.Snapshot()
		if !snapshot.Definitions.Observed {
			return nil
		}
		for i := range snapshot.Kinds {
			if kind := &snapshot.Kinds[i]; kind.Observed && kind.Failing.IsZero() {
				found[kind.APIVersion()+" "+kind.Kind] = kind.Len()
			}
		}
		return found
	}
}

// wire is an API server in front of the API server, which can be made to misbehave.
type wire struct {
	server *httptest.Server
	// refuse, if set, may answer a request itself.
	refuse atomic.Pointer[func(http.ResponseWriter, *http.Request) bool]
	// mute keeps what the API server says from reaching the client.
	mute atomic.Bool
	// down ends each request without an answer.
	down atomic.Bool
	// reads is how often all objects of a resource were asked for.
	reads atomic.Int64
}

// wired returns a wire to the API server, and how to reach it.
func wired() (*wire, *rest.Config) {
	GinkgoHelper()
	w := &wire{}
	target, err := url.Parse(clusterCfg.Host)
	Expect(err).NotTo(HaveOccurred())
	transport, err := rest.TransportFor(clusterCfg)
	Expect(err).NotTo(HaveOccurred())
	proxy := &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:     transport,
		FlushInterval: -1,
		ErrorHandler:  func(rw http.ResponseWriter, _ *http.Request, _ error) { rw.WriteHeader(http.StatusBadGateway) },
		ModifyResponse: func(r *http.Response) error {
			r.Body = &muffled{ReadCloser: r.Body, mute: &w.mute}
			return nil
		},
	}
	w.server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if w.down.Load() {
			panic(http.ErrAbortHandler)
		}
		if refuse := w.refuse.Load(); refuse != nil && (*refuse)(rw, r) {
			return
		}
		if query := r.URL.Query(); query.Get("watch") == "" || query.Get("sendInitialEvents") != "" {
			w.reads.Add(1)
		}
		proxy.ServeHTTP(rw, r)
	}))
	w.server.Config.ErrorLog = nil
	DeferCleanup(func() {
		w.mute.Store(false)
		w.server.CloseClientConnections()
		w.server.Close()
	})
	return w, &rest.Config{Host: w.server.URL, QPS: -1, WarningHandler: rest.NoWarnings{}}
}

// answering makes the wire answer some requests itself.
func (w *wire) answering(answer func(http.ResponseWriter, *http.Request) bool) {
	w.refuse.Store(&answer)
}

// cut ends all connections.
func (w *wire) cut() { w.server.CloseClientConnections() }

// muffled drops what is read once it was mute, so that a watch hangs and what it said is lost. It drops the rest as well: a connection delivers what
// came before, or nothing more.
type muffled struct {
	io.ReadCloser

	mute *atomic.Bool
	lost bool
}

func (m *muffled) Read(p []byte) (int, error) {
	for {
		n, err := m.ReadCloser.Read(p)
		m.lost = m.lost || m.mute.Load()
		if err != nil || !m.lost {
			return n, err
		}
	}
}

// refusal answers with a status of the API server.
func refusal(rw http.ResponseWriter, code int, reason metav1.StatusReason, message string) {
	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(code)
	fmt.Fprintf(rw, `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":%q,"reason":%q,"code":%d}`, message, reason, code)
}
