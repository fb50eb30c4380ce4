// Command placeholder stands in for a Flux controller of which no program is to be had: whatever its arguments, it is healthy and does nothing.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const (
	headerTimeout   = 5 * time.Second
	shutdownTimeout = 5 * time.Second
)

// addresses are those that the probes of Flux's controllers ask.
func addresses() []string { return []string{":9440", ":9090"} }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx, addresses()); err != nil {
		slog.Error("placeholder failed", "error", err)
		os.Exit(1)
	}
}

// run answers every request well until ctx is done.
func run(ctx context.Context, addresses []string) error {
	server := &http.Server{
		ReadHeaderTimeout: headerTimeout,
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") }),
	}
	ended := make(chan error, len(addresses))
	var lc net.ListenConfig
	for _, address := range addresses {
		listener, err := lc.Listen(ctx, "tcp", address)
		if err != nil {
			return fmt.Errorf("listening: %w", err)
		}
		slog.Info("serving", "address", listener.Addr().String())
		go func() { ended <- server.Serve(listener) }()
	}
	select {
	case err := <-ended:
		return fmt.Errorf("serving: %w", err)
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	return server.Shutdown(ctx)
}
