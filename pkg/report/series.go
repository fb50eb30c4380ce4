package report

import (
	"cmp"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// series is an object that has a series of its own.
type series struct {
	kind   *Kind
	object *record
}

// label is a label of a metric of single objects, and where its value is.
type label struct {
	name  string
	value func(kind string, object *record) string
	// own is set instead of value where hardly two objects have the same one: nothing is kept of it to be used again.
	own func(object *record) *string
}

// family is a metric of single objects. Its labels are sorted by name, as a registry wants them.
type family struct {
	desc   *prometheus.Desc
	labels []label
}

// newFamily makes a metric with these labels.
func newFamily(name, help string, labels []label) *family {
	slices.SortFunc(labels, func(a, b label) int { return cmp.Compare(a.name, b.name) })
	names := make([]string, 0, len(labels))
	for _, l := range labels {
		names = append(names, l.name)
	}
	return &family{desc: prometheus.NewDesc(name, help, names, nil), labels: labels}
}

// info is the metric of an object in one scrape, with the value 1.
type info struct {
	desc   *prometheus.Desc
	labels []*dto.LabelPair
	value  *dto.Gauge
}

// Desc describes the metric.
func (i *info) Desc() *prometheus.Desc { return i.desc }

// Write hands out what the metric is made of.
func (i *info) Write(out *dto.Metric) error {
	out.Label, out.Gauge = i.labels, i.value
	return nil
}

// press makes the metrics of one scrape. What many of them have in common is made once: ten thousand objects have a hundred thousand labels, and
// few values.
type press struct {
	one    *dto.Gauge
	shared map[sharedLabel]*dto.LabelPair
}

// sharedLabel is a label with its value.
type sharedLabel struct{ name, value string }

func newPress() *press {
	return &press{one: &dto.Gauge{Value: new(1.0)}, shared: map[sharedLabel]*dto.LabelPair{}}
}

// print makes the metric of an object.
func (p *press) print(f *family, one series) *info {
	made := &info{desc: f.desc, value: p.one, labels: make([]*dto.LabelPair, len(f.labels))}
	for i := range f.labels {
		l := &f.labels[i]
		if l.own != nil {
			made.labels[i] = &dto.LabelPair{Name: &l.name, Value: l.own(one.object)}
			continue
		}
		made.labels[i] = p.share(&l.name, l.value(one.kind.Kind, one.object))
	}
	return made
}

// share returns the label with a value.
func (p *press) share(name *string, value string) *dto.LabelPair {
	key := sharedLabel{*name, value}
	if pair := p.shared[key]; pair != nil {
		return pair
	}
	pair := &dto.LabelPair{Name: name, Value: new(value)}
	p.shared[key] = pair
	return pair
}

// worstFirst puts objects that are not ready before those that are, and sorts by name, so that the same ones go without in each scrape. The instance
// comes before all of them: alerts about Flux as a whole read its series.
func worstFirst(a, b series) int {
	return cmp.Or(cmp.Compare(rank(a), rank(b)), compareReferences(a.kind.reference(a.object), b.kind.reference(b.object)))
}

// rank is low for objects that somebody should look at.
func rank(one series) int {
	object := one.object
	switch {
	case one.kind.Group == v1.Group && one.kind.Kind == v1.FluxInstanceKind:
		return -1
	case object.failing():
		return 0
	case object.ready != readyTrue || object.suspended:
		return 1
	default:
		return 2
	}
}

// sourceName is the last part of kind/namespace/name.
func sourceName(source string) string { return source[strings.LastIndexByte(source, '/')+1:] }
