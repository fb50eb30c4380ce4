package main

import (
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

func someReport() *v1.FluxReport {
	hour := metav1.NewTime(time.Now().Add(-time.Hour))
	return &v1.FluxReport{
		Spec: v1.FluxReportSpec{
			Distribution: v1.FluxDistributionStatus{Entitlement: "Unknown", Status: "Installed", Version: "v2.9.3", ManagedBy: "flux-operator"},
			Cluster:      &v1.ClusterInfo{ServerVersion: "v1.36.3", Platform: "linux/amd64", Nodes: 3},
			Operator:     &v1.OperatorInfo{Version: "1.2.3"},
			Upgrade:      &v1.FluxUpgradeStatus{Running: "2.9.3", Elected: "2.9.3", Available: "2.9.4", Message: "the range excludes it"},
			ComponentsStatus: []v1.FluxComponentStatus{
				{Name: "helm-controller", Status: "InProgress Available: 0/1", Cause: "ImagePullBackOff: no such image", Image: "x/helm-controller:v1"},
				{Name: "source-controller", Ready: true, Status: "Current", Image: "x/source-controller:v1"},
			},
			ReconcilersStatus: []v1.FluxReconcilerStatus{
				{Kind: "Bucket"},
				{Kind: "GitRepository", Stats: v1.FluxReconcilerStats{Running: 12, Failing: 1, Suspended: 2, TotalSize: "1.5 MiB"}},
			},
			Failing: []v1.FluxFailingObject{{
				FluxObjectReference: v1.FluxObjectReference{Kind: "GitRepository", Namespace: "apps", Name: "shop"}, Reason: "GitOperationFailed", Message: "no\nroute", Since: &hour,
			}},
			Stale: []v1.FluxReportPart{{Part: "cluster", Message: "forbidden", Since: hour}},
		},
		Status: v1.FluxReportStatus{Conditions: []metav1.Condition{{Type: "Ready", Status: metav1.ConditionFalse, Message: "Some parts of the report are old"}}},
	}
}

func TestReportTable(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	table := &reportTable{out: &out}
	table.write(someReport())
	want := `Flux      v2.9.3 Installed, managed by flux-operator
Upgrade   running 2.9.3, elected 2.9.3, available 2.9.4: the range excludes it
Cluster   Kubernetes v1.36.3 on linux/amd64, 3 nodes
Operator  1.2.3
Report    Some parts of the report are old

CONTROLLER         READY  STATUS                           IMAGE
helm-controller    no     ImagePullBackOff: no such image  x/helm-controller:v1
source-controller  yes    Current                          x/source-controller:v1

KIND           RUNNING  FAILING  SUSPENDED  SIZE
GitRepository  12       1        2          1.5 MiB

FAILING                  SINCE  REASON              MESSAGE
GitRepository/apps/shop  60m    GitOperationFailed  no route

OLD PART  SINCE  WHY
cluster   60m    forbidden
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("the table (-want +got):\n%s", diff)
	}
}

func TestColoursTakeNoRoom(t *testing.T) {
	t.Parallel()
	var coloured, bare strings.Builder
	(&reportTable{out: &coloured, coloured: true}).write(someReport())
	(&reportTable{out: &bare}).write(someReport())
	stripped := coloured.String()
	for _, code := range []string{bold, green, red, yellow, reset} {
		if !strings.Contains(stripped, code) {
			t.Errorf("the colour %q is not used", code)
		}
		stripped = strings.ReplaceAll(stripped, code, "")
	}
	if diff := cmp.Diff(bare.String(), stripped); diff != "" {
		t.Errorf("without its colours the table is another (-want +got):\n%s", diff)
	}
}

func TestMessagesDoNotSteerTheTerminal(t *testing.T) {
	t.Parallel()
	report := someReport()
	report.Spec.Failing[0].Message = "\x1b[2Jall is well\u009b1A\u202e…"
	report.Spec.ComponentsStatus[0].Image = "\x1b]0;title\ax"
	var out strings.Builder
	(&reportTable{out: &out}).write(report)
	for _, r := range out.String() {
		if r != '\n' && !unicode.IsPrint(r) {
			t.Errorf("%q reaches the terminal", r)
		}
	}
	if !strings.Contains(out.String(), "all is well") {
		t.Error("what can be read is missing")
	}
}

func TestReportRefusesWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	err := reportOptions{output: "xml", timeout: -1}.run(t.Context(), nil, nil)
	for _, want := range []string{`--output: "xml" is not known`, "--timeout"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}
