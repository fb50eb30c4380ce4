package snapshot_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"testing"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-autopilot/flux-operator/pkg/snapshot"
)

// TestMemoryIsFlat holds what taking a snapshot keeps in memory against the number of objects.
func TestMemoryIsFlat(t *testing.T) {
	const slack = 4 << 20
	few, many := heapOf(t, 1_000), heapOf(t, 20_000)
	t.Logf("live heap: %d KiB with 1,000 objects, %d KiB with 20,000", few>>10, many>>10)
	if many > few+slack {
		t.Errorf("live heap grew from %d to %d bytes with twenty times the objects", few, many)
	}
}

// heapOf returns the largest live heap while a snapshot of a number of objects is taken.
func heapOf(t *testing.T, objects int) uint64 {
	t.Helper()
	listener := httptest.NewServer(endless(objects))
	defer listener.Close()
	mapper := apimeta.NewDefaultRESTMapper(nil)
	mapper.Add(schema.GroupVersionKind{Group: "kustomize.toolkit.fluxcd.io", Version: "v1", Kind: "Kustomization"}, apimeta.RESTScopeNamespace)
	mapper.Add(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"}, apimeta.RESTScopeRoot)
	c, err := client.New(&rest.Config{Host: listener.URL, QPS: -1}, client.Options{Mapper: mapper})
	if err != nil {
		t.Fatal(err)
	}
	var largest uint64
	told := 0
	summary, err := snapshot.Take(t.Context(), c, io.Discard, snapshot.Request{Progress: func(n int) {
		told = n
		var stats runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&stats)
		largest = max(largest, stats.HeapAlloc)
	}})
	if err != nil {
		t.Fatal(err)
	}
	if summary.Objects != objects || told != objects {
		t.Fatalf("%d objects were saved and %d told of, want %d", summary.Objects, told, objects)
	}
	return largest
}

const definition = `{"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "kustomizations.kustomize.toolkit.fluxcd.io"},
	"spec": {"group": "kustomize.toolkit.fluxcd.io", "names": {"kind": "Kustomization"}, "versions": [{"name": "v1", "served": true, "storage": true}]},
	"status": {"conditions": [{"type": "Established", "status": "True"}]}}`

// endless is an API server with any number of objects, which it does not keep.
func endless(objects int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch {
		case strings.HasSuffix(r.URL.Path, "/customresourcedefinitions"):
			list := metav1.PartialObjectMetadataList{TypeMeta: metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "PartialObjectMetadataList"}}
			list.Items = []metav1.PartialObjectMetadata{{ObjectMeta: metav1.ObjectMeta{Name: "kustomizations.kustomize.toolkit.fluxcd.io"}}}
			answer(w, list)
		case strings.Contains(r.URL.Path, "/customresourcedefinitions/"):
			_, _ = io.WriteString(w, definition)
		default:
			answer(w, page(r, objects))
		}
	}
}

func answer(w http.ResponseWriter, body any) {
	if err := json.NewEncoder(w).Encode(body); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

func page(r *http.Request, objects int) map[string]any {
	query := r.URL.Query()
	from, _ := strconv.Atoi(query.Get("continue"))
	limit, _ := strconv.Atoi(query.Get("limit"))
	to := min(from+limit, objects)
	var items []any
	for i := from; i < to; i++ {
		items = append(items, map[string]any{
			"apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
			"metadata": map[string]any{"name": fmt.Sprintf("app-%05d", i), "namespace": "apps", "uid": "1", "resourceVersion": "1"},
			"spec":     map[string]any{"interval": "10m", "path": "./apps", "prune": true, "sourceRef": map[string]any{"kind": "GitRepository", "name": "apps"}},
			"status":   map[string]any{"conditions": []any{map[string]any{"type": "Ready", "status": "True", "message": strings.Repeat("x", 1000)}}},
		})
	}
	metadata := map[string]any{"resourceVersion": "1"}
	if to < objects {
		metadata["continue"] = strconv.Itoa(to)
	}
	return map[string]any{"apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "KustomizationList", "metadata": metadata, "items": items}
}
