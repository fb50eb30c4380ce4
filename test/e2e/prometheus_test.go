package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"

	"github.com/flux-autopilot/flux-operator/test/monitoring"
)

// prometheus scrapes the operator in the cluster as config/monitoring says, and evaluates its rules.
type prometheus struct{ *monitoring.Prometheus }

// startPrometheus installs what of config/monitoring a cluster without the Prometheus Operator takes, and runs a Prometheus that scrapes with
// its token. Alerts fire and clear after two seconds; nothing else of the rules is changed.
func startPrometheus(ctx context.Context) prometheus {
	GinkgoHelper()
	remove, err := monitoring.Install(ctx, here)
	must(err)
	DeferCleanup(func(ctx context.Context) { must(remove(ctx)) })
	rules, err := monitoring.Rules()
	must(err)
	p, err := monitoring.StartPrometheus(ctx, here, monitoring.PrometheusOptions{Dir: GinkgoT().TempDir(), Rules: rules.Impatient("2s"), Interval: time.Second})
	must(err)
	DeferCleanup(p.Close)
	return prometheus{p}
}

// follow points Prometheus at the pod that the operator runs in now.
func (p prometheus) follow(ctx context.Context) {
	GinkgoHelper()
	must(p.Follow(ctx))
}

func (p prometheus) awaitData(ctx context.Context, query string) {
	GinkgoHelper()
	must(p.AwaitData(ctx, soonLimit, query))
}

// fires waits until an alert fires with the given labels among its own, written name=value.
func (p prometheus) fires(ctx context.Context, alert string, labels ...string) {
	GinkgoHelper()
	eventually(ctx, installLimit, alert+" to fire", func(ctx context.Context) error {
		all, err := p.Firing(ctx)
		for _, one := range all[alert] {
			if has(one, labels) {
				return nil
			}
		}
		return errors.Join(err, fmt.Errorf("these fire: %v", all))
	})
}

// clears waits until none of some alerts fires, or no alert at all if none is named.
func (p prometheus) clears(ctx context.Context, alerts ...string) {
	GinkgoHelper()
	eventually(ctx, installLimit, strings.Join(alerts, ", ")+" to clear", func(ctx context.Context) error {
		all, err := p.Firing(ctx)
		if err != nil {
			return err
		}
		if len(alerts) == 0 && len(all) > 0 {
			return fmt.Errorf("these fire: %v", all)
		}
		for _, alert := range alerts {
			if len(all[alert]) > 0 {
				return fmt.Errorf("these fire: %v", all)
			}
		}
		return nil
	})
}

func has(labels map[string]string, wanted []string) bool {
	for _, one := range wanted {
		name, value, _ := strings.Cut(one, "=")
		if labels[name] != value {
			return false
		}
	}
	return true
}
