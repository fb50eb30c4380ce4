package distribution

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/Masterminds/semver/v3"
)

func TestRulesHoldForTheirReleases(t *testing.T) {
	ranges, err := readRules(data)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		rule      rule
		without   string
		with      string
		outgrowth string
	}{
		{rule: partOfLabel, without: "2.3.0", with: "2.4.0"},
		{rule: labelledPods, without: "2.6.4", with: "2.7.2"},
		{rule: processorLimitEnv, without: "2.2.3", with: "2.3.0", outgrowth: "2.7.2"},
		{rule: memoryLimitEnv, without: "2.2.3", with: "2.3.0"},
		{rule: apiServerPing, without: "2.2.3", with: "2.3.0"},
		{rule: serviceAccountTokens, without: "2.5.1", with: "2.6.0"},
		{rule: webhookPortOnly, without: "2.9.3", with: "2.9.4"},
	}
	if len(tests) != len(allRules()) {
		t.Errorf("%d of %d rules tested", len(tests), len(allRules()))
	}
	for _, test := range tests {
		holds := func(version string) bool { return ranges.holdingFor(semver.MustParse(version))[test.rule] }
		if holds(test.without) {
			t.Errorf("%s holds for %s", test.rule, test.without)
		}
		if !holds(test.with) {
			t.Errorf("%s does not hold for %s", test.rule, test.with)
		}
		if test.outgrowth != "" && holds(test.outgrowth) {
			t.Errorf("%s still holds for %s", test.rule, test.outgrowth)
		}
	}
}

func TestReadRulesRefusesMalformedFiles(t *testing.T) {
	var complete strings.Builder
	for _, name := range allRules() {
		complete.WriteString(string(name) + ": '>=2.0.0'\n")
	}
	tests := map[string]struct{ content, want string }{
		"missing rule":    {"part-of-label: '>=2.0.0'\n", "has no range"},
		"unknown rule":    {complete.String() + "another: '>=2.0.0'\n", `"another" is unknown`},
		"malformed range": {strings.Replace(complete.String(), ">=2.0.0", "two", 1), "parsing range"},
		"not YAML":        {"{", "parsing rules"},
	}
	for name, test := range tests {
		_, err := readRules(fstest.MapFS{"rules.yaml": {Data: []byte(test.content)}})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v does not contain %q", name, err, test.want)
		}
	}
	if _, err := readRules(fstest.MapFS{}); err == nil {
		t.Error("a missing file is no error")
	}
}
