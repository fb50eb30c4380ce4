package e2e

import (
	"context"
	"os"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/test/olm"
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

// rightsVariable says whose rights the operator has: with "olm" it is those that the Operator Lifecycle Manager makes of the bundle, otherwise those of
// config/rbac.
const rightsVariable = "RIGHTS"

// here is the site that all specs work on and began is when it was ready; both are set once, before the first spec.
var (
	here  *site.Site
	began time.Time
)

func TestEndToEnd(t *testing.T) {
	site.RunSpecs(t, "End to end")
}

var _ = BeforeSuite(func(ctx context.Context) {
	lent := os.Getenv(rightsVariable) == "olm"
	name := "e2e"
	if lent {
		name += "-olm" // both can run at the same time
	}
	s, err := site.Up(ctx, site.Options{
		Name: name, StandIns: []string{"v2.2.3", "v2.6.4", "v2.8.8", "v2.9.4"}, APIServerArgs: mutatingPolicies(), Progress: GinkgoWriter,
	})
	must(err)
	here = s
	DeferCleanup(func(ctx context.Context) { must(s.Down(ctx)) })
	if lent {
		must(olm.Lend(ctx, s, "0.1.0"))
		// What the operator of the lifecycle manager left would spare this one a right that it needs.
		must(s.Delete(ctx, soonLimit, &v1.FluxReport{ObjectMeta: metav1.ObjectMeta{Namespace: site.Namespace, Name: v1.DefaultInstanceName}}))
	}
	began = time.Now()
	must(s.InstallOperator(ctx))
}, NodeTimeout(time.Hour)) // from an empty cache most of it is the compiler's

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
	Context("being contested", beingContested)
	Context("refusing", refusing)
	Context("serving", serving)
	Context("being watched", beingWatched)
	Context("reporting", reporting)
	Context("notifying", notifying)
	Context("uninstalling", uninstalling)
	Context("upgrading", upgrading)
	Context("following an artifact", followingAnArtifact)
	Context("trusting signatures", trustingSignatures)
	Context("in a closed network", inAClosedNetwork)
	Context("running everything", runningEverything)
	Context("on OpenShift", onOpenShift)
	Context("syncing from elsewhere", syncingFromElsewhere)
	Context("being killed", beingKilled)
	Context("migrating", migrating)
	Context("adopting", adopting)
	Context("saving and restoring", savingAndRestoring)
	Context("looking back", lookingBack)
	Context("losing its namespace", losingItsNamespace) // where nothing can be created any more: refusals are no surprise then
})
