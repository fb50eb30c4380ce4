package controllers

import (
	"fmt"
	"strings"
	"testing"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/migrate"
)

// TestPendingAdoption: a survey that lists no more losses may have left some out, and the message does not tell otherwise.
func TestPendingAdoption(t *testing.T) {
	for losses, want := range map[int]string{
		1:                     "settings of 1 objects would be lost",
		migrate.MaxListed - 1: fmt.Sprintf("settings of %d objects would be lost", migrate.MaxListed-1),
		migrate.MaxListed:     fmt.Sprintf("settings of %d or more objects would be lost", migrate.MaxListed),
	} {
		adoption := &v1.AdoptionStatus{Objects: 50}
		for i := range losses {
			adoption.Losses = append(adoption.Losses, v1.AdoptionLoss{Object: fmt.Sprintf("ConfigMap/x/%d", i), Manager: "helm"})
		}
		if message := pending(adoption).Error(); !strings.Contains(message, want) {
			t.Errorf("%d losses: %s", losses, message)
		}
	}
}
