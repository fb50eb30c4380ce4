package bench

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestStale(t *testing.T) {
	began := time.Now()
	at := func(seconds int) time.Time { return began.Add(time.Duration(seconds) * time.Second) }
	written := []time.Time{at(0), at(1), at(2)}
	for name, c := range map[string]struct {
		seen []sighting
		want sample
	}{
		"one after the other":  {[]sighting{{at(1), 8}, {at(2), 9}, {at(5), 10}}, sample{1, 1, 3}},
		"all at once":          {[]sighting{{at(1), 7}, {at(4), 10}}, sample{4, 3, 2}},
		"two of three":         {[]sighting{{at(4), 9}}, nil},
		"before they are told": {[]sighting{{at(0), 7}}, nil},
	} {
		got, err := stale(written, 7, c.seen)
		if diff := cmp.Diff(c.want, got); diff != "" || (err == nil) != (c.want != nil) {
			t.Errorf("%s: %v (-want +got) %s", name, err, diff)
		}
	}
}

func TestCountScrape(t *testing.T) {
	var got scrape
	err := got.count([]byte(`# HELP flux_objects The number of objects by kind and state.
# TYPE flux_objects gauge
flux_objects{kind="HelmRelease",ready="False",reason="UpgradeFailed",suspended="False"} 3
flux_objects{kind="HelmRelease",ready="True",reason="UpgradeSucceeded",suspended="False"} 1.2e+03
flux_operator_info{version="1"} 1
flux_resource_info{kind="HelmRelease",ready="False"} 1
flux_resource_info{kind="HelmRelease",ready="True"} 1
`))
	if err != nil {
		t.Fatal(err)
	}
	if want := (scrape{objects: 1203, failing: 3, series: 2}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestModelObjects(t *testing.T) {
	models, err := documents(modelObjects)
	if err != nil {
		t.Fatal(err)
	}
	shares := 0
	for _, model := range models {
		shares += share(model.GetKind())
		stored, err := json.Marshal(model)
		if err != nil {
			t.Fatal(err)
		}
		kind := &crowd{model: model, stored: string(stored), uid: "the-uid"}
		made := kind.copy(failingShare - 1)
		obj := &unstructured.Unstructured{}
		if err := obj.UnmarshalJSON(made.Value); err != nil {
			t.Fatal(err)
		}
		if obj.GetName() != "application-00049" || obj.GetNamespace() != "team-049" || isReadyObject(obj) || !isReadyObject(model) {
			t.Errorf("a failing copy of a %s is %s", model.GetKind(), made.Value)
		}
		if strings.Contains(string(made.Value), modelName) || strings.Contains(string(made.Value), modelRevision) {
			t.Errorf("a copy of a %s still names the model: %s", model.GetKind(), made.Value)
		}
	}
	if shares != 100 {
		t.Errorf("the kinds have %d of 100 objects", shares)
	}
}
