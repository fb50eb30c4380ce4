// Package bucket serves an S3 API for the testbed: path style, in memory, and it accepts any credentials.
package bucket

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"strings"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/flux-autopilot/flux-operator/test/testbed/httpd"
)

// Options says where the server listens and which buckets it begins with.
type Options struct {
	// Addr is host:port; an empty value means a free port on 127.0.0.1.
	Addr string
	// Buckets are created empty.
	Buckets []string
	// TLS holds the server certificate; nil means plain HTTP.
	TLS *tls.Config
	// Logger receives the server's errors; nil discards them.
	Logger *slog.Logger
}

// Server is a running S3 server. Its content is gone when it ends.
type Server struct {
	// Addr is the host:port that is really listened on: the endpoint of a Flux Bucket.
	Addr string

	http    *httpd.Server
	backend *s3mem.Backend
}

// Serve starts a server that runs until Close is called or ctx is done.
func Serve(ctx context.Context, opts Options) (*Server, error) {
	backend := s3mem.New()
	for _, name := range opts.Buckets {
		if err := backend.CreateBucket(name); err != nil {
			return nil, fmt.Errorf("creating bucket %q: %w", name, err)
		}
	}
	handler := gofakes3.New(backend, gofakes3.WithLogger(gofakes3.DiscardLog())).Server()
	server, err := httpd.Start(ctx, handler, httpd.Options{Addr: opts.Addr, TLS: opts.TLS, Logger: opts.Logger})
	if err != nil {
		return nil, fmt.Errorf("starting S3 server: %w", err)
	}
	return &Server{Addr: server.Addr, http: server, backend: backend}, nil
}

// Put writes one object whole into an existing bucket.
func (s *Server) Put(bucket, key, content string) error {
	_, err := s.backend.PutObject(bucket, key, map[string]string{}, strings.NewReader(content), int64(len(content)), nil)
	if err != nil {
		return fmt.Errorf("writing object %q to bucket %q: %w", key, bucket, err)
	}
	return nil
}

// Delete removes one object; an absent one is no error.
func (s *Server) Delete(bucket, key string) error {
	if _, err := s.backend.DeleteObject(bucket, key); err != nil {
		return fmt.Errorf("deleting object %q from bucket %q: %w", key, bucket, err)
	}
	return nil
}

// Close stops the server and waits for running requests until ctx is done.
func (s *Server) Close(ctx context.Context) error { return s.http.Close(ctx) }
