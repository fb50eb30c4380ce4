package monitoring

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLint(t *testing.T) {
	known := map[string][]string{"up_total": {"kind"}, "took_seconds": {"controller"}, "info": nil}
	for query, want := range map[string][]string{
		`sum by (kind) (rate(up_total{kind=~"a|by", instance="x"}[5m])) > 0`:         nil,
		`histogram_quantile(0.9, sum by (le) (rate(took_seconds_bucket[$__range])))`: nil,
		`up_total unless up_total offset $__range`:                                   nil,
		`up_total and on (instance, job) group_left (kind) info or vector(0)`:        nil,
		`sum(nothing) by (kind)`:                  {`metric "nothing" is not served`, `label "kind" is of none of the metrics`},
		`up_total{ready="True"}`:                  {`metric "up_total" has no label "ready"`},
		`sum by (ready) (up_total)`:               {`label "ready" is of none of the metrics`},
		`up_total_bucket`:                         {`metric "up_total_bucket" is not served`},
		`label_values(info, kind)`:                {`metric "kind" is not served`},
		`up_total{namespace="target or object?"}`: {`metric "up_total" has no label "namespace"`},
		`took_seconds_count{controller='it''s'} offset 5m unless sum without (kind) (info)`: {`label "kind" is of none of the metrics`},
	} {
		if diff := cmp.Diff(want, Lint(query, known)); diff != "" {
			t.Errorf("%s: %s", query, diff)
		}
	}
}

func TestDashboardsNameWhatIsServed(t *testing.T) {
	metrics := served(t)
	uids := map[string]string{}
	for _, dashboard := range dashboards(t) {
		if other, taken := uids[dashboard.UID]; taken || dashboard.UID == "" || dashboard.Title == "" {
			t.Errorf("%s: the uid %q or the title %q is empty or that of %s", dashboard.File, dashboard.UID, dashboard.Title, other)
		}
		uids[dashboard.UID] = dashboard.File
		for _, variable := range dashboard.Templating.List {
			checkVariable(t, metrics, dashboard.File, variable)
		}
		ids := map[int]bool{}
		for _, panel := range dashboard.Panels {
			where := fmt.Sprintf("%s, panel %d %q", dashboard.File, panel.ID, panel.Title)
			if ids[panel.ID] || panel.Title == "" || len(panel.Targets) == 0 {
				t.Errorf("%s: its id is taken, or it has no title or query", where)
			}
			ids[panel.ID] = true
			if at := panel.GridPos; at.W < 1 || at.H < 1 || at.X+at.W > 24 {
				t.Errorf("%s: it does not fit into the grid: %+v", where, at)
			}
			checkTargets(t, metrics, where, panel)
		}
	}
}

var (
	legendLabel = regexp.MustCompile(`\{\{\s*([a-z_]+)\s*\}\}`)
	labelValues = regexp.MustCompile(`^label_values\(([a-z_]+), ([a-z_]+)\)$`)
	chosen      = regexp.MustCompile(`\$[a-z_]+`)
)

func checkTargets(t *testing.T, metrics map[string][]string, where string, panel Panel) {
	t.Helper()
	ids := map[string]bool{}
	for _, target := range panel.Targets {
		if ids[target.RefID] || target.RefID == "" {
			t.Errorf("%s: the query id %q is taken or empty", where, target.RefID)
		}
		ids[target.RefID] = true
		var legend []string
		for _, label := range legendLabel.FindAllStringSubmatch(target.Legend, -1) {
			legend = append(legend, label[1])
		}
		for _, wrong := range Lint(target.Expr, metrics, legend...) {
			t.Errorf("%s: %s: %s", where, target.Expr, wrong)
		}
		if left := chosen.FindString(target.Query()); left != "" {
			t.Errorf("%s: %s: nobody sets %s", where, target.Expr, left)
		}
	}
}

func checkVariable(t *testing.T, metrics map[string][]string, file string, variable Variable) {
	t.Helper()
	if variable.Type == "datasource" {
		return
	}
	parts := labelValues.FindStringSubmatch(variable.Query)
	if parts == nil || !slices.Contains(metrics[parts[1]], parts[2]) {
		t.Errorf("%s: variable %s: %q names no label of a metric that is served", file, variable.Name, variable.Query)
	}
}

func TestAlertsNameWhatIsServed(t *testing.T) {
	metrics := served(t)
	label := regexp.MustCompile(`\$labels\.([a-z_]+)`)
	for _, rule := range alerts(t) {
		var shown []string
		for _, text := range rule.Annotations {
			for _, name := range label.FindAllStringSubmatch(text, -1) {
				shown = append(shown, name[1])
			}
		}
		for _, wrong := range Lint(rule.Expr, metrics, shown...) {
			t.Errorf("%s: %s", rule.Alert, wrong)
		}
		if !slices.Contains([]string{"critical", "warning", "info"}, rule.Labels["severity"]) {
			t.Errorf("%s has the severity %q", rule.Alert, rule.Labels["severity"])
		}
	}
}

func TestEveryAlertHasARunbook(t *testing.T) {
	pages := map[string]bool{}
	for _, rule := range alerts(t) {
		page := "runbooks/" + rule.Alert + ".md"
		if address := "https://github.com/flux-autopilot/flux-operator/blob/main/docs/" + page; rule.Annotations["runbook_url"] != address {
			t.Errorf("%s: runbook_url is %q, want %q", rule.Alert, rule.Annotations["runbook_url"], address)
		}
		pages[rule.Alert+".md"] = true
		content, err := os.ReadFile(at(t, "docs", page))
		if err != nil {
			t.Error(err)
			continue
		}
		for _, part := range []string{"# " + rule.Alert + "\n", "\n## What it means\n", "\n## How to look\n", "\n## How to cure\n"} {
			if !bytes.Contains(content, []byte(part)) {
				t.Errorf("docs/%s has no %q", page, strings.TrimSpace(part))
			}
		}
	}
	entries, err := os.ReadDir(at(t, "docs", "runbooks"))
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if !pages[entry.Name()] {
			t.Errorf("docs/runbooks/%s is of no alert", entry.Name())
		}
	}
}

// TestRules has promtool judge the rules, and each alert fire and clear on series that are written down in testdata.
func TestRules(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Fatalf("%v: it is in the Debian package prometheus, which this installs: make monitoring-deps", err)
	}
	dir := t.TempDir()
	rules, err := Rules()
	if err := errors.Join(err, rules.Write(filepath.Join(dir, "rules.yaml"))); err != nil {
		t.Fatal(err)
	}
	run(t, promtool, "check", "rules", filepath.Join(dir, "rules.yaml"))
	for _, rule := range rules.Alerts() {
		t.Run(rule.Alert, func(t *testing.T) {
			content, err := os.ReadFile(filepath.Join("testdata", rule.Alert+".yaml"))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Contains(content, []byte("exp_labels:")) || bytes.Count(content, []byte("alertname: "+rule.Alert)) < 3 {
				t.Fatal("it has to show that the alert is quiet, fires and clears")
			}
			path := filepath.Join(dir, rule.Alert+".yaml")
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			run(t, promtool, "test", "rules", path)
		})
	}
}

func TestImpatient(t *testing.T) {
	rules, err := Rules()
	if err != nil {
		t.Fatal(err)
	}
	for i, rule := range rules.Impatient("2s").Alerts() {
		original := rules.Alerts()[i]
		if rule.For != "2s" || original.For == "2s" {
			t.Errorf("%s fires after %s, the original after %s", rule.Alert, rule.For, original.For)
		}
		if rule.KeepFiringFor != "2s" || original.KeepFiringFor != "5m" {
			t.Errorf("%s fires on for %s, the original for %s", rule.Alert, rule.KeepFiringFor, original.KeepFiringFor)
		}
		if strings.Contains(rule.Expr, "[1h]") || strings.Contains(original.Expr, "[2s]") {
			t.Errorf("%s looks back as far as the original: %s", rule.Alert, rule.Expr)
		}
		rule.For, rule.KeepFiringFor, rule.Expr = original.For, original.KeepFiringFor, strings.ReplaceAll(rule.Expr, "[2s]", "[1h]")
		if diff := cmp.Diff(original, rule); diff != "" {
			t.Errorf("%s differs in more than its time: %s", rule.Alert, diff)
		}
	}
}

func run(t *testing.T, program string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", filepath.Base(program), strings.Join(args, " "), err, out)
	}
}

func alerts(t *testing.T) []Rule {
	t.Helper()
	rules, err := Rules()
	if err != nil {
		t.Fatal(err)
	}
	return rules.Alerts()
}

func dashboards(t *testing.T) []Dashboard {
	t.Helper()
	all, err := Dashboards()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func at(t *testing.T, parts ...string) string {
	t.Helper()
	path, err := folder(parts...)
	if err != nil {
		t.Fatal(err)
	}
	return path
}
