package controllers

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/artifact"
)

func TestStopoversAreNewerThanWhatWasFound(t *testing.T) {
	folder := os.Getenv("DISTRIBUTION_DIR")
	if folder == "" {
		t.Fatal("DISTRIBUTION_DIR is not set: run `make test`, which makes the distribution and sets it")
	}
	catalog, err := artifact.Builtin(folder)
	if err != nil {
		t.Fatal(err)
	}
	instance := &v1.FluxInstance{}
	instance.Name, instance.Namespace = v1.DefaultInstanceName, v1.DefaultNamespace
	instance.Spec.Distribution.Registry = "ghcr.io/fluxcd"
	instance.Spec.Components = []v1.Component{v1.SourceController}
	for name, tt := range map[string]struct {
		from, wanted string
		want         []string
	}{
		"nothing is known":              {"", "v2.4.0", []string{"v2.2.3", "v2.3.0", "v2.4.0"}},
		"the oldest one":                {"v2.2.3", "v2.5.1", []string{"v2.3.0", "v2.4.0", "v2.5.1"}},
		"one that is not available":     {"v2.4.3", "v2.7.5", []string{"v2.5.1", "v2.6.4", "v2.7.5"}},
		"a newer patch":                 {"v2.8.7", "v2.8.8", []string{"v2.8.8"}},
		"the one before":                {"v2.6.4", "v2.7.5", []string{"v2.7.5"}},
		"what a label says in no words": {"vmain", "v2.3.0", []string{"v2.2.3", "v2.3.0"}},
	} {
		way := &journey{from: tt.from, wanted: tt.wanted}
		var got []string
		for _, release := range way.stopovers(catalog, catalog.Versions, instance) {
			got = append(got, release.Version)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
