package controllers

import (
	"errors"
	"time"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// Values of the labels action and outcome of metrics about upgrades.
const (
	actionInstall     = "install"
	actionUpgrade     = "upgrade"
	actionReconfigure = "reconfigure"

	outcomeSuccess  = "success"
	outcomeFailure  = "failure"
	outcomeCanceled = "canceled"
)

// action names what a pass changes of Flux as a whole; empty when it only keeps what runs, or never got as far as knowing.
func (run *attempt) action() string {
	switch {
	case run.revision.IsZero() || run.revision == run.previous:
		return ""
	case run.previous.IsZero():
		return actionInstall
	case run.previous.Version != run.revision.Version:
		return actionUpgrade
	default:
		return actionReconfigure
	}
}

// upgrades are what metrics tell of changes of Flux as a whole.
type upgrades struct{ told bool }

// note measures a pass that was to change Flux as a whole. After a start, the history says what happened last.
func (u *upgrades) note(instance *v1.FluxInstance, run *attempt, err error) {
	action := run.action()
	if action == "" {
		u.recall(instance)
		return
	}
	outcome, success := outcomeSuccess, 1.0
	switch {
	case errors.Is(err, errSuperseded):
		outcome, success = outcomeCanceled, 0
	case err != nil:
		outcome, success = outcomeFailure, 0
	}
	upgradeDuration.WithLabelValues(action, outcome).Observe(time.Since(run.started).Seconds())
	if outcome != outcomeCanceled { // what follows at once tells more
		lastUpgrade.WithLabelValues(outcome).SetToCurrentTime()
		lastUpgradeSuccess.WithLabelValues().Set(success)
		u.told = true
	}
}

// recall tells of an upgrade that an earlier process made.
func (u *upgrades) recall(instance *v1.FluxInstance) {
	latest := instance.Status.History.Latest()
	if latest == nil || u.told {
		return
	}
	outcome, success := outcomeFailure, 0.0
	if latest.LastReconciledStatus == v1.ReasonReconciliationSucceeded {
		outcome, success = outcomeSuccess, 1
	}
	lastUpgrade.WithLabelValues(outcome).Set(float64(latest.FirstReconciled.Unix()))
	lastUpgradeSuccess.WithLabelValues().Set(success)
	u.told = true
}

// forget ends what is told of an instance that is gone.
func (u *upgrades) forget() {
	lastUpgrade.Reset()
	lastUpgradeSuccess.Reset()
	u.told = false
}
