package registry

import (
	"maps"
	"net/http"
	"strings"
	"sync"
)

// Request is what requests are counted by.
type Request struct {
	Method string
	Path   string
}

// Counts says how often each request was made.
type Counts map[Request]int

// Under sums up the requests whose path begins with prefix. An empty method means all methods.
func (c Counts) Under(method, prefix string) int {
	sum := 0
	for request, n := range c {
		if (method == "" || request.Method == method) && strings.HasPrefix(request.Path, prefix) {
			sum += n
		}
	}
	return sum
}

// requestLog counts requests while they pass.
type requestLog struct {
	mu     sync.Mutex
	counts Counts
}

func (l *requestLog) count(inner http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.add(Request{Method: r.Method, Path: withoutUploadID(r.URL.Path)})
		inner.ServeHTTP(w, r)
	})
}

func (l *requestLog) add(request Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts[request]++
}

func (l *requestLog) snapshot() Counts {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.counts)
}

// withoutUploadID cuts the random number of an upload: it would make every push a path of its own.
func withoutUploadID(path string) string {
	const uploads = "/blobs/uploads/"
	if i := strings.Index(path, uploads); i >= 0 {
		return path[:i+len(uploads)]
	}
	return path
}
