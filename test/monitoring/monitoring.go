// Package monitoring reads the alerts and dashboards of config/monitoring as a Prometheus and the tests need them.
package monitoring

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"

	"sigs.k8s.io/yaml"

	"github.com/flux-autopilot/flux-operator/tools"
)

// Rule is an alert.
type Rule struct {
	// Alert is its name.
	Alert string `json:"alert"`
	// Expr is the query that finds what to alert about.
	Expr string `json:"expr"`
	// For is how long it has to be so.
	For string `json:"for,omitempty"`
	// KeepFiringFor is how long it fires on when it is not so any more.
	KeepFiringFor string `json:"keep_firing_for,omitempty"` //nolint:tagliatelle // as Prometheus calls it
	// Labels are those that the alert has besides what the query gives.
	Labels map[string]string `json:"labels,omitempty"`
	// Annotations are what people read.
	Annotations map[string]string `json:"annotations,omitempty"`
}

// Group is a list of rules that are evaluated together.
type Group struct {
	// Name of the group.
	Name string `json:"name"`
	// Interval between two evaluations, that of Prometheus where it is empty.
	Interval string `json:"interval,omitempty"`
	// Rules of the group.
	Rules []Rule `json:"rules"`
}

// RuleFile is what Prometheus takes as a rule file; the spec of a PrometheusRule is one.
type RuleFile struct {
	// Groups of the file.
	Groups []Group `json:"groups"`
}

// Rules reads the PrometheusRule.
func Rules() (RuleFile, error) {
	path, err := folder("config", "monitoring", "rules.yaml")
	if err != nil {
		return RuleFile{}, err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return RuleFile{}, fmt.Errorf("reading the rules: %w", err)
	}
	var rule struct {
		Spec RuleFile `json:"spec"`
	}
	if err := yaml.Unmarshal(data, &rule); err != nil {
		return RuleFile{}, fmt.Errorf("reading the rules: %w", err)
	}
	if len(rule.Spec.Groups) == 0 {
		return RuleFile{}, errors.New("reading the rules: spec.groups is empty")
	}
	return rule.Spec, nil
}

// Impatient returns the same rules for a test on a real cluster: each alert fires and clears after the given time instead of its own, looks back
// no longer than that, and is looked at every second. Nothing else differs.
func (f RuleFile) Impatient(after string) RuleFile {
	lookBack := regexp.MustCompile(`\[[0-9]+[smhd]\]`)
	var hasty RuleFile
	for _, group := range f.Groups {
		group.Interval = "1s"
		group.Rules = append([]Rule(nil), group.Rules...)
		for i := range group.Rules {
			rule := &group.Rules[i]
			rule.For, rule.KeepFiringFor = after, after
			rule.Expr = lookBack.ReplaceAllString(rule.Expr, "["+after+"]")
		}
		hasty.Groups = append(hasty.Groups, group)
	}
	return hasty
}

// Write writes the rules as a rule file.
func (f RuleFile) Write(path string) error {
	data, err := yaml.Marshal(f)
	if err != nil {
		return fmt.Errorf("writing the rules: %w", err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		return fmt.Errorf("writing the rules: %w", err)
	}
	return nil
}

// Alerts are the rules of all groups.
func (f RuleFile) Alerts() []Rule {
	var all []Rule
	for _, group := range f.Groups {
		all = append(all, group.Rules...)
	}
	return all
}

// folder is a path in the checkout.
func folder(parts ...string) (string, error) {
	root, err := tools.Root()
	if err != nil {
		return "", err
	}
	return filepath.Join(append([]string{root}, parts...)...), nil
}
