// Command pictures lives through some minutes of Flux on the testbed, with a real Prometheus beside it, and writes down what every panel of the
// Grafana dashboards in config/monitoring has to show of them. The tool tools/pictures draws it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/flux-autopilot/flux-operator/test/monitoring"
	"github.com/flux-autopilot/flux-operator/test/site"
)

func main() {
	out := flag.String("out", "dist/pictures", "folder for a file of data for each dashboard")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := run(ctx, *out)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "pictures:", err)
		os.Exit(1)
	}
}

// run takes the site down again whatever happens.
func run(ctx context.Context, out string) (err error) {
	dashboards, err := monitoring.Dashboards()
	if err != nil {
		return err
	}
	rules, err := monitoring.Rules()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "pictures-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s, err := site.Up(ctx, site.Options{Name: "pictures"})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Down(ctx)) }()
	if err := s.InstallOperator(ctx); err != nil {
		return err
	}
	if _, err := monitoring.Install(ctx, s); err != nil { // it goes with the site
		return err
	}
	p, err := monitoring.StartPrometheus(ctx, s, monitoring.PrometheusOptions{Dir: dir, Rules: rules, Interval: scrapeInterval})
	if err != nil {
		return err
	}
	defer p.Close(ctx)
	began := time.Now()
	if err := (&story{Site: s}).tell(ctx); err != nil {
		return fmt.Errorf("%w\n%s", err, s.Diagnosis(ctx))
	}
	return (&album{prometheus: p, from: began, to: time.Now()}).save(ctx, out, dashboards)
}
