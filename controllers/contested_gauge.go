package controllers

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flux-autopilot/flux-operator/pkg/apply"
)

// contestedGauge serves which objects are contested, all of them as of one moment: a scrape never sees a part of a change, as it would if series
// were taken away and set again.
type contestedGauge struct {
	desc *prometheus.Desc
	now  atomic.Pointer[[]prometheus.Metric]
}

func newContestedGauge(registry prometheus.Registerer) *contestedGauge {
	g := &contestedGauge{desc: prometheus.NewDesc(
		"flux_operator_contested_objects",
		"1 for each object that somebody keeps changing and that is not put back for a while.",
		[]string{"kind", "namespace", "name", "manager"}, nil,
	)}
	registry.MustRegister(g)
	return g
}

// set replaces what is served. The contender that wrote last comes first.
func (g *contestedGauge) set(contested map[apply.ID][]apply.Contender) {
	series := make([]prometheus.Metric, 0, len(contested))
	for id, by := range contested {
		manager := apply.Somebody
		if len(by) > 0 {
			manager = by[0].Manager
		}
		series = append(series, prometheus.MustNewConstMetric(g.desc, prometheus.GaugeValue, 1, id.Kind, id.Namespace, id.Name, manager))
	}
	g.now.Store(&series)
}

// Describe implements prometheus.Collector.
func (g *contestedGauge) Describe(out chan<- *prometheus.Desc) { out <- g.desc }

// Collect implements prometheus.Collector.
func (g *contestedGauge) Collect(out chan<- prometheus.Metric) {
	if series := g.now.Load(); series != nil {
		for _, one := range *series {
			out <- one
		}
	}
}
