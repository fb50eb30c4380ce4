package main

import (
	"cmp"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/util/duration"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// Colours of a terminal.
const (
	uncoloured = ""
	bold       = "\x1b[1m"
	green      = "\x1b[32m"
	red        = "\x1b[31m"
	yellow     = "\x1b[33m"
	reset      = "\x1b[0m"
)

// columnGap is the space between two columns.
const columnGap = "  "

// cell is a text and how it is shown.
type cell struct {
	text, colour string
}

// reportTable writes a report for people.
type reportTable struct {
	out      io.Writer
	coloured bool
	err      error
}

// write writes the whole report.
func (t *reportTable) write(found *v1.FluxReport) {
	t.rows(headline(found))
	t.section([]string{"CONTROLLER", "READY", "STATUS", "IMAGE"}, controllerRows(found.Spec))
	t.section([]string{"KIND", "RUNNING", "FAILING", "SUSPENDED", "SIZE"}, kindRows(found.Spec))
	t.section([]string{"SHARD", "OBJECTS", "FAILING"}, shardRows(found.Spec))
	t.section([]string{"FAILING", "SINCE", "REASON", "MESSAGE"}, failingRows(found.Spec))
	t.section([]string{"OUTDATED VERSION", "KIND", "OBJECTS", "SET BY"}, outdatedRows(found.Spec))
	t.section([]string{"OLD PART", "SINCE", "WHY"}, staleRows(found.Spec))
}

// headline are the lines at the top.
func headline(found *v1.FluxReport) [][]cell {
	spec := found.Spec
	state := cell{spec.Distribution.Status, green}
	if spec.Distribution.Status != "Installed" {
		state.colour = yellow
	}
	release := strings.TrimSpace(spec.Distribution.Version + " " + state.text)
	if by := spec.Distribution.ManagedBy; by != "" {
		release += ", managed by " + by
	}
	rows := [][]cell{{{"Flux", bold}, {release, state.colour}}}
	add := func(name, text, colour string) { rows = append(rows, []cell{{name, bold}, {text, colour}}) }
	if u := spec.Upgrade; u != nil && u.Message != "" {
		add("Upgrade", fmt.Sprintf("running %s, elected %s, available %s: %s", cmp.Or(u.Running, "none"), u.Elected, u.Available, u.Message), yellow)
	}
	if s := spec.SyncStatus; s != nil {
		add("Sync", strings.Join([]string{s.ID, oneLine(s.Status), s.Source}, ", "), colourOf(s.Ready))
	}
	if c := spec.Cluster; c != nil {
		add("Cluster", describeCluster(c), uncoloured)
	}
	if o := spec.Operator; o != nil {
		add("Operator", o.Version, uncoloured)
	}
	if ready := apimeta.FindStatusCondition(found.Status.Conditions, "Ready"); ready != nil {
		add("Report", ready.Message, colourOf(ready.Status == "True"))
	}
	return rows
}

func controllerRows(spec v1.FluxReportSpec) [][]cell {
	var rows [][]cell
	for _, c := range spec.ComponentsStatus {
		status := c.Status
		if c.Cause != "" {
			status = c.Cause
		}
		rows = append(rows, []cell{{c.Name, uncoloured}, {yesNo(c.Ready), colourOf(c.Ready)}, {oneLine(status), uncoloured}, {c.Image, uncoloured}})
	}
	return rows
}

func kindRows(spec v1.FluxReportSpec) [][]cell {
	var rows [][]cell
	for _, r := range kinds(spec) {
		rows = append(rows, []cell{
			{r.Kind, uncoloured}, number(r.Stats.Running, uncoloured), number(r.Stats.Failing, red), number(r.Stats.Suspended, yellow), {r.Stats.TotalSize, uncoloured},
		})
	}
	return rows
}

func shardRows(spec v1.FluxReportSpec) [][]cell {
	if spec.Sharding == nil {
		return nil
	}
	var rows [][]cell
	for _, s := range spec.Sharding.Shards {
		rows = append(rows, []cell{{cmp.Or(s.Name, "(main)"), uncoloured}, number(s.Objects, uncoloured), number(s.Failing, red)})
	}
	if spec.Sharding.Orphans > 0 {
		rows = append(rows, []cell{{"(no such shard)", red}, number(spec.Sharding.Orphans, red), {}})
	}
	return rows
}

func failingRows(spec v1.FluxReportSpec) [][]cell {
	var rows [][]cell
	for _, f := range spec.Failing {
		since := ""
		if f.Since != nil {
			since = age(f.Since.Time)
		}
		rows = append(rows, []cell{{pathOf(f.FluxObjectReference), red}, {since, uncoloured}, {f.Reason, uncoloured}, {oneLine(f.Message), uncoloured}})
	}
	return rows
}

func outdatedRows(spec v1.FluxReportSpec) [][]cell {
	var rows [][]cell
	for _, o := range spec.OutdatedVersions {
		rows = append(rows, []cell{{o.APIVersion, yellow}, {o.Kind, uncoloured}, number(o.Objects, uncoloured), {strings.Join(o.Managers, ", "), uncoloured}})
	}
	return rows
}

func staleRows(spec v1.FluxReportSpec) [][]cell {
	var rows [][]cell
	for _, s := range spec.Stale {
		rows = append(rows, []cell{{s.Part, yellow}, {age(s.Since.Time), uncoloured}, {oneLine(s.Message), uncoloured}})
	}
	return rows
}

// describeCluster says in one line what runs where.
func describeCluster(c *v1.ClusterInfo) string {
	kind, nodes := "Kubernetes", "nodes"
	if c.Type == "openshift" {
		kind = "OpenShift with Kubernetes"
	}
	if c.Nodes == 1 {
		nodes = "node"
	}
	return fmt.Sprintf("%s %s on %s, %d %s", kind, c.ServerVersion, c.Platform, c.Nodes, nodes)
}

// section writes a table with its head, if it has rows.
func (t *reportTable) section(head []string, rows [][]cell) {
	if len(rows) == 0 {
		return
	}
	titles := make([]cell, 0, len(head))
	for _, title := range head {
		titles = append(titles, cell{title, bold})
	}
	t.print("\n")
	t.rows(append([][]cell{titles}, rows...))
}

// rows writes lines in columns. Colours take no room, so they are added after the width is known.
func (t *reportTable) rows(rows [][]cell) {
	var widths []int
	for _, row := range rows {
		for i := range row {
			row[i].text = printable(row[i].text)
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], len([]rune(row[i].text)))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, c := range row {
			text := c.text
			if t.coloured && c.colour != uncoloured {
				text = c.colour + text + reset
			}
			line.WriteString(text)
			if i < len(row)-1 {
				line.WriteString(strings.Repeat(" ", widths[i]-len([]rune(c.text))) + columnGap)
			}
		}
		t.print(strings.TrimRight(line.String(), " ") + "\n")
	}
}

func (t *reportTable) print(text string) {
	if t.err == nil {
		_, t.err = io.WriteString(t.out, text)
	}
}

func pathOf(ref v1.FluxObjectReference) string {
	return strings.Join([]string{ref.Kind, ref.Namespace, ref.Name}, "/")
}

func number(n int, colour string) cell {
	if n == 0 {
		colour = uncoloured
	}
	return cell{strconv.Itoa(n), colour}
}

func age(since time.Time) string { return duration.HumanDuration(time.Since(since)) }

// printable leaves out what a terminal would obey: whoever may write an object decides what stands in its messages.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, text)
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

func yesNo(b bool) string {
	return map[bool]string{true: "yes", false: "no"}[b]
}

func colourOf(good bool) string {
	return map[bool]string{true: green, false: red}[good]
}
