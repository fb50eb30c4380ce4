// Package gitserver serves bare Git repositories over HTTP and HTTPS through git's own http-backend, and fills them.
package gitserver

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/cgi"
	"os"
	"path/filepath"
	"strings"

	"github.com/flux-autopilot/flux-operator/test/testbed/httpd"
)

// maxPushBytes bounds one request; no test repository comes near it.
const maxPushBytes = 1 << 30

// Options says where the server listens, what it serves and whom it lets in.
type Options struct {
	// Addr is host:port; an empty value means a free port on 127.0.0.1.
	Addr string
	// Root is the folder of the repositories made by Create. It is created when absent.
	Root string
	// User and Password protect reading and pushing by basic authentication; both empty lets everybody do both.
	User     string
	Password string
	// TLS holds the server certificate; nil means plain HTTP.
	TLS *tls.Config
	// Logger receives the server's errors, git's included; nil discards them.
	Logger *slog.Logger
}

// Server is a running Git server.
type Server struct {
	// Addr is the host:port that is really listened on.
	Addr string

	http *httpd.Server
}

// Serve starts a server that runs until Close is called or ctx is done. It needs git on the PATH.
func Serve(ctx context.Context, opts Options) (*Server, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	root, err := filepath.Abs(opts.Root)
	if err != nil {
		return nil, fmt.Errorf("finding repositories: %w", err)
	}
	if err := os.MkdirAll(root, 0o755); err != nil {
		return nil, fmt.Errorf("creating folder of repositories: %w", err)
	}
	execPath, err := runGit(ctx, root, nil, "--exec-path")
	if err != nil {
		return nil, err
	}

	problems := slog.NewLogLogger(opts.Logger.Handler(), slog.LevelWarn)
	backend := &cgi.Handler{
		Path:   filepath.Join(strings.TrimSpace(execPath), "git-http-backend"),
		Dir:    root,
		Env:    append(environment(root), "GIT_PROJECT_ROOT="+root, "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER="+author),
		Logger: problems,
		Stderr: problems.Writer(),
	}
	credentials := httpd.Credentials{User: opts.User, Password: opts.Password}
	server, err := httpd.Start(ctx, credentials.Protect("testbed git", stream(backend)), httpd.Options{
		Addr: opts.Addr, TLS: opts.TLS, Logger: opts.Logger,
	})
	if err != nil {
		return nil, fmt.Errorf("starting git server: %w", err)
	}
	return &Server{Addr: server.Addr, http: server}, nil
}

// stream hands a body of unknown length on as it comes. Git sends every push above a megabyte chunked, which the CGI
// handler refuses because it cannot announce a length; git's backend needs none, it reads to the end.
func stream(backend http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = r.Clone(r.Context())
		r.TransferEncoding = nil
		r.Body = http.MaxBytesReader(w, r.Body, maxPushBytes)
		backend.ServeHTTP(w, r)
	})
}

// URL is where a repository is cloned from, without credentials.
func (s *Server) URL(repository string) string { return s.http.URL + "/" + repository + suffix }

// Close stops the server and waits for running requests until ctx is done.
func (s *Server) Close(ctx context.Context) error { return s.http.Close(ctx) }
