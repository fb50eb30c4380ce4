package monitoring

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Lint says what of a query names nothing that is served: metrics, and labels that none of the query's metrics has. The served metrics are
// given with their labels; legend labels are those that a legend wants to show.
func Lint(query string, served map[string][]string, legend ...string) []string {
	l := &linter{served: served, labels: map[string]bool{}}
	for _, label := range targetLabels() {
		l.labels[label] = true
	}
	l.read(tokens(query))
	var wrong []string
	for _, name := range slices.Sorted(maps.Keys(l.unknown)) {
		wrong = append(wrong, fmt.Sprintf("metric %q is not served", name))
	}
	for _, label := range append(l.grouped, legend...) {
		if !l.labels[label] {
			wrong = append(wrong, fmt.Sprintf("label %q is of none of the metrics", label))
		}
	}
	return append(wrong, l.wrong...)
}

// targetLabels are those that a scrape adds to each series. The namespace is left out: of some metrics it is the object's and of others the
// target's, depending on how one scrapes.
func targetLabels() []string {
	return []string{"instance", "job", "pod", "container", "service", "endpoint"}
}

// labelLists are the words that a list of labels follows.
func labelLists() []string {
	return []string{"by", "without", "on", "ignoring", "group_left", "group_right"}
}

// operators are the words that stand between expressions or change them.
func operators() []string { return []string{"and", "or", "unless", "bool", "offset", "atan2"} }

// token finds what matters in a query: strings, durations and variables are passed over, everything else is a sign of its own.
var token = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\[[^\]]*\]|\$[a-zA-Z_]+|[a-zA-Z_:][a-zA-Z0-9_:]*|[0-9][0-9.a-z]*|\S`)

// word is a name of a metric, a label or a function.
var word = regexp.MustCompile(`^[a-zA-Z_:][a-zA-Z0-9_:]*$`)

func tokens(query string) []string { return token.FindAllString(query, -1) }

// linter walks through a query once.
type linter struct {
	served  map[string][]string
	unknown map[string]bool
	labels  map[string]bool // of all the metrics
	grouped []string        // labels in lists
	wrong   []string
}

func (l *linter) read(all []string) {
	for i := 0; i < len(all); i++ {
		next := ""
		if i+1 < len(all) {
			next = all[i+1]
		}
		switch name := all[i]; {
		case !word.MatchString(name) || slices.Contains(operators(), name):
		case slices.Contains(labelLists(), name):
			if next == "(" {
				i = l.list(all, i+2)
			}
		case next == "(" || slices.Contains([]string{"by", "without"}, next): // a function or an aggregation
		default:
			labels := l.metric(name)
			if next == "{" {
				i = l.matchers(name, labels, all, i+2)
			}
		}
	}
}

// metric notes a metric and returns its labels.
func (l *linter) metric(name string) []string {
	labels, found := l.lookup(name)
	if !found {
		if l.unknown == nil {
			l.unknown = map[string]bool{}
		}
		l.unknown[name] = true
	}
	for _, label := range labels {
		l.labels[label] = true
	}
	return labels
}

// lookup knows the series of histograms too: those are named after a unit.
func (l *linter) lookup(name string) ([]string, bool) {
	if labels, found := l.served[name]; found {
		return labels, true
	}
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		base, cut := strings.CutSuffix(name, suffix)
		labels, found := l.served[base]
		if cut && found && strings.HasSuffix(base, "_seconds") {
			return append([]string{"le"}, labels...), true
		}
	}
	return nil, false
}

// list reads the labels of a list and returns where it ends.
func (l *linter) list(all []string, from int) int {
	for i := from; i < len(all); i++ {
		if all[i] == ")" {
			return i
		}
		if word.MatchString(all[i]) {
			l.grouped = append(l.grouped, all[i])
		}
	}
	return len(all)
}

// matchers reads the labels of a selector and returns where it ends.
func (l *linter) matchers(metric string, labels, all []string, from int) int {
	for i := from; i < len(all); i++ {
		if all[i] == "}" {
			return i
		}
		if word.MatchString(all[i]) && !slices.Contains(labels, all[i]) && !slices.Contains(targetLabels(), all[i]) {
			l.wrong = append(l.wrong, fmt.Sprintf("metric %q has no label %q", metric, all[i]))
		}
	}
	return len(all)
}
