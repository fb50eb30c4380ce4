// Package httpd runs one HTTP or HTTPS handler on an address of its own: the shared floor of the testbed's servers.
package httpd

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

const (
	headerTimeout = 10 * time.Second
	// Image layers of a hundred megabytes pass through these servers on loaded machines.
	transferTimeout = 10 * time.Minute
	idleTimeout     = 2 * time.Minute
)

// Options says where and how to listen.
type Options struct {
	// Addr is host:port; an empty value means a free port on 127.0.0.1.
	Addr string
	// TLS holds the server certificate; nil means plain HTTP.
	TLS *tls.Config
	// Logger receives the errors of single connections; nil discards them.
	Logger *slog.Logger
}

// Server is a running HTTP server.
type Server struct {
	// Addr is the host:port that is really listened on.
	Addr string
	// URL is the root of the server, scheme included, without a trailing slash.
	URL string

	server *http.Server
	stop   func() bool
	// ended is closed when serving is over; only then may err be read.
	ended chan struct{}
	err   error
}

// Start listens and serves the handler until Close is called or ctx is done, whichever comes first.
// Requests carry a context derived from ctx.
func Start(ctx context.Context, handler http.Handler, opts Options) (*Server, error) {
	if opts.Addr == "" {
		opts.Addr = "127.0.0.1:0"
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}

	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", opts.Addr)
	if err != nil {
		return nil, fmt.Errorf("listening on %q: %w", opts.Addr, err)
	}

	s := &Server{
		Addr:  listener.Addr().String(),
		ended: make(chan struct{}),
		server: &http.Server{
			Handler:           handler,
			ReadHeaderTimeout: headerTimeout,
			ReadTimeout:       transferTimeout,
			WriteTimeout:      transferTimeout,
			IdleTimeout:       idleTimeout,
			TLSConfig:         opts.TLS.Clone(),
			BaseContext:       func(net.Listener) context.Context { return ctx },
			ErrorLog:          slog.NewLogLogger(opts.Logger.Handler(), slog.LevelWarn),
		},
	}
	s.URL = "http://" + s.Addr
	if opts.TLS != nil {
		s.URL = "https://" + s.Addr
	}
	go s.serve(listener)
	s.stop = context.AfterFunc(ctx, func() { _ = s.server.Close() })
	return s, nil
}

func (s *Server) serve(listener net.Listener) {
	defer close(s.ended)
	if s.server.TLSConfig == nil {
		s.err = s.server.Serve(listener)
		return
	}
	s.err = s.server.ServeTLS(listener, "", "")
}

// Close stops listening and waits for running requests until ctx is done; then it cuts them off and returns an error.
// It may be called more than once.
func (s *Server) Close(ctx context.Context) error {
	s.stop()
	if err := s.server.Shutdown(ctx); err != nil {
		_ = s.server.Close()
		return fmt.Errorf("closing server on %q: %w", s.Addr, err)
	}

	select {
	case <-s.ended:
		if !errors.Is(s.err, http.ErrServerClosed) {
			return fmt.Errorf("serving on %q: %w", s.Addr, s.err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("closing server on %q: %w", s.Addr, ctx.Err())
	}
}

// Credentials is one user of a server; the zero value lets everybody in.
type Credentials struct {
	User     string
	Password string
}

// Protect asks for the credentials by HTTP basic authentication before the inner handler is reached.
func (c Credentials) Protect(realm string, inner http.Handler) http.Handler {
	if c == (Credentials{}) {
		return inner
	}
	want := c.digest()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, ok := r.BasicAuth()
		got := Credentials{User: user, Password: password}.digest()
		if !ok || subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf("Basic realm=%q", realm))
			http.Error(w, "authentication required", http.StatusUnauthorized)
			return
		}
		inner.ServeHTTP(w, r)
	})
}

// digest makes credentials comparable in constant time whatever their length; a user name cannot hold the colon (RFC 7617).
func (c Credentials) digest() [sha256.Size]byte {
	return sha256.Sum256([]byte(c.User + ":" + c.Password))
}
