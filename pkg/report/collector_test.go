package report

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/rest"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// scrape returns the series of a registry as lines of text, sorted.
func scrape(tb testing.TB, collector prometheus.Collector) []string {
	tb.Helper()
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(collector); err != nil {
		tb.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		tb.Fatal(err)
	}
	var lines []string
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			var labels []string
			for _, label := range metric.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", label.GetName(), label.GetValue()))
			}
			lines = append(lines, fmt.Sprintf("%s{%s} %v", family.GetName(), strings.Join(labels, ","), metric.GetGauge().GetValue()))
		}
	}
	slices.Sort(lines)
	return lines
}

// only returns the lines of a metric.
func only(lines []string, metric string) []string {
	return slices.DeleteFunc(slices.Clone(lines), func(line string) bool { return !strings.HasPrefix(line, metric+"{") })
}

// observerOf is an observer that saw a recording.
func observerOf(tb testing.TB, r *recording) *Observer {
	tb.Helper()
	snapshot, _ := r.play(tb)
	o := &Observer{store: newStore()}
	o.store.snapshot = snapshot
	return o
}

func TestCollect(t *testing.T) {
	r := load(t, "testdata/compute/healthy.in.yaml")
	r.Failing = []string{"HelmRelease"}
	r.Objects = append(r.Objects,
		json.RawMessage(`{"kind":"HelmRelease","metadata":{"name":"bad","namespace":"apps","uid":"u"},"spec":{"suspend":true},"status":{"conditions":[{"type":"Ready","status":"False","reason":"UpgradeFailed"}]}}`))
	collector := NewCollector(observerOf(t, r), CollectorOptions{
		Operator:   v1.OperatorInfo{Version: "1.0.0", APIVersion: "fluxcd.controlplane.io/v1", Platform: "linux/amd64"},
		Components: func() []Component { return r.inputs().Components.Value[:2] },
		Upgrade:    func() *v1.FluxUpgradeStatus { return &v1.FluxUpgradeStatus{Running: "v2.9.3", Available: "v2.9.4"} },
	})
	want := []string{
		`flux_component_ready{name="kustomize-controller"} 1`,
		`flux_component_ready{name="source-controller"} 1`,
		`flux_instance_info{exported_namespace="flux-system",kind="FluxInstance",name="flux",ready="True",reason="ReconciliationSucceeded",registry="ghcr.io/fluxcd",revision="v2.9.4@sha256:abc",suspended="False",uid="uid-flux"} 1`,
		`flux_kind_observed{api_version="apiextensions.k8s.io/v1",kind="CustomResourceDefinition"} 1`,
		`flux_kind_observed{api_version="fluxcd.controlplane.io/v1",kind="FluxInstance"} 1`,
		`flux_kind_observed{api_version="helm.toolkit.fluxcd.io/v2",kind="HelmRelease"} 0`,
		`flux_kind_observed{api_version="kustomize.toolkit.fluxcd.io/v1",kind="Kustomization"} 1`,
		`flux_kind_observed{api_version="notification.toolkit.fluxcd.io/v1beta3",kind="Alert"} 1`,
		`flux_kind_observed{api_version="source.toolkit.fluxcd.io/v1",kind="GitRepository"} 1`,
		`flux_kind_observed{api_version="source.toolkit.fluxcd.io/v1",kind="HelmRepository"} 1`,
		`flux_newer_release_available{} 1`,
		`flux_objects{kind="Alert",ready="True",reason="",suspended="False"} 1`,
		`flux_objects{kind="FluxInstance",ready="True",reason="ReconciliationSucceeded",suspended="False"} 1`,
		`flux_objects{kind="GitRepository",ready="True",reason="Succeeded",suspended="False"} 1`,
		`flux_objects{kind="HelmRelease",ready="False",reason="UpgradeFailed",suspended="True"} 1`,
		`flux_objects{kind="HelmRepository",ready="True",reason="",suspended="False"} 1`,
		`flux_objects{kind="Kustomization",ready="True",reason="ReconciliationSucceeded",suspended="False"} 1`,
		`flux_operator_info{api_version="fluxcd.controlplane.io/v1",platform="linux/amd64",version="1.0.0"} 1`,
		`flux_operator_series_dropped{} 0`,
		`flux_resource_info{exported_namespace="apps",kind="Alert",name="slack",path="",ready="True",reason="",ref="",revision="",source_name="",suspended="False",uid="uid-slack",url=""} 1`,
		`flux_resource_info{exported_namespace="apps",kind="HelmRelease",name="bad",path="",ready="False",reason="UpgradeFailed",ref="",revision="",source_name="",suspended="True",uid="u",url=""} 1`,
		`flux_resource_info{exported_namespace="apps",kind="HelmRepository",name="podinfo",path="",ready="True",reason="",ref="",revision="",source_name="",suspended="False",uid="uid-podinfo",url="oci://ghcr.io/stefanprodan/charts"} 1`,
		`flux_resource_info{exported_namespace="flux-system",kind="GitRepository",name="flux-system",path="",ready="True",reason="Succeeded",ref="refs/heads/main",revision="main@sha1:abc",source_name="",suspended="False",uid="uid-flux-system",url="https://github.com/acme/fleet"} 1`,
		`flux_resource_info{exported_namespace="flux-system",kind="Kustomization",name="flux-system",path="clusters/prod",ready="True",reason="ReconciliationSucceeded",ref="",revision="main@sha1:abc",source_name="flux-system",suspended="False",uid="uid-flux-system",url=""} 1`,
	}
	if diff := cmp.Diff(want, scrape(t, collector)); diff != "" {
		t.Errorf("(-want +got) %s", diff)
	}
}

func TestCollectNewerRelease(t *testing.T) {
	r := load(t, "testdata/compute/healthy.in.yaml")
	for want, upgrade := range map[string]*v1.FluxUpgradeStatus{
		"":                                 nil,
		" ":                                {Available: "v2.9.4"},
		"flux_newer_release_available{} 0": {Running: "v2.9.4", Available: "v2.9.4"},
		"flux_newer_release_available{} 1": {Running: "v2.8.8", Available: "v2.9.4"},
	} {
		collector := NewCollector(observerOf(t, r), CollectorOptions{Upgrade: func() *v1.FluxUpgradeStatus { return upgrade }})
		if got := strings.Join(only(scrape(t, collector), "flux_newer_release_available"), "\n"); got != strings.TrimSpace(want) {
			t.Errorf("%+v: got %q, want %q", upgrade, got, want)
		}
	}
}

func TestCollectAllowedLabels(t *testing.T) {
	r := load(t, "testdata/compute/healthy.in.yaml")
	lines := scrape(t, NewCollector(observerOf(t, r), CollectorOptions{Labels: []string{"ready", "path"}}))
	want := `flux_resource_info{exported_namespace="flux-system",kind="Kustomization",name="flux-system",path="clusters/prod",ready="True"} 1`
	if !slices.Contains(lines, want) {
		t.Errorf("%s is not among\n%s", want, strings.Join(lines, "\n"))
	}
	// A definition of somebody else whose kind has the same name must not break the scrape.
	foreign := strings.NewReplacer("kustomize.toolkit.fluxcd.io", "zzz.example.com").Replace(string(r.Definitions[2]))
	r.Definitions = append(r.Definitions, json.RawMessage(foreign))
	lines = scrape(t, NewCollector(observerOf(t, r), CollectorOptions{Labels: []string{}}))
	if got := only(lines, "flux_kind_observed"); len(got) != len(r.Definitions)+1 {
		t.Errorf("%d kinds, want %d and the definitions themselves", len(got), len(r.Definitions))
	}
}

func TestCollectBounded(t *testing.T) {
	r := load(t, "testdata/compute/failing.in.yaml")
	lines := scrape(t, NewCollector(observerOf(t, r), CollectorOptions{MaxSeries: 15}))
	got := append(only(lines, "flux_resource_info"), only(lines, "flux_instance_info")...)
	if len(got) != 15 {
		t.Errorf("%d series, want 15", len(got))
	}
	failing := 0
	for _, line := range got {
		if strings.Contains(line, `ready="False"`) {
			failing++
		}
	}
	if failing < 14 { // twelve releases, a source and a Kustomization
		t.Errorf("%d failing objects have series, want all of them:\n%s", failing, strings.Join(got, "\n"))
	}
	want := fmt.Sprintf("flux_operator_series_dropped{} %d", len(r.Objects)-15)
	if !slices.Contains(lines, want) {
		t.Errorf("%s is not among\n%s", want, strings.Join(only(lines, "flux_operator_series_dropped"), "\n"))
	}
	fewest := scrape(t, NewCollector(observerOf(t, r), CollectorOptions{MaxSeries: 1}))
	if len(only(fewest, "flux_instance_info")) != 1 || len(only(fewest, "flux_resource_info")) != 0 {
		t.Errorf("the only series is not that of the instance, which is ready: %s", strings.Join(fewest, "\n"))
	}
	if again := scrape(t, NewCollector(observerOf(t, r), CollectorOptions{MaxSeries: 15})); cmp.Diff(lines, again) != "" {
		t.Errorf("other objects have series in another scrape: %s", cmp.Diff(lines, again))
	}
}

func TestCollectManyReasons(t *testing.T) {
	o, at := stocked(t, 0)
	for i := range 3 * reasonLimit {
		found := read(t, realistic(i+1))
		found.ready = readyTrue
		found.reason = symbolOf(fmt.Sprintf("Reason%d", i))
		o.store.put(at, found)
	}
	lines := only(scrape(t, NewCollector(o, CollectorOptions{})), "flux_objects")
	if len(lines) != reasonLimit+1 {
		t.Errorf("%d states, want %d", len(lines), reasonLimit+1)
	}
	for i := range 3 { // each change has the objects in another order
		o.store.put(at, read(t, realistic(i+1)))
		changed := read(t, realistic(i+1))
		changed.ready, changed.reason = readyTrue, symbolOf(fmt.Sprintf("Reason%d", i))
		o.store.put(at, changed)
		if diff := cmp.Diff(lines, only(scrape(t, NewCollector(o, CollectorOptions{})), "flux_objects")); diff != "" {
			t.Fatalf("another scrape of the same state tells other reasons apart (-want +got): %s", diff)
		}
	}
}

// TestCollectBlind has no definitions: those who watch nothing say nothing, those who cannot say so.
func TestCollectBlind(t *testing.T) {
	const series = `flux_kind_observed{api_version="apiextensions.k8s.io/v1",kind="CustomResourceDefinition"}`
	o := &Observer{store: newStore()}
	for _, c := range []struct {
		want   string
		health Health
	}{
		{"", Health{}},
		{series + " 0", Health{Failing: time.Now(), Problem: "forbidden"}},
		{series + " 1", Health{Observed: true}},
		{series + " 1", Health{Observed: true, Failing: time.Now(), Problem: "restarts"}}, // the report does not tell of it either
		{series + " 0", Health{Observed: true, Failing: time.Now().Add(-patience), Problem: "restarts"}},
	} {
		if c.health != (Health{}) {
			o.store.sought(byLabel, func(Health) Health { return c.health })
		}
		if got := strings.Join(only(scrape(t, NewCollector(o, CollectorOptions{})), "flux_kind_observed"), "\n"); got != c.want {
			t.Errorf("%+v: got %q, want %q", c.health, got, c.want)
		}
	}
}

// TestCollectWhereItLeads has an observer that reaches nobody: that it watches, as the replica does that leads, shows from the start.
func TestCollectWhereItLeads(t *testing.T) {
	observer, err := NewObserver(&rest.Config{Host: "http://127.0.0.1:1"}, nil, ObserverOptions{})
	if err != nil {
		t.Fatal(err)
	}
	const series = `flux_kind_observed{api_version="apiextensions.k8s.io/v1",kind="CustomResourceDefinition"} 0`
	collector := NewCollector(observer, CollectorOptions{})
	if got := only(scrape(t, collector), "flux_kind_observed"); len(got) != 0 {
		t.Fatalf("got %q before it watches", got)
	}
	<-observer.Changes() // it was made
	ctx, end := context.WithTimeout(t.Context(), time.Minute)
	done := make(chan error, 1)
	go func() { done <- observer.Start(ctx) }()
	defer func() {
		end()
		<-done
	}()
	select {
	case <-observer.Changes():
	case <-ctx.Done():
		t.Fatal(ctx.Err())
	}
	if got := strings.Join(only(scrape(t, collector), "flux_kind_observed"), "\n"); got != series {
		t.Errorf("got %q, want %q", got, series)
	}
}

func TestLabelNames(t *testing.T) {
	for _, name := range LabelNames() {
		if slices.Contains(identifying(), name) {
			t.Errorf("%s is there always", name)
		}
	}
	want := []string{"path", "ready", "reason", "ref", "registry", "resources", "revision", "source_name", "suspended", "uid", "url"}
	if diff := cmp.Diff(want, LabelNames()); diff != "" {
		t.Errorf("(-want +got) %s", diff)
	}
}

// stocked is an observer that saw a number of realistic objects, and where to put more.
func stocked(tb testing.TB, n int) (*Observer, slot) {
	tb.Helper()
	o := &Observer{store: newStore()}
	o.store.defined(kustomizations())
	at := o.store.open(kustomizations().Name)
	o.store.replace(at, nil)
	for i := range n {
		o.store.put(at, read(tb, realistic(i)))
	}
	return o, at
}

func read(tb testing.TB, object string) *record {
	tb.Helper()
	found, err := objectReader(kustomizations(), DefaultShardKey)(json.NewDecoder(strings.NewReader(object)))
	if err != nil {
		tb.Fatal(err)
	}
	return found.value
}

// TestScrapesAreConsistent scrapes while ten thousand changes and a few relists happen. Each scrape must show all objects, and the sums must be those
// of the single objects in the same scrape.
func TestScrapesAreConsistent(t *testing.T) {
	const objects, changes = 1_000, 10_000
	o, at := stocked(t, objects)
	records := make([]*record, 0, objects)
	for i := range objects {
		records = append(records, read(t, realistic(i)))
	}
	var writing sync.WaitGroup
	var scrapes atomic.Int64
	done := make(chan struct{})
	writing.Go(func() {
		defer close(done)
		for i := 0; i < changes || scrapes.Load() < 30 && !t.Failed(); i++ {
			changed := *records[i%objects]
			changed.ready = readiness(i / objects % 3)
			records[i%objects] = &changed
			if i%1000 == 999 {
				o.store.replace(at, slices.Clone(records))
				continue
			}
			o.store.put(at, &changed)
		}
	})
	defer writing.Wait()
	collector := NewCollector(o, CollectorOptions{})
	states := map[string]bool{}
	for finished := false; !finished; scrapes.Add(1) {
		select {
		case <-done:
			finished = true
		default:
		}
		lines := scrape(t, collector)
		single := map[string]int{}
		for _, line := range only(lines, "flux_resource_info") {
			_, rest, _ := strings.Cut(line, `ready="`)
			ready, _, _ := strings.Cut(rest, `"`)
			single[ready]++
		}
		summed := map[string]int{}
		for _, line := range only(lines, "flux_objects") {
			_, rest, _ := strings.Cut(line, `ready="`)
			ready, _, _ := strings.Cut(rest, `"`)
			count := 0
			if _, err := fmt.Sscan(line[strings.LastIndexByte(line, ' ')+1:], &count); err != nil {
				t.Fatal(err)
			}
			summed[ready] += count
		}
		total := 0
		for _, n := range single {
			total += n
		}
		if total != objects || !maps.Equal(single, summed) {
			t.Fatalf("a scrape shows %d objects, %v as single ones and %v in sums", total, single, summed)
		}
		states[fmt.Sprint(single)] = true
	}
	if len(states) < 3 {
		t.Errorf("%d scrapes saw %d states: the changes were not under way", scrapes.Load(), len(states))
	}
	t.Logf("%d scrapes, %d states", scrapes.Load(), len(states))
}
