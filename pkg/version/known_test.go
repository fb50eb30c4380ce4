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

func TestUpTo(t *testing.T) {
	available := []string{"v2.9.4", "v2.10.0", "latest", "2.2.3", "v2.9.2", "v3.0.0"}
	if diff := cmp.Diff([]string{"2.2.3", "v2.9.2", "v2.9.4"}, UpTo("v2.9.4", available)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := UpTo("latest", available); got != nil {
		t.Errorf("a name that is no version: %v", got)
	}
}
