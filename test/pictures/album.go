package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/flux-autopilot/flux-operator/test/monitoring"
)

const (
	// steps is how many points a line has at most.
	steps = 120
	// scrapeInterval is how often the operator is scraped.
	scrapeInterval = 4 * time.Second
	// rateInterval is what rates are taken over; Grafana makes it four scrapes at least.
	rateInterval = 4 * scrapeInterval
)

// album asks Prometheus for what dashboards show of some time.
type album struct {
	prometheus *monitoring.Prometheus
	from, to   time.Time
}

// picture is a dashboard with its data.
type picture struct {
	monitoring.Dashboard

	// Digest is that of the dashboard.
	Digest string `json:"digest"`
	// From and To are the time that is shown, in Unix seconds.
	From float64 `json:"from"`
	To   float64 `json:"to"`
	// Step is how many seconds there are between two points.
	Step float64 `json:"step"`
	// Series are the answers to the queries: of each panel, those of each target.
	Series [][][]monitoring.Series `json:"series"`
}

// save writes a file for each dashboard.
func (a *album) save(ctx context.Context, dir string, dashboards []monitoring.Dashboard) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, dashboard := range dashboards {
		taken, err := a.take(ctx, dashboard)
		if err != nil {
			return fmt.Errorf("taking a picture of %q: %w", dashboard.Title, err)
		}
		data, err := json.Marshal(taken)
		if err != nil {
			return fmt.Errorf("writing the picture of %q: %w", dashboard.Title, err)
		}
		if err := os.WriteFile(filepath.Join(dir, dashboard.File), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (a *album) take(ctx context.Context, dashboard monitoring.Dashboard) (*picture, error) {
	digest, err := dashboard.Digest()
	if err != nil {
		return nil, err
	}
	step := (a.to.Sub(a.from) / steps).Truncate(time.Second) + time.Second
	taken := &picture{Dashboard: dashboard, Digest: digest, From: float64(a.from.Unix()), To: float64(a.to.Unix()), Step: step.Seconds()}
	for _, panel := range dashboard.Panels {
		var answers [][]monitoring.Series
		for _, target := range panel.Targets {
			query := target.QueryOver(rateInterval, a.to.Sub(a.from))
			ask := func() ([]monitoring.Series, error) { return a.prometheus.QueryRange(ctx, query, a.from, a.to, step) }
			if target.Instant {
				ask = func() ([]monitoring.Series, error) { return a.prometheus.Query(ctx, query) }
			}
			series, err := ask()
			if err != nil {
				return nil, fmt.Errorf("panel %q: %w", panel.Title, err)
			}
			answers = append(answers, drawable(series))
		}
		taken.Series = append(taken.Series, answers)
	}
	return taken, nil
}

// drawable leaves out what is no number, and says where the operator ran in place of the port by which it was scraped.
func drawable(all []monitoring.Series) []monitoring.Series {
	for i := range all {
		all[i].Samples = slices.DeleteFunc(all[i].Samples, func(sample monitoring.Sample) bool { return math.IsNaN(sample.Value) })
		if strings.HasPrefix(all[i].Labels["instance"], "127.0.0.1:") {
			all[i].Labels["instance"] = "flux-operator"
		}
	}
	return all
}
