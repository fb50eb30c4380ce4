package monitoring

import (
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	_ "github.com/flux-autopilot/flux-operator/controllers" // registers its metrics
	"github.com/flux-autopilot/flux-operator/pkg/artifact"
	"github.com/flux-autopilot/flux-operator/pkg/report"
)

// description is how client_golang prints what a metric is called.
var description = regexp.MustCompile(`^Desc\{fqName: "([^"]+)", .*, variableLabels: \{([^}]*)\}\}$`)

// served are the metrics that the operator serves, with their labels: of the registry that the process serves, of the cache of tokens, and of the
// collector of Flux's objects. It asks for the descriptions, because a metric without a value is served as well.
func served(t *testing.T) map[string][]string {
	t.Helper()
	observer, err := report.NewObserver(&rest.Config{Host: "127.0.0.1:0"}, http.DefaultClient, report.ObserverOptions{})
	if err != nil {
		t.Fatal(err)
	}
	registry, ok := metrics.Registry.(prometheus.Collector)
	if !ok {
		t.Fatalf("the registry is a %T, which describes nothing", metrics.Registry)
	}
	tokens := prometheus.NewRegistry()
	if _, err := artifact.NewClouds(nil, artifact.TokenMetrics(tokens)...); err != nil {
		t.Fatal(err)
	}
	found := map[string][]string{}
	for _, collector := range []prometheus.Collector{registry, tokens, report.NewCollector(observer, report.CollectorOptions{})} {
		descriptions := make(chan *prometheus.Desc)
		go func() {
			defer close(descriptions)
			collector.Describe(descriptions)
		}()
		for d := range descriptions {
			parts := description.FindStringSubmatch(d.String())
			if parts == nil {
				t.Fatalf("%s does not read as a description", d)
			}
			found[parts[1]] = nil
			if parts[2] != "" {
				found[parts[1]] = strings.Split(parts[2], ",")
			}
		}
	}
	return found
}

func TestServed(t *testing.T) {
	all := served(t)
	for name, label := range map[string]string{
		"flux_resource_info": "source_name", "flux_operator_contested_objects": "manager", "controller_runtime_reconcile_total": "controller",
	} {
		if !strings.Contains(strings.Join(all[name], " "), label) {
			t.Errorf("%s has the labels %q, want %q among them", name, all[name], label)
		}
	}
	if len(all) < 30 {
		t.Errorf("%d metrics were found; Go's and the process's own are missing", len(all))
	}
}

// TestDocumented checks the table of docs/monitoring.md: every metric of the operator's own has a row with its labels.
func TestDocumented(t *testing.T) {
	page, err := os.ReadFile(at(t, "docs", "monitoring.md"))
	if err != nil {
		t.Fatal(err)
	}
	own := 0
	for name, labels := range served(t) {
		if !strings.HasPrefix(name, "flux_") {
			continue
		}
		own++
		row := regexp.MustCompile("(?m)^\\| `" + name + "` \\|(.*)\\|(.*)\\|$").FindSubmatch(page)
		if row == nil {
			t.Errorf("docs/monitoring.md has no row for %s", name)
			continue
		}
		for _, label := range labels {
			if !strings.Contains(string(row[1]), "`"+label+"`") {
				t.Errorf("docs/monitoring.md: the row of %s does not have the label %s", name, label)
			}
		}
	}
	if rows := strings.Count(string(page), "\n| `flux_"); rows != own {
		t.Errorf("docs/monitoring.md has %d rows of metrics, the operator %d metrics", rows, own)
	}
}
