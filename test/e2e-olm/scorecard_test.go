package e2eolm

import (
	"context"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/flux-autopilot/flux-operator/test/bundle"
)

func scoring() {
	It("passes all tests of operator-sdk scorecard, as pods", func(ctx context.Context) {
		scores, err := manager.Scorecard(ctx, versions.now)
		must(err)
		Expect(scores).To(HaveLen(len(bundle.ScorecardTests())))
		for _, score := range scores {
			Expect(score.State).To(Equal("pass"), "%s: %q", score.Name, score.Errors)
		}
	})
}
