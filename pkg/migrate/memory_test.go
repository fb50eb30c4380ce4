package migrate_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-autopilot/flux-operator/pkg/migrate"
)

// TestMemoryIsFlat holds what a migration keeps in memory against the number of objects.
func TestMemoryIsFlat(t *testing.T) {
	const slack = 4 << 20
	few, many := heapOf(t, 1_000), heapOf(t, 50_000)
	t.Logf("live heap: %d KiB with 1,000 objects, %d KiB with 50,000", few>>10, many>>10)
	if many > few+slack {
		t.Errorf("live heap grew from %d to %d bytes with fifty times the objects", few, many)
	}
}

// heapOf returns the largest live heap while a number of objects is rewritten.
func heapOf(t *testing.T, objects int) uint64 {
	t.Helper()
	server := &endless{objects: objects}
	listener := httptest.NewServer(server)
	defer listener.Close()
	kind := schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Thing"}
	mapper := apimeta.NewDefaultRESTMapper(nil)
	mapper.Add(kind, apimeta.RESTScopeNamespace)
	c, err := client.New(&rest.Config{Host: listener.URL, QPS: -1}, client.Options{Mapper: mapper})
	if err != nil {
		t.Fatal(err)
	}
	step := migrate.Step{To: "v1", Rewrite: true, Definition: migrate.Definition{
		Name: "things.example.com", Group: kind.Group, Kind: kind.Kind, Stored: []string{"v1"},
		Versions: []migrate.Version{{Name: "v1", Served: true, Storage: true}, {Name: "v1beta1", Served: true}},
	}}
	var largest uint64
	err = migrate.New(c, migrate.Options{}).Run(t.Context(), []migrate.Step{step}, func(migrate.Progress) {
		var stats runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&stats)
		largest = max(largest, stats.HeapAlloc)
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := int(server.patched.Load()); got != objects {
		t.Fatalf("%d objects were rewritten, want %d", got, objects)
	}
	return largest
}

// endless is an API server with any number of objects, which it does not keep.
type endless struct {
	objects int
	patched atomic.Int64
}

// ServeHTTP answers lists and patches.
func (e *endless) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if r.Method == http.MethodPatch {
		e.patched.Add(1)
		answer(w, thing(path.Base(r.URL.Path)))
		return
	}
	query := r.URL.Query()
	from, _ := strconv.Atoi(query.Get("continue"))
	limit, _ := strconv.Atoi(query.Get("limit"))
	to := min(from+limit, e.objects)
	page := metav1.PartialObjectMetadataList{TypeMeta: metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "PartialObjectMetadataList"}}
	for i := from; i < to; i++ {
		page.Items = append(page.Items, thing(fmt.Sprintf("thing-%d", i)))
	}
	if to < e.objects {
		page.Continue, page.RemainingItemCount = strconv.Itoa(to), new(int64(e.objects-to))
	}
	answer(w, page)
}

func answer(w http.ResponseWriter, body any) {
	if err := json.NewEncoder(w).Encode(body); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// thing is the metadata of an object.
func thing(name string) metav1.PartialObjectMetadata {
	return metav1.PartialObjectMetadata{
		TypeMeta: metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "PartialObjectMetadata"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: name, ResourceVersion: "1", Labels: map[string]string{"app.kubernetes.io/name": name},
			ManagedFields: []metav1.ManagedFieldsEntry{{
				Manager: "kustomize-controller", Operation: metav1.ManagedFieldsOperationApply, APIVersion: "example.com/v1beta1", FieldsType: "FieldsV1",
				FieldsV1: metav1.NewFieldsV1(`{"f:spec":{"f:interval":{},"f:path":{},"f:prune":{},"f:sourceRef":{},"f:timeout":{},"f:wait":{}}}`),
			}},
		},
	}
}
