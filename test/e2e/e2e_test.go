package e2e

import (
	. "github.com/onsi/ginkgo/v2"
)

// One container keeps the order: each part begins where the one before it ended, and says itself what it needs, so that it can also be run alone.
var _ = Describe("The operator", Ordered, func() {
	Context("installing", installing)
})
