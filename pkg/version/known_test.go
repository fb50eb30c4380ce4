package version

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestKnown(t *testing.T) {
	known := []string{"v2.8.8", "v2.9.2", "v2.9.4"}
	for name, tt := range map[string]struct{ available, want []string }{
		"newer patches of known minors": {[]string{"v2.8.9", "v2.9.11"}, []string{"v2.8.9", "v2.9.11"}},
		"no unknown minor":              {[]string{"v2.9.4", "v2.10.0"}, []string{"v2.9.4"}},
		"no unknown major":              {[]string{"v3.9.0"}, nil},
		"with and without a v":          {[]string{"2.9.5"}, []string{"2.9.5"}},
		"pre-releases of known minors":  {[]string{"v2.9.5-rc.1", "v2.10.0-rc.1"}, []string{"v2.9.5-rc.1"}},
		"names that are no versions":    {[]string{"latest", "v2.8.0"}, []string{"v2.8.0"}},
	} {
		if diff := cmp.Diff(tt.want, Known(tt.available, known)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestBetween(t *testing.T) {
	available := []string{"v2.9.4", "v2.10.0", "latest", "2.2.3", "v2.9.2", "v2.2.1", "v3.0.0", "v2.5.1"}
	for name, tt := range map[string]struct {
		from, to string
		want     []string
	}{
		"from nothing known":            {"", "v2.9.4", []string{"v2.2.1", "2.2.3", "v2.5.1", "v2.9.2", "v2.9.4"}},
		"from what is no version":       {"main", "v2.5.1", []string{"v2.2.1", "2.2.3", "v2.5.1"}},
		"newer than the first one":      {"v2.2.3", "v2.9.4", []string{"v2.5.1", "v2.9.2", "v2.9.4"}},
		"newer than one not there":      {"v2.2.2", "v2.9.2", []string{"2.2.3", "v2.5.1", "v2.9.2"}},
		"the same":                      {"v2.9.4", "v2.9.4", []string{"v2.9.4"}},
		"an older patch":                {"v2.9.4", "v2.9.2", []string{"v2.9.2"}},
		"back":                          {"v2.9.4", "v2.5.1", []string{"v2.5.1"}},
		"to one that is only wanted":    {"v2.9.2", "v2.9.9", []string{"v2.9.4", "v2.9.9"}},
		"to a name that is no version":  {"v2.2.1", "latest", nil},
		"nothing in between is skipped": {"v2.10.0", "v3.0.0", []string{"v3.0.0"}},
	} {
		if diff := cmp.Diff(tt.want, Between(tt.from, tt.to, available)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
