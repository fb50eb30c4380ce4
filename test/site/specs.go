package site

import (
	"fmt"
	"testing"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
	"github.com/onsi/gomega"
)

// RunSpecs runs the specs of a suite and repeats at the very end what went wrong: between that and the moment it went wrong stands the state of a whole
// cluster, and who reads the end of a log alone would learn no more than a line number.
func RunSpecs(t *testing.T, title string) {
	t.Helper()
	gomega.RegisterFailHandler(ginkgo.Fail)
	var failures []string
	ginkgo.ReportAfterSuite("what went wrong", func(report ginkgo.Report) {
		for _, spec := range report.SpecReports.WithState(types.SpecStateFailureStates) {
			failures = append(failures, fmt.Sprintf("%s\n%s\n%s", spec.FullText(), spec.FailureLocation(), spec.FailureMessage()))
		}
	})
	ginkgo.RunSpecs(t, title)
	for _, failure := range failures {
		t.Log(failure)
	}
}
