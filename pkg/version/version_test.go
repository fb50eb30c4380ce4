package version

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var catalog = []string{"v2.2.3", "v2.8.8", "v2.9.2", "v2.9.4", "v2.10.0-rc.1", "2.7.5", "VERSION"}

func TestSelect(t *testing.T) {
	for _, tt := range []struct{ reason, constraint, want string }{
		{"the newest of a major, no pre-release", "2.x", "v2.9.4"},
		{"anything", "*", "v2.9.4"},
		{"a minor", "2.8.x", "v2.8.8"},
		{"a minor without patch", "2.9", "v2.9.4"},
		{"a leading v in the range", "v2.9.x", "v2.9.4"},
		{"exact, v only in the catalog", "2.9.2", "v2.9.2"},
		{"exact, v only in the range", "v2.7.5", "2.7.5"},
		{"a named pre-release", "2.10.0-rc.1", "v2.10.0-rc.1"},
		{"a range that names pre-releases", ">=2.9.0-0", "v2.10.0-rc.1"},
		{"bounds", ">=2.2 <2.8", "2.7.5"},
		{"alternatives", "2.2.x || 2.8.x", "v2.8.8"},
		{"a range never chooses a pre-release of its own minor", "2.10.x || 2.9.x", "v2.9.4"},
	} {
		t.Run(tt.reason, func(t *testing.T) {
			got, err := Select(tt.constraint, catalog)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("Select(%q) (-want +got):\n%s", tt.constraint, diff)
			}
		})
	}
}

func TestSelectFails(t *testing.T) {
	for _, constraint := range []string{"", " ", "not a range", "2.9.x.y.z", ">=", "2.9.4;"} {
		var bad *RangeError
		if _, err := Select(constraint, catalog); !errors.As(err, &bad) {
			t.Errorf("Select(%q) = %v, want a RangeError", constraint, err)
		}
	}
	var none *NoMatchError
	if _, err := Select("3.x", catalog); !errors.As(err, &none) {
		t.Fatalf("Select(3.x) = %v, want a NoMatchError", err)
	}
	if diff := cmp.Diff(&NoMatchError{Range: "3.x", Newest: "v2.9.4"}, none); diff != "" {
		t.Error(diff)
	}
	if _, err := Select("2.x", nil); !errors.As(err, &none) || none.Newest != "" {
		t.Errorf("an empty catalog gives %v", err)
	}
}

func TestNewest(t *testing.T) {
	for _, tt := range []struct {
		available []string
		want      string
	}{
		{catalog, "v2.9.4"},
		{[]string{"v2.9.9", "v2.10.0", "v3.0.0-rc.1"}, "v2.10.0"},
		{[]string{"v3.0.0-rc.1", "v3.0.0-rc.2"}, "v3.0.0-rc.2"},
		{[]string{"latest"}, ""},
		{nil, ""},
	} {
		if got := Newest(tt.available); got != tt.want {
			t.Errorf("Newest(%v) = %q, want %q", tt.available, got, tt.want)
		}
	}
}

func TestNewer(t *testing.T) {
	for _, tt := range []struct {
		reason, release string
		available       []string
		want            string
	}{
		{"a newer patch", "v2.9.2", catalog, "v2.9.4"},
		{"a newer minor", "2.7.5", catalog, "v2.9.4"},
		{"a newer major", "v2.9.4", []string{"v2.9.4", "v3.0.0", "v3.1.2"}, "v3.1.2"},
		{"the newest", "v2.9.4", catalog, ""},
		{"the newest, written without v", "2.9.4", catalog, ""},
		{"a pre-release of what is newer", "v2.10.0-rc.1", catalog, ""},
		{"the release of a chosen pre-release", "v2.10.0-rc.1", []string{"v2.10.0-rc.1", "v2.10.0"}, "v2.10.0"},
		{"no version", "latest", catalog, ""},
		{"nothing there", "v2.9.4", nil, ""},
	} {
		t.Run(tt.reason, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, Newer(tt.release, tt.available)); diff != "" {
				t.Errorf("Newer(%q) (-want +got):\n%s", tt.release, diff)
			}
		})
	}
}

func TestCheckTransition(t *testing.T) {
	for _, tt := range []struct {
		from, to string
		refused  bool
	}{
		{"", "v2.9.4", false},
		{"v2.9.4", "v2.9.4", false},
		{"v2.9.4", "2.9.2", false},
		{"v2.8.8", "v2.9.0", false},
		{"v2.9.4", "v3.0.0", false},
		{"v2.9.4", "v2.9.0-rc.1", false},
		{"v2.9.4", "v2.8.8", true},
		{"v3.0.0", "v2.9.4", true},
		{"v3.1.0", "v2.2.0", true},
		{"v2.10.0", "v2.9.9", true},
	} {
		err := CheckTransition(tt.from, tt.to)
		var downgrade *DowngradeError
		if errors.As(err, &downgrade) != tt.refused || (err != nil) != tt.refused {
			t.Errorf("CheckTransition(%q, %q) = %v, want refused %t", tt.from, tt.to, err, tt.refused)
		}
	}
	for _, pair := range [][2]string{{"v2.9.4", ""}, {"rubbish", "v2.9.4"}} {
		var downgrade *DowngradeError
		if err := CheckTransition(pair[0], pair[1]); err == nil || errors.As(err, &downgrade) {
			t.Errorf("CheckTransition(%q, %q) = %v, want another error", pair[0], pair[1], err)
		}
	}
}

func TestSameMinor(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{"v2.9.4", "v2.9.4", true},
		{"v2.9.2", "2.9.4", true},
		{"v2.9.0-rc.1", "v2.9.0", true},
		{"v2.8.8", "v2.9.4", false},
		{"v2.9.4", "v3.9.4", false},
		{"", "v2.9.4", false},
		{"v2.9.4", "rubbish", false},
	} {
		if got := SameMinor(tt.a, tt.b); got != tt.want {
			t.Errorf("SameMinor(%q, %q) = %t", tt.a, tt.b, got)
		}
	}
}

func TestRevision(t *testing.T) {
	want := Revision{Version: "v2.9.4", Digest: "sha256:" + strings.Repeat("0a", 32)}
	got, err := ParseRevision(want.String())
	if err != nil || got != want {
		t.Errorf("ParseRevision(%q) = %v, %v", want, got, err)
	}
	if got, err := ParseRevision(""); err != nil || !got.IsZero() || got.String() != "" {
		t.Errorf("the empty revision is %v, %v", got, err)
	}
	for _, text := range []string{"v2.9.4", "v2.9.4@", "@" + want.Digest, "x@" + want.Digest, "v2.9.4@sha256:12", "v2.9.4@md5:" + strings.Repeat("0a", 32), want.String() + "@x"} {
		if got, err := ParseRevision(text); err == nil {
			t.Errorf("ParseRevision(%q) = %v, want an error", text, got)
		}
	}
}
