package e2eolm

import (
	"context"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"

	"github.com/flux-autopilot/flux-operator/test/olm"
	"github.com/flux-autopilot/flux-operator/test/site"
)

const (
	// installLimit bounds what the lifecycle manager does with a Subscription, and the way of an instance to Ready; a quiet machine needs half a minute.
	installLimit = 6 * time.Minute
	// soonLimit bounds what takes a few requests.
	soonLimit = time.Minute
)

// here is the site that all specs work on, and manager the lifecycle manager in it; both are set once, before the first spec.
var (
	here    *site.Site
	manager *olm.Manager
)

func TestEndToEnd(t *testing.T) {
	site.RunSpecs(t, "Operator Lifecycle Manager")
}

var _ = BeforeSuite(func(ctx context.Context) {
	s, err := site.Up(ctx, site.Options{Name: "olm", Flux: []string{"2.9.4"}, Progress: GinkgoWriter})
	must(err)
	here = s
	DeferCleanup(func(ctx context.Context) { must(s.Down(ctx)) })
	manager, err = olm.Up(ctx, s)
	must(err)
	must(manager.Prepare(ctx))
	publish(ctx)
}, NodeTimeout(30*time.Minute))

var _ = JustAfterEach(func(ctx context.Context) {
	if CurrentSpecReport().Failed() {
		AddReportEntry("the cluster at this moment", here.Diagnosis(ctx)+manager.Diagnosis(ctx))
	}
})

// One container keeps the order: each part begins where the one before it ended.
var _ = Describe("The lifecycle manager", Ordered, func() {
	Context("scoring", scoring)
	Context("installing", installing)
	Context("configuring", configuring)
	Context("upgrading", upgrading)
	Context("refusing", refusing)
	Context("uninstalling", uninstalling)
})
