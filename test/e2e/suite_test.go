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
	// installLimit bounds the way from an applied instance to Ready; a quiet machine needs a tenth of it.
	installLimit = 2 * time.Minute
	// changeLimit bounds everything that follows from a change of the instance.
	changeLimit = 2 * time.Minute
	// soonLimit bounds what takes a request or two.
	soonLimit = 30 * time.Second
	// uninstallLimit bounds the way from deleting the instance to its end.
	uninstallLimit = 2 * time.Minute
)

// here is the site that all specs work on; it is set once, before the first of them.
var here *site.Site

func TestEndToEnd(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "end to end")
}

var _ = BeforeSuite(func(ctx context.Context) {
	s, err := site.Up(ctx, site.Options{Name: "e2e", Progress: GinkgoWriter})
	Expect(err).NotTo(HaveOccurred())
	here = s
	DeferCleanup(func(ctx context.Context) { Expect(s.Down(ctx)).To(Succeed()) })
	Expect(s.InstallOperator(ctx, site.QuickElection())).To(Succeed())
}, NodeTimeout(30*time.Minute))

var _ = JustAfterEach(func(ctx context.Context) {
	if CurrentSpecReport().Failed() && here != nil {
		AddReportEntry("what the cluster looks like", here.Diagnosis(ctx))
	}
})
