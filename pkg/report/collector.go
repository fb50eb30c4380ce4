package report

import (
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// DefaultMaxSeries is how many series of single objects a scrape holds at most, unless the options say otherwise.
const DefaultMaxSeries = 50_000

const (
	// reasonLimit is how many reasons of a kind are told apart; the others are counted as otherReasons.
	reasonLimit  = 50
	otherReasons = "Other"
)

// CollectorOptions tune a Collector.
type CollectorOptions struct {
	// Operator is what flux_operator_info says.
	Operator v1.OperatorInfo
	// Components returns the controllers as they are known, without a request. Nil for none.
	Components func() []Component
	// Upgrade returns which releases of Flux there are, without a request; nil while nobody knows. Nil for never.
	Upgrade func() *v1.FluxUpgradeStatus
	// Labels are those of the metrics of single objects that are wanted. Nil stands for all; kind, name and exported_namespace are there always, for
	// without them two objects would be one.
	Labels []string
	// MaxSeries is how many series of single objects a scrape holds at most. The objects that are ready go without first, and the FluxInstance
	// last. DefaultMaxSeries for 0.
	MaxSeries int
}

// Collector serves what an observer knows as metrics. Each scrape is one snapshot.
type Collector struct {
	observer  *Observer
	options   CollectorOptions
	families  map[string]*family // by kind of the operator; the empty one is for kinds of Flux
	objects   *prometheus.Desc
	observed  *prometheus.Desc
	operator  *prometheus.Desc
	component *prometheus.Desc
	newer     *prometheus.Desc
	dropped   *prometheus.Desc
}

// NewCollector makes a collector; a registry takes it.
func NewCollector(observer *Observer, options CollectorOptions) *Collector {
	if options.MaxSeries <= 0 {
		options.MaxSeries = DefaultMaxSeries
	}
	if options.Components == nil {
		options.Components = func() []Component { return nil }
	}
	if options.Upgrade == nil {
		options.Upgrade = func() *v1.FluxUpgradeStatus { return nil }
	}
	gauge := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return &Collector{
		observer:  observer,
		options:   options,
		families:  families(options.Labels),
		objects:   gauge("flux_objects", "The number of objects by kind and state.", "kind", "ready", "reason", "suspended"),
		observed:  gauge("flux_kind_observed", "Whether what is known of a kind is up to date: 1, or 0 while it cannot be watched.", "api_version", "kind"),
		operator:  gauge("flux_operator_info", "The operator, with the value 1.", "version", "api_version", "platform"),
		component: gauge("flux_component_ready", "Whether a controller of Flux is ready.", "name"),
		newer:     gauge("flux_newer_release_available", "Whether the distribution has a newer release of Flux than the one that runs."),
		dropped:   gauge("flux_operator_series_dropped", "The number of objects without a series of their own in this scrape, because there are too many."),
	}
}

// families are the metrics of single objects with those of their labels that are wanted.
func families(wanted []string) map[string]*family {
	shared := func(name string, value func(string, *record) string) label { return label{name: name, value: value} }
	revision := shared("revision", func(_ string, o *record) string { return o.revision.Value() })
	url := func(name string) label {
		return shared(name, func(_ string, o *record) string { return o.url.Value() })
	}
	all := map[string]*family{}
	add := func(kind, name, help string, labels ...label) {
		all[kind] = newFamily(name, help, slices.DeleteFunc(append(identity(), labels...), func(l label) bool {
			return wanted != nil && !slices.Contains(identifying(), l.name) && !slices.Contains(wanted, l.name)
		}))
	}
	add(v1.FluxInstanceKind, "flux_instance_info", "A FluxInstance and its state, with the value 1.", url("registry"), revision)
	add(resourceSet, "flux_resourceset_info", "A ResourceSet and its state, with the value 1.",
		shared("resources", func(_ string, o *record) string { return strconv.Itoa(int(o.resources)) }), revision)
	add("ResourceSetInputProvider", "flux_resourcesetinputprovider_info", "A ResourceSetInputProvider and its state, with the value 1.", url("url"))
	add("", "flux_resource_info", "An object of Flux and its state, with the value 1.", revision, url("url"),
		shared("ref", func(_ string, o *record) string { return o.ref.Value() }),
		shared("source_name", func(_ string, o *record) string { return sourceName(o.source.Value()) }),
		shared("path", func(_ string, o *record) string { return o.path.Value() }))
	return all
}

// LabelNames are the labels of metrics of single objects that may be left out, sorted.
func LabelNames() []string {
	var names []string
	for _, f := range families(nil) {
		for _, l := range f.labels {
			if !slices.Contains(identifying(), l.name) {
				names = append(names, l.name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// identifying are the labels that tell two objects apart.
func identifying() []string { return []string{"kind", "name", "exported_namespace"} }

// identity are the labels that all metrics of single objects have.
func identity() []label {
	return []label{
		{name: "uid", own: func(o *record) *string { return &o.uid }},
		{name: "kind", value: func(kind string, _ *record) string { return kind }},
		{name: "name", own: func(o *record) *string { return &o.name }},
		{name: "exported_namespace", value: func(_ string, o *record) string { return o.namespace.Value() }},
		{name: "ready", value: func(_ string, o *record) string { return o.ready.String() }},
		{name: "reason", value: func(_ string, o *record) string { return o.reason.Value() }},
		{name: "suspended", value: func(_ string, o *record) string { return truth(o.suspended) }},
	}
}

// Describe sends the metrics without their values.
func (c *Collector) Describe(out chan<- *prometheus.Desc) {
	for _, f := range c.families {
		out <- f.desc
	}
	for _, desc := range []*prometheus.Desc{c.objects, c.observed, c.operator, c.component, c.newer, c.dropped} {
		out <- desc
	}
}

// Collect sends the metrics of one snapshot.
func (c *Collector) Collect(out chan<- prometheus.Metric) {
	set := func(desc *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	info := c.options.Operator
	set(c.operator, 1, info.Version, info.APIVersion, info.Platform)
	for _, component := range c.options.Components() {
		set(c.component, number(component.Ready), component.Name)
	}
	if upgrade := c.options.Upgrade(); upgrade != nil && upgrade.Running != "" && upgrade.Available != "" {
		set(c.newer, number(upgrade.Running != upgrade.Available))
	}
	snapshot := c.observer.Snapshot()
	now := time.Now()
	observed := func(health Health, apiVersion, kind string) { // as the report says it
		set(c.observed, number(health.problem(now) == ""), apiVersion, kind)
	}
	if snapshot.Definitions != (Health{}) { // a replica that does not lead looks for none
		observed(snapshot.Definitions, "apiextensions.k8s.io/v1", "CustomResourceDefinition")
	}
	for i := range snapshot.Kinds {
		kind := &snapshot.Kinds[i]
		observed(kind.Health, kind.APIVersion(), kind.Kind)
	}
	for state, objects := range states(snapshot) {
		set(c.objects, float64(objects), state.kind, state.ready.String(), state.reason, truth(state.suspended))
	}
	set(c.dropped, float64(c.collectObjects(snapshot, out)))
}

// collectObjects sends the metrics of single objects and returns how many objects went without.
func (c *Collector) collectObjects(snapshot *Snapshot, out chan<- prometheus.Metric) int {
	total := 0
	for i := range snapshot.Kinds {
		total += snapshot.Kinds[i].Len()
	}
	all := make([]series, 0, total)
	for _, kind := range distinct(snapshot) {
		for _, object := range kind.objects {
			all = append(all, series{kind: kind, object: object})
		}
	}
	if len(all) > c.options.MaxSeries {
		slices.SortFunc(all, worstFirst)
		all = all[:c.options.MaxSeries]
	}
	press := newPress()
	for _, one := range all {
		out <- press.print(c.family(one.kind), one)
	}
	return total - len(all)
}

// family is the metric of the objects of a kind.
func (c *Collector) family(kind *Kind) *family {
	if own, known := c.families[kind.Kind]; known && kind.Group == v1.Group {
		return own
	}
	return c.families[""]
}

// distinct are the kinds whose names tell them apart: of two definitions with the same kind the objects of the first one have series.
func distinct(snapshot *Snapshot) []*Kind {
	seen := map[string]bool{}
	var kinds []*Kind
	for i := range snapshot.Kinds {
		kind := &snapshot.Kinds[i]
		if !seen[kind.Kind] {
			seen[kind.Kind] = true
			kinds = append(kinds, kind)
		}
	}
	return kinds
}

// state is what objects that are counted together have in common.
type state struct {
	kind      string
	reason    string
	ready     readiness
	suspended bool
}

// states counts the objects by their state.
func states(snapshot *Snapshot) map[state]int {
	counts := map[state]int{}
	reasons := map[string]map[string]bool{}
	for i := range snapshot.Kinds {
		kind := &snapshot.Kinds[i]
		if reasons[kind.Kind] == nil {
			reasons[kind.Kind] = map[string]bool{}
		}
		for _, object := range kind.objects {
			found := state{kind: kind.Kind, reason: object.reason.Value(), ready: object.ready, suspended: object.suspended}
			if counts[found]++; counts[found] == 1 {
				reasons[kind.Kind][found.reason] = true
			}
		}
	}
	fold(counts, reasons)
	return counts
}

// fold counts together what is beyond the first reasons of a kind. It sorts them, so that the same ones are told apart in each scrape.
func fold(counts map[state]int, reasons map[string]map[string]bool) {
	for kind, all := range reasons {
		if len(all) <= reasonLimit {
			continue
		}
		apart := slices.Sorted(maps.Keys(all))[:reasonLimit]
		for found, objects := range maps.Clone(counts) {
			if found.kind == kind && found.reason != otherReasons && !slices.Contains(apart, found.reason) {
				delete(counts, found)
				found.reason = otherReasons
				counts[found] += objects
			}
		}
	}
}

func truth(b bool) string { //nolint:revive // flag-parameter: a value to show, not one to decide by
	if b {
		return "True"
	}
	return "False"
}

func number(b bool) float64 { //nolint:revive // flag-parameter: a value to show, not one to decide by
	if b {
		return 1
	}
	return 0
}
