package olm

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// diagnoseLimit bounds the gathering of a diagnosis, which begins when the time of something else is over.
const diagnoseLimit = 20 * time.Second

// Diagnosis gathers what the lifecycle manager says when something does not come about. It works also when ctx is done.
func (m *Manager) Diagnosis(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), diagnoseLimit)
	defer cancel()
	var out strings.Builder
	for _, question := range [][]string{
		{"get", "catalogsources,subscriptions,installplans,clusterserviceversions,jobs", "-A", "-o", "wide"},
		{"get", "subscriptions", "-A", "-o", `jsonpath={range .items[*].status.conditions[*]}{.type}={.status} {.reason}: {.message}{"\n"}{end}`},
		{"-n", Namespace, "get", "events", "--sort-by=.lastTimestamp"},
		{"-n", Namespace, "logs", "deployment/catalog-operator", "--tail=30"},
		{"-n", Namespace, "logs", "deployment/olm-operator", "--tail=30"},
	} {
		answer, err := m.site.Cluster.Kubectl(ctx, "", question...)
		if err != nil && answer == "" {
			answer = err.Error()
		}
		fmt.Fprintf(&out, "--- kubectl %s\n%s\n", strings.Join(question, " "), answer)
	}
	return out.String()
}
