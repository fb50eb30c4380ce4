// Command sampleapp is the workload of the testbed: a small HTTP server that says which message and version it runs.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

// version is set at link time: -ldflags "-X main.version=1.2.3".
var version = "dev"

const (
	defaultAddress = ":8080"
	defaultMessage = "hello from the testbed"
	headerTimeout  = 5 * time.Second
	// shutdownTimeout is shorter than a pod's default grace period of 30 s.
	shutdownTimeout = 20 * time.Second
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx, os.Getenv); err != nil {
		slog.Error("sample app failed", "error", err)
		os.Exit(1)
	}
}

// run serves until ctx is done. It reads MESSAGE (what "/" says) and ADDRESS (where to listen, default ":8080").
func run(ctx context.Context, getenv func(string) string) error {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", orDefault(getenv("ADDRESS"), defaultAddress))
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}

	a := &app{message: orDefault(getenv("MESSAGE"), defaultMessage)}
	server := &http.Server{Handler: a.routes(), ReadHeaderTimeout: headerTimeout}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	slog.Info("serving", "address", listener.Addr().String(), "version", version)

	select {
	case err := <-ended:
		return fmt.Errorf("serving: %w", err)
	case <-ctx.Done():
	}
	a.stopping.Store(true)
	slog.Info("shutting down")
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		return fmt.Errorf("shutting down: %w", errors.Join(err, server.Close()))
	}
	return nil
}

func orDefault(value, fallback string) string {
	if value == "" {
		return fallback
	}
	return value
}

type app struct {
	message  string
	stopping atomic.Bool
}

func (a *app) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "%s\nversion %s\n", a.message, version)
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /readyz", a.ready)
	return mux
}

// ready refuses while the app shuts down, so that no new traffic is sent to it.
func (a *app) ready(w http.ResponseWriter, _ *http.Request) {
	if a.stopping.Load() {
		http.Error(w, "shutting down", http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}
