package controllers

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

var (
	// driftCorrections counts how often owned objects were put back. Their names are those of a release, which are few.
	driftCorrections = promauto.With(metrics.Registry).NewCounterVec(prometheus.CounterOpts{
		Name: "flux_operator_drift_corrections_total",
		Help: "How often an object was put back after somebody changed or deleted it.",
	}, []string{"kind", "namespace", "name"})

	// contestedObjects has one series for each object that is contested now, with the field manager that wrote last.
	contestedObjects = newContestedGauge(metrics.Registry)

	// upgradeDuration measures the passes that changed Flux as a whole. The action is one of three, the outcome too.
	upgradeDuration = promauto.With(metrics.Registry).NewHistogramVec(prometheus.HistogramOpts{
		Name:    "flux_operator_upgrade_duration_seconds",
		Help:    "How long passes took that installed, upgraded or reconfigured Flux, from reading the distribution until everything was healthy or the pass failed.",
		Buckets: []float64{1, 2.5, 5, 10, 20, 40, 60, 120, 300, 600, 1200},
	}, []string{"action", "outcome"})

	// lastUpgrade tells when Flux was changed as a whole for the last time, by outcome: the newer one is what happened last.
	lastUpgrade = promauto.With(metrics.Registry).NewGaugeVec(prometheus.GaugeOpts{
		Name: "flux_operator_last_upgrade_timestamp_seconds",
		Help: "When a pass ended last that installed, upgraded or reconfigured Flux, by outcome, in Unix time.",
	}, []string{"outcome"})

	// lastUpgradeSuccess is absent until there was an upgrade to tell of.
	lastUpgradeSuccess = promauto.With(metrics.Registry).NewGaugeVec(prometheus.GaugeOpts{
		Name: "flux_operator_last_upgrade_success",
		Help: "1 if the last pass that installed, upgraded or reconfigured Flux succeeded, else 0.",
	}, nil)

	// artifactChecked tells how old what is known of the artifact is. It is absent where no artifact is named.
	artifactChecked = promauto.With(metrics.Registry).NewGaugeVec(prometheus.GaugeOpts{
		Name: "flux_operator_artifact_checked_timestamp_seconds",
		Help: "When the registry said last which distribution artifact there is, in Unix time.",
	}, nil)

	// forwardedEvents counts what became of the events for notification-controller: sent, repeated (known there or here), refused, expired, overflow.
	forwardedEvents = promauto.With(metrics.Registry).NewCounterVec(prometheus.CounterOpts{
		Name: "flux_operator_forwarded_events_total",
		Help: "Events by what became of forwarding them to notification-controller.",
	}, []string{"outcome"})
)
