package report

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"k8s.io/client-go/rest"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// many is an API server with a number of realistic objects, which it does not keep.
type many struct{ objects int }

// ServeHTTP answers watches: with everything that is there, then with nothing.
func (m *many) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("watch") == "" {
		http.Error(w, "only watches", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if r.URL.Query().Get("labelSelector") != "" {
		fmt.Fprintln(w, `{"type":"ADDED","object":{"metadata":{"name":"kustomizations.kustomize.toolkit.fluxcd.io","uid":"u","resourceVersion":"1"},
			"spec":{"group":"kustomize.toolkit.fluxcd.io","names":{"kind":"Kustomization","plural":"kustomizations"},"versions":[{"name":"v1","served":true,"storage":true}]},
			"status":{"conditions":[{"type":"Established","status":"True"}]}}}`)
	} else if strings.HasPrefix(r.URL.Path, "/apis/kustomize") {
		for i := range m.objects {
			fmt.Fprintf(w, "{\"type\":\"ADDED\",\"object\":%s}\n", realistic(i))
		}
	}
	fmt.Fprintln(w, `{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"9","annotations":{"k8s.io/initial-events-end":"true"}}}}`)
	w.(http.Flusher).Flush()
	<-r.Context().Done()
}

// TestMemory holds the memory that an object takes, everything included, against its bound.
func TestMemory(t *testing.T) {
	const objects, bound = 10_000, 1024
	before := heap()
	server := httptest.NewServer(&many{objects: objects})
	defer server.Close()
	o, err := NewObserver(&rest.Config{Host: server.URL, QPS: -1}, nil, ObserverOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- o.Start(ctx) }()
	deadline := time.After(time.Minute)
	for known := 0; known != objects; {
		select {
		case <-o.Changes():
		case <-deadline:
			t.Fatalf("%d objects after a minute", known)
		}
		if snapshot := o.Snapshot(); len(snapshot.Kinds) == 1 {
			known = snapshot.Kinds[0].Len()
		}
	}
	each := int(heap()-before) / objects
	t.Logf("%d bytes for each of %d objects of %d bytes", each, objects, len(realistic(1)))
	if each > bound {
		t.Errorf("an object takes %d bytes, want at most %d", each, bound)
	}
	runtime.KeepAlive(o)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func heap() uint64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// BenchmarkReadPage is what reading one object of a page costs.
func BenchmarkReadPage(b *testing.B) {
	items := make([]string, 0, pageSize)
	for i := range pageSize {
		items = append(items, realistic(i))
	}
	list := `{"metadata":{"resourceVersion":"7"},"items":[` + strings.Join(items, ",") + `]}`
	read := objectReader(kustomizations(), DefaultShardKey)
	b.SetBytes(int64(len(list) / pageSize))
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i += pageSize {
		if _, err := readPage(strings.NewReader(list), read); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReadEvent is what one change costs.
func BenchmarkReadEvent(b *testing.B) {
	o, at := stocked(b, 0)
	event := `{"type":"MODIFIED","object":` + realistic(1) + `}`
	stream := json.NewDecoder(&repeated{text: event})
	read := objectReader(kustomizations(), DefaultShardKey)
	b.SetBytes(int64(len(event)))
	b.ReportAllocs()
	for b.Loop() {
		_, object, err := readEvent(stream, read)
		if err != nil {
			b.Fatal(err)
		}
		o.store.put(at, object.(*item[*record]).value)
	}
}

// repeated is a text without an end.
type repeated struct {
	text string
	at   int
}

func (r *repeated) Read(p []byte) (int, error) {
	n := copy(p, r.text[r.at:])
	r.at = (r.at + n) % len(r.text)
	return n, nil
}

// BenchmarkCollect is what a scrape of ten thousand objects costs.
func BenchmarkCollect(b *testing.B) {
	o, _ := stocked(b, 10_000)
	registry := prometheus.NewRegistry()
	registry.MustRegister(NewCollector(o, CollectorOptions{}))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := registry.Gather(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkScrape is what the same costs with writing it as text and compressing that.
func BenchmarkScrape(b *testing.B) {
	o, _ := stocked(b, 10_000)
	registry := prometheus.NewRegistry()
	registry.MustRegister(NewCollector(o, CollectorOptions{}))
	handler := promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
	request := httptest.NewRequestWithContext(b.Context(), http.MethodGet, "/metrics", http.NoBody)
	request.Header.Set("Accept-Encoding", "gzip")
	b.ReportAllocs()
	for b.Loop() {
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, request)
		if answer.Code != http.StatusOK {
			b.Fatal(answer.Body)
		}
	}
}

// BenchmarkCompute is what a report over ten thousand objects costs, one of which has just changed.
func BenchmarkCompute(b *testing.B) {
	o, at := stocked(b, 10_000)
	one, other := read(b, realistic(1)), read(b, realistic(1))
	other.ready = readyFalse
	in := (&recording{}).inputs()
	b.ReportAllocs()
	for b.Loop() {
		one, other = other, one
		o.store.put(at, one)
		Compute(o.Snapshot(), in, v1.FluxReportSpec{})
	}
}
