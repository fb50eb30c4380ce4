package e2e

import (
	"context"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/flux-autopilot/flux-operator/test/site"
)

const (
	// installLimit bounds the way from an applied or changed instance to Ready; a quiet machine needs a tenth of it.
	installLimit = 2 * time.Minute
	// soonLimit bounds what takes a few requests or a rollout of the sample app.
	soonLimit = time.Minute
	// uninstallLimit bounds the way from deleting the instance to its end.
	uninstallLimit = 2 * time.Minute
	// driftLimit is how soon a change by somebody has to be put back.
	driftLimit = 5 * time.Second
)

// here is the site that all specs work on and began is when it was ready; both are set once, before the first spec.
var (
	here  *site.Site
	began time.Time
)

func TestEndToEnd(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "End to end")
}

var _ = BeforeSuite(func(ctx context.Context) {
	began = time.Now()
	s, err := site.Up(ctx, site.Options{Name: "e2e", APIServerArgs: mutatingPolicies(), Progress: GinkgoWriter})
	must(err)
	here = s
	DeferCleanup(func(ctx context.Context) { must(s.Down(ctx)) })
	must(s.InstallOperator(ctx, site.QuickElection()))
}, NodeTimeout(30*time.Minute))

var _ = JustAfterEach(func(ctx context.Context) {
	if CurrentSpecReport().Failed() {
		AddReportEntry("the cluster at this moment", here.Diagnosis(ctx))
	}
})

// One container keeps the order: each part begins where the one before it ended, and says itself what it needs, so that it can also be run alone.
var _ = Describe("The operator", Ordered, func() {
	Context("installing", installing)
	Context("changing", changing)
	Context("correcting drift", correcting)
	Context("refusing", refusing)
	Context("serving", serving)
	Context("uninstalling", uninstalling)
	Context("upgrading", upgrading)
	Context("following an artifact", followingAnArtifact)
	Context("trusting signatures", trustingSignatures)
	Context("in a closed network", inAClosedNetwork)
	Context("running everything", runningEverything)
	Context("on OpenShift", onOpenShift)
	Context("syncing from elsewhere", syncingFromElsewhere)
	Context("being killed", beingKilled)
	Context("looking back", lookingBack)
})
