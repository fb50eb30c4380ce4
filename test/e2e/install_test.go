package e2e

import (
	"context"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

func installing() {
	It("installs the instance of the README", func(ctx context.Context) {
		instance, err := here.Sample()
		Expect(err).NotTo(HaveOccurred())
		Expect(here.Client.Create(ctx, instance)).To(Succeed())
		_, err = here.AwaitReady(ctx, installLimit)
		Expect(err).NotTo(HaveOccurred())
	})
}
