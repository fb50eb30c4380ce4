package migrate

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// def writes a definition: its versions, of which * is the storage version and - is not served, and after a slash those stored.
func def(name, text string) Definition {
	versions, stored, _ := strings.Cut(text, "/")
	d := Definition{Name: name, Group: "example.com", Kind: "Thing", Stored: strings.Fields(stored)}
	for version := range strings.FieldsSeq(versions) {
		d.Versions = append(d.Versions, Version{
			Name: strings.Trim(version, "*-"), Served: !strings.Contains(version, "-"), Storage: strings.Contains(version, "*"),
		})
	}
	return d
}

func TestPlan(t *testing.T) {
	tests := map[string]struct {
		live, want string
		step       *Step
		refused    bool
	}{
		"the same":             {live: "v1* / v1", want: "v1*"},
		"a version more":       {live: "v1beta1* / v1beta1", want: "v1* v1beta1"},
		"not stored any more":  {live: "v1* v1beta1 / v1", want: "v1*", step: &Step{To: "v1"}},
		"stored in the past":   {live: "v1* v1beta1 / v1beta1 v1", want: "v1*", step: &Step{To: "v1", Rewrite: true}},
		"stored and kept":      {live: "v1* v1beta1 / v1beta1 v1", want: "v1* v1beta1"},
		"never served":         {live: "v1* v1alpha1- / v1alpha1 v1", want: "v1*", step: &Step{To: "v1", Rewrite: true}},
		"no longer served":     {live: "v1* v1beta1 / v1beta1 v1", want: "v1* v1beta1-", step: &Step{To: "v1"}},
		"storage version goes": {live: "v1 v2* / v2", want: "v1*", step: &Step{To: "v1", Rewrite: true}},
		"storage version goes, the next is there": {
			live: "v1beta1 v1beta2 v2alpha1* / v2alpha1", want: "v1beta1 v1beta2*",
			step: &Step{To: "v1beta2", Rewrite: true},
		},
		"storage version goes, the next is not there": {
			live: "v1alpha1 v1beta1 v2* / v2", want: "v1alpha1 v1beta1 v3*",
			step: &Step{To: "v1beta1", Rewrite: true},
		},
		"stays in the version that it is stored in": {
			live: "v1beta1 v1beta2* / v1beta1 v1beta2", want: "v1* v1beta2",
			step: &Step{To: "v1beta2", Rewrite: true},
		},
		"nothing in common":                     {live: "v1beta1* / v1beta1", want: "v1*", refused: true},
		"in common but not served":              {live: "v1- v1beta1* / v1beta1", want: "v1*", refused: true},
		"nothing in common and nothing is lost": {live: "v1beta1 v1-* / v1", want: "v1*"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			live := def("things.example.com", test.live)
			steps, err := Plan([]Definition{def("others.example.com", "v1* / v1 v0"), live}, []Definition{def("new.example.com", "v1*"), def(live.Name, test.want)})
			if _, refused := errors.AsType[*StrandedError](err); refused != test.refused {
				t.Fatalf("refused = %v, want %v: %v", refused, test.refused, err)
			}
			var want []Step
			if test.step != nil {
				test.step.Definition = live
				want = []Step{*test.step}
			}
			if diff := cmp.Diff(want, steps, cmp.AllowUnexported(Definition{}), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPlanRefusesAllOrNothing(t *testing.T) {
	live := []Definition{def("a.example.com", "v1 v0* / v0"), def("b.example.com", "v0* / v0"), def("c.example.com", "v0* / v0")}
	wanted := []Definition{def("a.example.com", "v1*"), def("b.example.com", "v1*"), def("c.example.com", "v1*")}
	steps, err := Plan(live, wanted)
	if steps != nil {
		t.Errorf("steps = %v, want none", steps)
	}
	const want = `objects of CustomResourceDefinition "b.example.com" are stored in v0, which the wanted definition does not have, and no version is served by both: ` +
		"v0 now, v1 wanted; apply a release in between first"
	if err == nil || !strings.HasPrefix(err.Error(), want) || !strings.Contains(err.Error(), `"c.example.com"`) {
		t.Errorf("error = %v, want it to begin with %q and to name c.example.com", err, want)
	}
}

func TestFinishAndForce(t *testing.T) {
	tests := map[string]struct {
		live           string
		finish, forced Step
	}{
		"clean": {"v1* v1beta1 / v1", Step{To: "v1"}, Step{To: "v1", Rewrite: true}},
		"left over": {
			"v1* v1beta1- / v1beta1 v1", Step{To: "v1", Rewrite: true}, Step{To: "v1", Rewrite: true},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			live := []Definition{def("things.example.com", test.live)}
			test.finish.Definition, test.forced.Definition = live[0], live[0]
			if diff := cmp.Diff([]Step{test.finish}, Finish(live), cmp.AllowUnexported(Definition{})); diff != "" {
				t.Errorf("Finish (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]Step{test.forced}, Force(live), cmp.AllowUnexported(Definition{})); diff != "" {
				t.Errorf("Force (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPath(t *testing.T) {
	tests := map[string]struct {
		live     string
		releases []string
		want     []string
	}{
		"at once":                            {"v1* / v1", []string{"v1* v2", "v1 v2*", "v1* v2"}, []string{"2"}},
		"through the newest in between":      {"v1* / v1", []string{"v1* v2", "v1 v2*", "v2*"}, []string{"1", "2"}},
		"through the only one":               {"v1* / v1", []string{"v1 v2*", "v2 v3*", "v3*"}, []string{"0", "1", "2"}},
		"what is stored must go, too":        {"v1 v2* / v1 v2", []string{"v2* v3", "v3*"}, []string{"0", "1"}},
		"fewest, even if the first is older": {"v1* / v1", []string{"v1 v3*", "v1 v2*", "v3*"}, []string{"0", "2"}},
		"no way":                             {"v1* / v1", []string{"v1*", "v2*", "v3*"}, nil},
		"nothing to go to":                   {"v1* / v1", nil, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			live := []Definition{def("things.example.com", test.live), def("new.example.com", "v9* / v9")}
			var available []Release
			for i, versions := range test.releases {
				available = append(available, Release{Version: string(rune('0' + i)), Definitions: []Definition{def("things.example.com", versions)}})
			}
			got, err := Path(live, available)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("path (-want +got):\n%s", diff)
			}
			_, stranded := errors.AsType[*StrandedError](err)
			if refused := test.want == nil && len(available) > 0; stranded != refused {
				t.Errorf("refused = %v, want %v: %v", stranded, refused, err)
			}
		})
	}
}

func TestPathRemembersWhatAReleaseDoesNotBring(t *testing.T) {
	live := []Definition{def("a.example.com", "v1* / v1"), def("b.example.com", "v1* / v1")}
	available := []Release{
		{"between", []Definition{def("a.example.com", "v1 v2*")}},
		{"wanted", []Definition{def("a.example.com", "v2*"), def("b.example.com", "v2*")}},
	}
	_, err := Path(live, available)
	if err == nil || !strings.Contains(err.Error(), `"b.example.com"`) {
		t.Errorf("error = %v, want b.example.com to be in the way", err)
	}
}

func TestDefinitions(t *testing.T) {
	crd := func(spec map[string]any) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": map[string]any{"name": "things.example.com"}, "spec": spec,
		}}
	}
	other := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap"}}
	good := crd(map[string]any{
		"group": "example.com", "names": map[string]any{"kind": "Thing"},
		"versions": []any{map[string]any{"name": "v1", "served": true, "storage": true, "schema": map[string]any{}}, map[string]any{"name": "v0"}},
	})
	got, err := Definitions([]*unstructured.Unstructured{other, good})
	if err != nil {
		t.Fatal(err)
	}
	want := []Definition{def("things.example.com", "v1* v0-")}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(Definition{}), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("definitions (-want +got):\n%s", diff)
	}
	for name, bad := range map[string]*unstructured.Unstructured{
		"no storage version": crd(map[string]any{"group": "example.com", "names": map[string]any{"kind": "Thing"}}),
		"wrong type":         crd(map[string]any{"versions": "v1"}),
	} {
		if _, err := Definitions([]*unstructured.Unstructured{bad}); err == nil || !strings.Contains(err.Error(), `"things.example.com"`) {
			t.Errorf("%s: error = %v, want one that names the definition", name, err)
		}
	}
}

func TestInstalled(t *testing.T) {
	for name, tt := range map[string]struct {
		labels []string
		want   string
	}{
		"nothing":                 {nil, ""},
		"no labels":               {[]string{"", ""}, ""},
		"with and without a v":    {[]string{"v2.5.1", "2.5.1", "v2.6.4"}, "v2.5.1"},
		"what most of them say":   {[]string{"v2.9.4", "", "v2.6.4", "v2.6.4"}, "v2.6.4"},
		"one of those that drew":  {[]string{"v2.6.4", "v2.5.1"}, "v2.5.1"},
		"what nobody understands": {[]string{"main"}, "vmain"},
	} {
		var live []Definition
		for _, label := range tt.labels {
			live = append(live, Definition{release: label})
		}
		if got := Installed(live); got != tt.want {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
}
