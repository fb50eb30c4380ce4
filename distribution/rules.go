package distribution

import (
	"fmt"
	"io/fs"

	"github.com/Masterminds/semver/v3"
	"sigs.k8s.io/yaml"
)

// rule names one difference between Flux releases; the ranges of releases are in rules.yaml.
type rule string

const (
	partOfLabel          rule = "part-of-label"
	labelledPods         rule = "labelled-pods"
	processorLimitEnv    rule = "processor-limit-env"
	memoryLimitEnv       rule = "memory-limit-env"
	apiServerPing        rule = "api-server-ping"
	serviceAccountTokens rule = "service-account-tokens"
	webhookPortOnly      rule = "webhook-port-only"
)

func allRules() []rule {
	return []rule{
		partOfLabel, labelledPods, processorLimitEnv, memoryLimitEnv, apiServerPing, serviceAccountTokens, webhookPortOnly,
	}
}

// ruleRanges maps every rule to the releases for which it holds.
type ruleRanges map[rule]*semver.Constraints

// readRules reads rules.yaml; a rule without a range and a range without a rule are errors.
func readRules(files fs.FS) (ruleRanges, error) {
	content, err := fs.ReadFile(files, "rules.yaml")
	if err != nil {
		return nil, fmt.Errorf("reading rules: %w", err)
	}
	var texts map[rule]string
	if err := yaml.UnmarshalStrict(content, &texts); err != nil {
		return nil, fmt.Errorf("parsing rules: %w", err)
	}
	ranges := ruleRanges{}
	for _, name := range allRules() {
		text, ok := texts[name]
		if !ok {
			return nil, fmt.Errorf("reading rules: %q has no range", name)
		}
		if ranges[name], err = semver.NewConstraint(text); err != nil {
			return nil, fmt.Errorf("parsing range %q of rule %q: %w", text, name, err)
		}
		delete(texts, name)
	}
	for name := range texts {
		return nil, fmt.Errorf("reading rules: %q is unknown", name)
	}
	return ranges, nil
}

func (r ruleRanges) holdingFor(version *semver.Version) map[rule]bool {
	holding := map[rule]bool{}
	for name, constraint := range r {
		holding[name] = constraint.Check(version)
	}
	return holding
}
