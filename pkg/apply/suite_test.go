package apply_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	clientgoscheme "k8s.io/client-go/kubernetes/scheme"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/apply"
)

var (
	cluster    *envtest.Environment
	clusterCfg *rest.Config
	// admin is a client of somebody else than the operator.
	admin client.WithWatch
)

// patience is for how long a test waits for what is to happen, on a machine of any speed.
const patience = time.Minute

func TestAgainstAPIServer(t *testing.T) {
	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(patience)
	SetDefaultEventuallyPollingInterval(10 * time.Millisecond)
	RunSpecs(t, "apply")
}

var _ = BeforeSuite(func() {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		Fail("KUBEBUILDER_ASSETS is not set: run `make test`, which builds etcd and kube-apiserver and sets it")
	}
	cluster = &envtest.Environment{}
	var err error
	clusterCfg, err = cluster.Start()
	Expect(err).NotTo(HaveOccurred())
	clusterCfg.QPS = -1
	admin, err = client.NewWithWatch(clusterCfg, client.Options{})
	Expect(err).NotTo(HaveOccurred())
})

var _ = AfterSuite(func() {
	if cluster != nil {
		Expect(cluster.Stop()).To(Succeed())
	}
})

// world is what a test case has to itself: a namespace, an applier and a view of the applier's requests.
type world struct {
	ns      string
	applier *apply.Applier
	traffic *traffic
	client  client.WithWatch
}

func newWorld(ctx context.Context, overrides ...string) *world {
	GinkgoHelper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "apply-"}}
	Expect(admin.Create(ctx, ns)).To(Succeed())
	w := &world{ns: ns.Name, traffic: &traffic{}}
	cfg := rest.CopyConfig(clusterCfg)
	cfg.Wrap(w.traffic.around)
	scheme := runtime.NewScheme()
	Expect(clientgoscheme.AddToScheme(scheme)).To(Succeed())
	Expect(apply.AddToScheme(scheme)).To(Succeed())
	var err error
	w.client, err = client.NewWithWatch(cfg, client.Options{Scheme: scheme})
	Expect(err).NotTo(HaveOccurred())
	w.applier = apply.New(w.client, apply.Options{
		OverrideManagers: overrides,
		Owner:            types.NamespacedName{Namespace: w.ns, Name: v1.DefaultInstanceName},
	})
	return w
}

// warm looks up the kinds, which a long-running process does once, and forgets the requests so far.
func (w *world) warm(objects ...*unstructured.Unstructured) {
	GinkgoHelper()
	for _, obj := range objects {
		_, err := w.client.RESTMapper().RESTMapping(obj.GroupVersionKind().GroupKind(), obj.GroupVersionKind().Version)
		Expect(err).NotTo(HaveOccurred())
	}
	w.traffic.reset()
}

// object reads a manifest in which NS stands for the namespace, and sets namespace and owner labels unless it is cluster-scoped.
func (w *world) object(manifest string) *unstructured.Unstructured {
	GinkgoHelper()
	obj := &unstructured.Unstructured{}
	Expect(yaml.Unmarshal([]byte(strings.ReplaceAll(manifest, "NS", w.ns)), &obj.Object)).To(Succeed())
	switch obj.GetKind() {
	case "CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding", "Namespace", "PriorityClass", "ValidatingWebhookConfiguration":
	default:
		obj.SetNamespace(w.ns)
	}
	labels := obj.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	labels[v1.OwnerNameLabel] = v1.DefaultInstanceName
	labels[v1.OwnerNamespaceLabel] = w.ns
	obj.SetLabels(labels)
	return obj
}

func (w *world) configMap(name string, data map[string]any) *unstructured.Unstructured {
	obj := w.object("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + name + "}")
	if data != nil {
		obj.Object["data"] = data
	}
	return obj
}

func (w *world) deployment(name string) *unstructured.Unstructured {
	return w.object(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: ` + name + `}
spec:
  replicas: 1
  selector: {matchLabels: {app: ` + name + `}}
  template:
    metadata: {labels: {app: ` + name + `}}
    spec:
      containers:
      - {name: manager, image: "example.com/` + name + `:v1", env: [{name: A, value: a}]}
`)
}

// crd is a definition in a group of the test case's own, with the status default that Flux has.
func (w *world) crd() *unstructured.Unstructured {
	return w.object(`
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.NS.fluxcd.io}
spec:
  group: NS.fluxcd.io
  names: {kind: Thing, listKind: ThingList, plural: things, singular: thing}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties:
              suspend: {type: boolean}
              url: {type: string}
              fixed: {type: string, x-kubernetes-validations: [{rule: self == oldSelf, message: Value is immutable}]}
          status:
            type: object
            default: {observedGeneration: -1}
            x-kubernetes-preserve-unknown-fields: true
            properties: {observedGeneration: {type: integer, format: int64}}
`)
}

func (w *world) thing(name string) *unstructured.Unstructured {
	return w.object("apiVersion: NS.fluxcd.io/v1\nkind: Thing\nmetadata: {name: " + name + "}\nspec: {url: a}")
}

// live reads an object as it is in the cluster.
func (w *world) live(ctx context.Context, obj *unstructured.Unstructured) *unstructured.Unstructured {
	GinkgoHelper()
	live := &unstructured.Unstructured{}
	live.SetGroupVersionKind(obj.GroupVersionKind())
	Expect(admin.Get(ctx, client.ObjectKeyFromObject(obj), live)).To(Succeed())
	return live
}

// mustApply applies objects and returns what became of each, and what was observed.
func (w *world) mustApply(ctx context.Context, previous map[apply.ID]apply.Observed, objects ...*unstructured.Unstructured) (map[string]apply.Action, map[apply.ID]apply.Observed) {
	GinkgoHelper()
	changes, err := w.applier.Apply(ctx, objects, previous)
	Expect(err).NotTo(HaveOccurred())
	return outcome(changes)
}

func outcome(changes []apply.Change) (map[string]apply.Action, map[apply.ID]apply.Observed) {
	actions, observed := map[string]apply.Action{}, map[apply.ID]apply.Observed{}
	for _, change := range changes {
		id := apply.IDOf(change.Object)
		actions[id.Kind+"/"+id.Name] = change.Action
		observed[id] = change.Observed
	}
	return actions, observed
}

// kubectl runs the real client as a person would.
func kubectl(ctx context.Context, editor, stdin string, args ...string) {
	GinkgoHelper()
	user, err := cluster.AddUser(envtest.User{Name: "person", Groups: []string{"system:masters"}}, nil)
	Expect(err).NotTo(HaveOccurred())
	kubeconfig, err := user.KubeConfig()
	Expect(err).NotTo(HaveOccurred())
	path := filepath.Join(GinkgoT().TempDir(), "kubeconfig")
	Expect(os.WriteFile(path, kubeconfig, 0o600)).To(Succeed())
	cmd := exec.CommandContext(ctx, filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "kubectl"), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+path, "KUBE_EDITOR="+editor)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	Expect(err).NotTo(HaveOccurred(), string(out))
}

// traffic sees and may answer the requests of one client.
type traffic struct {
	mu       sync.Mutex
	requests []string
	watches  []*stream
	opened   int
	// answer, if set, may answer a request instead of the API server, or let it pass with errPass.
	answer func(*http.Request) (*http.Response, error)
}

// errPass lets a request pass to the API server.
var errPass = errors.New("pass")

type tripper func(*http.Request) (*http.Response, error)

func (t tripper) RoundTrip(r *http.Request) (*http.Response, error) { return t(r) }

func (t *traffic) around(next http.RoundTripper) http.RoundTripper {
	return tripper(func(r *http.Request) (*http.Response, error) {
		watching := r.URL.Query().Get("watch") != ""
		verb := r.Method
		if watching {
			verb = "WATCH"
		}
		t.mu.Lock()
		t.requests = append(t.requests, verb+" "+r.URL.Path)
		answer := t.answer
		t.mu.Unlock()
		if answer != nil {
			if response, err := answer(r); !errors.Is(err, errPass) {
				return response, err
			}
		}
		response, err := next.RoundTrip(r)
		if err == nil && watching {
			s := &stream{ReadCloser: response.Body}
			response.Body = s
			t.mu.Lock()
			t.watches = append(t.watches, s)
			t.opened++
			t.mu.Unlock()
		}
		return response, err
	})
}

func (t *traffic) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.requests, t.opened = nil, 0
}

// watchesOpened returns how many watches were answered so far.
func (t *traffic) watchesOpened() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.opened
}

// seen returns the requests so far whose verb is the given one; all if it is empty.
func (t *traffic) seen(verb string) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var matching []string
	for _, request := range t.requests {
		if strings.HasPrefix(request, verb) {
			matching = append(matching, request)
		}
	}
	return matching
}

func (t *traffic) respond(answer func(*http.Request) (*http.Response, error)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.answer = answer
}

// breakWatches ends all open watches, as a server that shuts down does.
func (t *traffic) breakWatches() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.watches {
		s.end()
	}
	t.watches = nil
}

// stream is a watch response that can be ended from outside.
type stream struct {
	io.ReadCloser
	ended sync.Once
}

func (s *stream) end() { s.ended.Do(func() { _ = s.Close() }) }

func (s *stream) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = io.EOF
	}
	return n, err
}

// refusal is an API server's answer with a status.
func refusal(r *http.Request, code int, reason metav1.StatusReason, message string) *http.Response {
	body, _ := yaml.Marshal(metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"},
		Status:   metav1.StatusFailure, Code: int32(code), Reason: reason, Message: message,
	})
	body, _ = yaml.YAMLToJSON(body)
	return &http.Response{
		StatusCode: code, Status: http.StatusText(code), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(body)),
	}
}
