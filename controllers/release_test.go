package controllers

import (
	"errors"
	"strings"
	"testing"

	"k8s.io/client-go/tools/record"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

var available = []string{"v2.8.8", "v2.9.2", "v2.9.4", "v3.0.0"}

func TestChoose(t *testing.T) {
	cases := map[string]struct {
		version, artifact, current string
		want                       string
		stalled                    bool
	}{
		"the newest in the range":                  {version: "2.x", want: "v2.9.4"},
		"another major":                            {version: ">=2.9", current: "v2.9.4", want: "v3.0.0"},
		"an older patch":                           {version: "2.9.2", current: "v2.9.4", want: "v2.9.2"},
		"an older minor":                           {version: "2.8.x", current: "v2.9.4", stalled: true},
		"an older minor from an artifact":          {version: "2.8.x", artifact: "oci://x", current: "v2.9.4", stalled: true},
		"not built in":                             {version: "2.10.x", stalled: true},
		"not yet in the artifact":                  {version: "2.10.x", artifact: "oci://x"},
		"a range that is none":                     {version: "two", stalled: true},
		"a range that is none, with an artifact":   {version: "two", artifact: "oci://x", stalled: true},
		"a current version that cannot be read":    {version: "2.x", current: "rubbish", stalled: true},
		"the release that runs, from the artifact": {version: "2.9.4", artifact: "oci://x", current: "v2.9.4", want: "v2.9.4"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := choose(v1.Distribution{Version: c.version, Artifact: c.artifact}, available, c.current)
			if got != c.want || (err == nil) != (c.want != "") {
				t.Fatalf("choose() = %q, %v, want %q", got, err, c.want)
			}
			if err == nil {
				return
			}
			f, ok := errors.AsType[*failure](err)
			if !ok || f.reason != v1.ReasonBuildFailed || f.stalled != c.stalled {
				t.Errorf("%v: want BuildFailed, stalled %t", err, c.stalled)
			}
			if !strings.Contains(err.Error(), "spec.distribution.version") {
				t.Errorf("%q does not name the field", err)
			}
		})
	}
}

func TestCompare(t *testing.T) {
	known := []string{"v2.9.2", "v2.9.4"}
	for name, tt := range map[string]struct {
		chosen    string
		available []string
		newest    string
		says      string
	}{
		"the newest":                     {"v2.9.4", known, "v2.9.4", ""},
		"a newer one, left out by range": {"v2.9.2", known, "v2.9.4", `"2.9.2"`},
		"an unknown minor":               {"v2.9.4", []string{"v2.9.4", "v2.10.0"}, "v2.10.0", "update the operator"},
		"a pre-release":                  {"v2.9.4", []string{"v2.9.4", "v2.10.0-rc.1"}, "v2.9.4", ""},
	} {
		got := compare("2.9.2", tt.chosen, tt.available, known)
		if got.Elected != tt.chosen || got.Available != tt.newest || !strings.Contains(got.Message, tt.says) || (got.Message == "") != (tt.says == "") {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestTellOutdated(t *testing.T) {
	recorder := record.NewFakeRecorder(10)
	r := &FluxInstanceReconciler{Recorder: recorder}
	instance := &v1.FluxInstance{}
	tell := func(chosen string, available ...string) []string {
		r.tellOutdated(instance, compare("2.9.x", chosen, available, available))
		var told []string
		for len(recorder.Events) > 0 {
			told = append(told, <-recorder.Events)
		}
		return told
	}
	first := tell("v2.9.4", "v2.9.4", "v2.10.0")
	if len(first) != 1 || !strings.Contains(first[0], "Normal OutdatedVersion") || !strings.Contains(first[0], "v2.10.0") || !strings.Contains(first[0], `"2.9.x"`) {
		t.Fatalf("told %q", first)
	}
	if again := tell("v2.9.4", "v2.9.4", "v2.10.0"); again != nil {
		t.Errorf("told again %q", again)
	}
	if newer := tell("v2.9.4", "v2.9.4", "v2.10.0", "v3.0.0"); len(newer) != 1 {
		t.Errorf("a newer release: told %q", newer)
	}
	if other := tell("v2.9.2", "v2.9.2", "v2.9.4", "v3.0.0"); len(other) != 1 {
		t.Errorf("another chosen release: told %q", other)
	}
	if current := tell("v3.0.0", "v2.9.4", "v3.0.0", "v3.1.0-rc.1"); current != nil {
		t.Errorf("the newest is chosen: told %q", current)
	}
}
