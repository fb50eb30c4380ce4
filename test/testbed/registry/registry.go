// Package registry serves a container registry for the testbed, in memory or in a folder that survives restarts.
package registry

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"

	ggcr "github.com/google/go-containerregistry/pkg/registry"

	"github.com/flux-autopilot/flux-operator/test/testbed/httpd"
)

// Options says where the registry listens, what it keeps and whom it lets in.
type Options struct {
	// Addr is host:port; an empty value means a free port on 127.0.0.1.
	Addr string
	// Dir keeps blobs and manifests, so that a registry started again on the same folder has the same images.
	// It is created when absent and must not be shared by two running registries. Empty means memory.
	Dir string
	// TLS holds the server certificate; nil means plain HTTP.
	TLS *tls.Config
	// User and Password protect every path by basic authentication; both empty lets everybody push and pull.
	User     string
	Password string
	// Logger receives one debug line per request and the server's errors; nil discards them.
	Logger *slog.Logger
}

// Server is a running registry.
type Server struct {
	// Addr is the host:port that is really listened on: the first part of an image reference.
	Addr string

	http     *httpd.Server
	requests *requestLog
}

// Serve starts a registry that runs until Close is called or ctx is done.
func Serve(ctx context.Context, opts Options) (*Server, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}

	handler, err := newHandler(ctx, opts)
	if err != nil {
		return nil, err
	}
	credentials := httpd.Credentials{User: opts.User, Password: opts.Password}
	requests := &requestLog{counts: Counts{}}
	server, err := httpd.Start(ctx, requests.count(credentials.Protect("testbed registry", whole(handler))), httpd.Options{
		Addr: opts.Addr, TLS: opts.TLS, Logger: opts.Logger,
	})
	if err != nil {
		return nil, fmt.Errorf("starting registry: %w", err)
	}
	return &Server{Addr: server.Addr, http: server, requests: requests}, nil
}

func newHandler(ctx context.Context, opts Options) (http.Handler, error) {
	options := []ggcr.Option{
		ggcr.Logger(slog.NewLogLogger(opts.Logger.Handler(), slog.LevelDebug)),
		ggcr.WithReferrersSupport(true),
	}
	if opts.Dir == "" {
		return ggcr.New(options...), nil
	}

	blobs, manifests := filepath.Join(opts.Dir, "blobs"), filepath.Join(opts.Dir, "manifests")
	for _, dir := range []string{blobs, manifests} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("creating registry folder: %w", err)
		}
		if err := removeLeftovers(dir); err != nil {
			return nil, err
		}
	}
	handler := ggcr.New(append(options, ggcr.WithBlobHandler(ggcr.NewDiskBlobHandler(blobs)))...)
	return newManifestStore(ctx, manifests, handler)
}

// whole answers every read with the whole blob, as HTTP allows: the registry refuses open ranges ("bytes=5-"), with which
// container runtimes go on after a broken download.
func whole(inner http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = r.Clone(r.Context())
		r.Header.Del("Range")
		inner.ServeHTTP(w, r)
	})
}

// removeLeftovers deletes what a killed registry had half written.
func removeLeftovers(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, uploadPattern))
	if err != nil {
		return fmt.Errorf("listing unfinished uploads in %q: %w", dir, err)
	}
	for _, file := range files {
		if err := os.Remove(file); err != nil {
			return fmt.Errorf("removing unfinished upload: %w", err)
		}
	}
	return nil
}

// Close stops the registry and waits for running requests until ctx is done.
func (s *Server) Close(ctx context.Context) error { return s.http.Close(ctx) }

// Requests returns how often each path was asked for since the start, refused requests included.
func (s *Server) Requests() Counts { return s.requests.snapshot() }
