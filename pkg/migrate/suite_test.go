package migrate_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"github.com/flux-autopilot/flux-operator/pkg/migrate"
	"github.com/flux-autopilot/flux-operator/test/testbed/definitions"
)

var (
	cluster    *envtest.Environment
	clusterCfg *rest.Config
	// admin is a client of somebody else than the operator.
	admin client.Client
)

func TestAgainstAPIServer(t *testing.T) {
	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(time.Minute)
	SetDefaultEventuallyPollingInterval(20 * time.Millisecond)
	RunSpecs(t, "migrate")
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

// world is what a test case has to itself: a namespace, an API group, and a migrator whose requests it sees.
type world struct {
	ns       string
	migrator *migrate.Migrator
	traffic  *traffic
	client   client.Client
}

func newWorld(ctx context.Context) *world {
	GinkgoHelper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "migrate-"}}
	Expect(admin.Create(ctx, ns)).To(Succeed())
	w := &world{ns: ns.Name, traffic: &traffic{}}
	cfg := rest.CopyConfig(clusterCfg)
	cfg.Wrap(w.traffic.around)
	var err error
	w.client, err = client.New(cfg, client.Options{})
	Expect(err).NotTo(HaveOccurred())
	w.migrator = migrate.New(w.client, migrate.Options{Settle: 100 * time.Millisecond})
	return w
}

// crd is a definition in the world's group. Its versions are written like in the tests of plans: * is the storage version, - is not served.
func (w *world) crd(versions string) *unstructured.Unstructured {
	GinkgoHelper()
	var list []any
	for version := range strings.FieldsSeq(versions) {
		properties := map[string]any{"a": map[string]any{"type": "string"}, "b": map[string]any{"type": "string"}}
		if strings.HasPrefix(version, "v2") {
			properties["a"] = map[string]any{"type": "string", "maxLength": int64(3)}
		}
		list = append(list, map[string]any{
			"name": strings.Trim(version, "*-"), "served": !strings.Contains(version, "-"), "storage": strings.Contains(version, "*"),
			"schema": map[string]any{"openAPIV3Schema": map[string]any{
				"type": "object", "properties": map[string]any{"spec": map[string]any{"type": "object", "properties": properties}},
			}},
		})
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"metadata": map[string]any{"name": "things." + w.group()},
		"spec": map[string]any{
			"group": w.group(), "scope": "Namespaced", "versions": list,
			"names": map[string]any{"kind": "Thing", "listKind": "ThingList", "plural": "things", "singular": "thing"},
		},
	}}
}

func (w *world) group() string { return w.ns + ".example.com" }

// thing is an object of the world's definition.
func (w *world) thing(version, name, a string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": w.group() + "/" + version, "kind": "Thing",
		"metadata": map[string]any{"name": name, "namespace": w.ns}, "spec": map[string]any{"a": a},
	}}
}

// plan reads the live definitions and plans the way to the wanted ones.
func (w *world) plan(ctx context.Context, wanted ...*unstructured.Unstructured) []migrate.Step {
	GinkgoHelper()
	definitions := read(GinkgoT(), wanted)
	live, err := w.migrator.Live(ctx, definitions)
	Expect(err).NotTo(HaveOccurred())
	steps, err := migrate.Plan(live, definitions)
	Expect(err).NotTo(HaveOccurred())
	return steps
}

// finish reads the live definitions and does what is left to do.
func (w *world) finish(ctx context.Context, applied ...*unstructured.Unstructured) {
	GinkgoHelper()
	live, err := w.migrator.Live(ctx, read(GinkgoT(), applied))
	Expect(err).NotTo(HaveOccurred())
	Expect(w.migrator.Run(ctx, migrate.Finish(live), nil)).To(Succeed())
}

// install applies a definition and waits until all its versions are served, and objects are stored as it says.
func install(ctx context.Context, crd *unstructured.Unstructured) {
	GinkgoHelper()
	Expect(applyAs(ctx, "installer", crd)).To(Succeed())
	group, _, _ := unstructured.NestedString(crd.Object, "spec", "group")
	kind, _, _ := unstructured.NestedString(crd.Object, "spec", "names", "kind")
	versions, _, _ := unstructured.NestedSlice(crd.Object, "spec", "versions")
	for _, version := range versions {
		if served, _, _ := unstructured.NestedBool(version.(map[string]any), "served"); !served {
			continue
		}
		name, _, _ := unstructured.NestedString(version.(map[string]any), "name")
		Eventually(func() error {
			found := &unstructured.UnstructuredList{}
			found.SetGroupVersionKind(schema.GroupVersionKind{Group: group, Version: name, Kind: kind + "List"})
			return admin.List(ctx, found, client.Limit(1))
		}).Should(Succeed())
	}
	awaitStorage(ctx, crd)
}

// awaitStorage waits until the API server stores objects of a definition in its storage version, which it does a moment after the definition
// was changed.
func awaitStorage(ctx context.Context, crd *unstructured.Unstructured) {
	GinkgoHelper()
	definition := read(GinkgoT(), []*unstructured.Unstructured{crd})[0]
	probe := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": definition.Group + "/" + storageOf(definition), "kind": definition.Kind,
		"metadata": map[string]any{"name": "probe", "namespace": metav1.NamespaceDefault},
	}}
	if spec, known := fluxSpecs()[definition.Kind]; known {
		probe.Object["spec"] = spec
	}
	Eventually(func() (string, error) {
		created := probe.DeepCopy()
		if err := admin.Create(ctx, created); err != nil {
			return "", err
		}
		version := etcd(ctx, crd)[metav1.NamespaceDefault+"/probe"]
		return version, admin.Delete(ctx, created)
	}).Should(Equal(storageOf(definition)), definition.Name)
}

// storeIn applies a definition whose storage version is another.
func storeIn(ctx context.Context, crd *unstructured.Unstructured, version string) {
	GinkgoHelper()
	older := crd.DeepCopy()
	versions, _, _ := unstructured.NestedSlice(older.Object, "spec", "versions")
	for _, v := range versions {
		v.(map[string]any)["storage"] = v.(map[string]any)["name"] == version
	}
	Expect(unstructured.SetNestedSlice(older.Object, versions, "spec", "versions")).To(Succeed())
	install(ctx, older)
}

// applyAs applies an object as a manager does that owns it.
func applyAs(ctx context.Context, manager string, obj *unstructured.Unstructured, opts ...client.PatchOption) error {
	body, err := json.Marshal(obj.Object)
	if err != nil {
		return err
	}
	target := &unstructured.Unstructured{}
	target.SetGroupVersionKind(obj.GroupVersionKind())
	target.SetName(obj.GetName())
	target.SetNamespace(obj.GetNamespace())
	return admin.Patch(ctx, target, client.RawPatch(types.ApplyPatchType, body), append(opts, client.FieldOwner(manager), client.ForceOwnership)...)
}

// get reads an object in a version.
func get(ctx context.Context, obj *unstructured.Unstructured, version string) *unstructured.Unstructured {
	GinkgoHelper()
	live := &unstructured.Unstructured{}
	live.SetGroupVersionKind(obj.GroupVersionKind().GroupKind().WithVersion(version))
	Expect(admin.Get(ctx, client.ObjectKeyFromObject(obj), live)).To(Succeed())
	return live
}

// storedVersions returns status.storedVersions of a definition.
func storedVersions(ctx context.Context, crd *unstructured.Unstructured) []string {
	GinkgoHelper()
	live := get(ctx, crd, "v1")
	stored, _, err := unstructured.NestedStringSlice(live.Object, "status", "storedVersions")
	Expect(err).NotTo(HaveOccurred())
	return stored
}

// inEtcd returns how many objects of a definition are stored in which version.
func inEtcd(ctx context.Context, crd *unstructured.Unstructured) map[string]int {
	GinkgoHelper()
	versions := map[string]int{}
	for _, version := range etcd(ctx, crd) {
		versions[version]++
	}
	return versions
}

// etcd returns the versions that the objects of a definition are stored in, by namespace and name.
func etcd(ctx context.Context, crd *unstructured.Unstructured) map[string]string {
	GinkgoHelper()
	group, _, _ := unstructured.NestedString(crd.Object, "spec", "group")
	plural, _, _ := unstructured.NestedString(crd.Object, "spec", "names", "plural")
	prefix := "/registry/" + group + "/" + plural + "/"
	end := prefix[:len(prefix)-1] + "0" // the character after the slash
	body, err := json.Marshal(map[string][]byte{"key": []byte(prefix), "range_end": []byte(end)})
	Expect(err).NotTo(HaveOccurred())
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, cluster.ControlPlane.Etcd.URL.String()+"/v3/kv/range", bytes.NewReader(body))
	Expect(err).NotTo(HaveOccurred())
	response, err := http.DefaultClient.Do(request)
	Expect(err).NotTo(HaveOccurred())
	defer response.Body.Close()
	var answer struct {
		KVs []struct {
			Key   []byte `json:"key"`
			Value []byte `json:"value"`
		} `json:"kvs"`
	}
	Expect(json.NewDecoder(response.Body).Decode(&answer)).To(Succeed())
	versions := map[string]string{}
	for _, kv := range answer.KVs {
		var object metav1.TypeMeta
		Expect(json.Unmarshal(kv.Value, &object)).To(Succeed())
		versions[strings.TrimPrefix(string(kv.Key), prefix)] = object.GroupVersionKind().Version
	}
	return versions
}

// traffic sees and may answer the requests of one client.
type traffic struct {
	mu     sync.Mutex
	writes int
	// answer, if set, may answer a request instead of the API server, or let it pass with errPass.
	answer func(*http.Request) (*http.Response, error)
}

// errPass lets a request pass to the API server.
var errPass = errors.New("pass")

type tripper func(*http.Request) (*http.Response, error)

func (t tripper) RoundTrip(r *http.Request) (*http.Response, error) { return t(r) }

func (t *traffic) around(next http.RoundTripper) http.RoundTripper {
	return tripper(func(r *http.Request) (*http.Response, error) {
		t.mu.Lock()
		if r.Method != http.MethodGet {
			t.writes++
		}
		answer := t.answer
		t.mu.Unlock()
		if answer != nil {
			if response, err := answer(r); !errors.Is(err, errPass) {
				return response, err
			}
		}
		return next.RoundTrip(r)
	})
}

func (t *traffic) respond(answer func(*http.Request) (*http.Response, error)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.answer = answer
}

// written returns how many requests were not reads.
func (t *traffic) written() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.writes
}

// refusal is an API server's answer with a status.
func refusal(r *http.Request, status metav1.Status) *http.Response {
	status.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
	status.Status = metav1.StatusFailure
	body, err := json.Marshal(status)
	if err != nil {
		return nil
	}
	return &http.Response{
		StatusCode: int(status.Code), Status: http.StatusText(int(status.Code)), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(body)),
	}
}

// inconsistent turns a token to continue a list into the one that an API server gives when the list is too old.
func inconsistent(token string) string {
	GinkgoHelper()
	plain, err := base64.RawURLEncoding.DecodeString(token)
	Expect(err).NotTo(HaveOccurred())
	var content map[string]any
	Expect(json.Unmarshal(plain, &content)).To(Succeed())
	content["rv"] = -1
	plain, err = json.Marshal(content)
	Expect(err).NotTo(HaveOccurred())
	return base64.RawURLEncoding.EncodeToString(plain)
}

// object reads a manifest.
func object(manifest string) *unstructured.Unstructured {
	GinkgoHelper()
	obj := &unstructured.Unstructured{}
	Expect(yaml.Unmarshal([]byte(manifest), &obj.Object)).To(Succeed())
	return obj
}

// create creates objects, a few at a time.
func create(ctx context.Context, objects []*unstructured.Unstructured) {
	GinkgoHelper()
	failures := make(chan error, len(objects))
	var workers sync.WaitGroup
	for first := range 8 {
		workers.Go(func() {
			for i := first; i < len(objects); i += 8 {
				failures <- admin.Create(ctx, objects[i])
			}
		})
	}
	workers.Wait()
	close(failures)
	for err := range failures {
		Expect(err).NotTo(HaveOccurred())
	}
}

// manyThings are objects with names in order.
func (w *world) manyThings(version string, n int) []*unstructured.Unstructured {
	things := make([]*unstructured.Unstructured, 0, n)
	for i := range n {
		things = append(things, w.thing(version, fmt.Sprintf("thing-%05d", i), "a"))
	}
	return things
}

// revisions returns the resource versions of all objects.
func (w *world) revisions(ctx context.Context) map[string]string {
	GinkgoHelper()
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(schema.GroupVersionKind{Group: w.group(), Version: "v1", Kind: "ThingList"})
	Expect(admin.List(ctx, list)).To(Succeed())
	revisions := map[string]string{}
	for _, item := range list.Items {
		revisions[item.Name] = item.ResourceVersion
	}
	return revisions
}

// isRefused tells whether the API server refused an object as invalid.
func isRefused(err error) bool { return apierrors.IsInvalid(err) || apierrors.IsForbidden(err) }
