package bench

import (
	"fmt"
	"io"
	"strings"
)

// Figure is one measured value.
type Figure struct {
	// Name says what was measured, Value what came out, with its unit and spread.
	Name, Value string
	// Target is what was aimed at and Existing what the existing operator needs; both may be empty.
	Target, Existing string
	// Missed is by how much the target is missed; empty when it is met or there is none.
	Missed string
	// Why explains a missed target; it is printed only then.
	Why string
}

// Part is a group of figures that were measured together.
type Part struct {
	// Title names the part, Method says how it was measured.
	Title, Method string
	// Figures are in the order in which they are shown.
	Figures []Figure
	// Notes are further lines below the table.
	Notes []string
}

// amount is how a number is shown, with its unit.
type amount string

const (
	milliseconds amount = "%.0f ms"
	tenths       amount = "%.1f ms"
	hundredths   amount = "%.2f ms"
	seconds      amount = "%.2f s"
	mebibytes    amount = "%.1f MiB"
	thousands    amount = "%.0f thousand"
	ratio        amount = "%.2f ×"
	count        amount = "%.0f"
	perPass      amount = "%.1f"
	perCheck     amount = "%.2f"
	perSecond    amount = "%.0f objects/s"
	thousandths  amount = "%.3f s"
	percent      amount = "%.1f %%"
	megabytes    amount = "%.1f MB"
)

func (a amount) show(value float64) string { return fmt.Sprintf(string(a), value) }

// spread shows the median with the smallest and the largest of several measurements.
func (a amount) spread(s sample) string {
	if len(s) == 1 {
		return a.show(s[0])
	}
	number, _, _ := strings.Cut(string(a), " ")
	return fmt.Sprintf("%s ("+number+"–"+number+")", a.show(s.median()), s.min(), s.max())
}

// measured makes a figure without a target.
func measured(name string, unit amount, s sample) Figure {
	return Figure{Name: name, Value: unit.spread(s)}
}

// besides adds what the existing operator needs.
func (f Figure) besides(existing string) Figure {
	f.Existing = existing
	return f
}

// because adds the reason that is given when the target is missed.
func (f Figure) because(why string) Figure {
	f.Why = why
	return f
}

// atMost makes a figure whose median is to stay within a limit.
func atMost(name string, unit amount, s sample, limit float64) Figure {
	f := measured(name, unit, s)
	f.Target = "≤ " + unit.show(limit)
	if limit == 0 {
		f.Target = unit.show(0)
	}
	switch got := s.median(); {
	case got <= limit:
	case limit == 0:
		f.Missed = "by " + unit.show(got)
	default:
		f.Missed = fmt.Sprintf("by %.0f %%", (got/limit-1)*100)
	}
	return f
}

// atLeast makes a figure whose median is to reach a limit.
func atLeast(name string, unit amount, s sample, limit float64) Figure {
	f := measured(name, unit, s)
	f.Target = "≥ " + unit.show(limit)
	if got := s.median(); got < limit {
		f.Missed = fmt.Sprintf("by %.0f %%", (1-got/limit)*100)
	}
	return f
}

// ofLimit makes a figure of which share of a limit is reached.
func ofLimit(name string, s sample) Figure { return atLeast(name, ratio, s, limitShare) }

// verdict is one word for tables.
func (f Figure) verdict() string {
	switch {
	case f.Target == "":
		return ""
	case f.Missed != "":
		return "missed " + f.Missed
	}
	return "met"
}

// Print writes a part as plain text, for somebody who watches.
func (p Part) Print(w io.Writer) {
	fmt.Fprintf(w, "\n%s\n", p.Title)
	for _, f := range p.Figures {
		line := fmt.Sprintf("  %-58s %-30s", f.Name, f.Value)
		if f.Target != "" {
			line += fmt.Sprintf(" target %-11s %s", f.Target, f.verdict())
		}
		if f.Existing != "" {
			line += "  [existing: " + f.Existing + "]"
		}
		fmt.Fprintln(w, strings.TrimRight(line, " "))
		if f.Missed != "" && f.Why != "" {
			fmt.Fprintf(w, "      %s\n", f.Why)
		}
	}
	for _, note := range p.Notes {
		fmt.Fprintf(w, "  · %s\n", note)
	}
}

// markdown writes a part as a section.
func (p Part) markdown(w io.Writer) {
	fmt.Fprintf(w, "\n## %s\n\n%s\n\n| | measured | target | | existing operator |\n|---|---|---|---|---|\n", p.Title, p.Method)
	for _, f := range p.Figures {
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s |\n", f.Name, f.Value, f.Target, f.verdict(), f.Existing)
	}
	var remarks []string
	for _, f := range p.Figures {
		if f.Missed != "" && f.Why != "" {
			remarks = append(remarks, fmt.Sprintf("**Missed: %s** (%s). %s", f.Name, f.Missed, f.Why))
		}
	}
	remarks = append(remarks, p.Notes...)
	if len(remarks) > 0 {
		fmt.Fprintf(w, "\n- %s\n", strings.Join(remarks, "\n- "))
	}
}

// Document writes the whole report as a page of the documentation.
func Document(w io.Writer, m Machine, parts []Part) {
	fmt.Fprintf(w, `# Benchmarks

Written by `+"`make bench`"+`, which takes about %.0f minutes and can be repeated anywhere. Do not edit.

| | |
|---|---|
| command | `+"`%s`"+` |
| date | %s |
| machine | %s |
| load (processes that want a core) | %s before, %s at the end |
| Go | %s |
| Kubernetes | %s |
| Flux | %s, all %d components, %d objects |

Values are medians, the smallest and largest measurement in brackets; medians are held against targets. Times depend on the machine and on what else it did, ratios and counts travel.
The figures of the existing operator (version 0.58.1) were taken on a machine of the same size with the same API server program, wall times ± 20 %%, CPU times ± 10 %%.
`, m.Took.Minutes()+0.5, m.Command, m.Date.Format("2006-01-02"), m.Hardware, m.LoadBefore, m.LoadAfter, m.Go, m.Kubernetes, m.Flux, m.Components, m.Objects)
	for _, part := range parts {
		part.markdown(w)
	}
}

// Missed returns the figures that miss their targets.
func Missed(parts []Part) []Figure {
	var missed []Figure
	for _, part := range parts {
		for _, f := range part.Figures {
			if f.Missed != "" {
				missed = append(missed, f)
			}
		}
	}
	return missed
}
