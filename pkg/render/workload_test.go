package render

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSetArg(t *testing.T) {
	for _, tt := range []struct {
		reason      string
		args        []any
		flag, value string
		want        []any
	}{
		{"no arguments", nil, "a", "1", []any{"--a=1"}},
		{"in its place", []any{"--x", "--a=0", "--y"}, "a", "1", []any{"--x", "--a=1", "--y"}},
		{"a flag without value", []any{"--a", "--y"}, "a", "true", []any{"--a=true", "--y"}},
		{"the value in an argument of its own", []any{"--a", "0", "--y"}, "a", "1", []any{"--a=1", "--y"}},
		{"a longer flag stays", []any{"--ab=0"}, "a", "1", []any{"--ab=0", "--a=1"}},
		{"given twice", []any{"--a=0", "--y", "--a=2"}, "a", "1", []any{"--a=1", "--y"}},
		{"an empty value", []any{"--a=0"}, "a", "", []any{"--a="}},
		{"something else in the list", []any{int64(1), "--a=0"}, "a", "1", []any{int64(1), "--a=1"}},
	} {
		w := &workload{manager: map[string]any{"args": tt.args}}
		w.setArg(tt.flag, tt.value)
		if diff := cmp.Diff(tt.want, w.manager["args"]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.reason, diff)
		}
		w.setArg(tt.flag, tt.value)
		if diff := cmp.Diff(tt.want, w.manager["args"]); diff != "" {
			t.Errorf("%s, done twice (-want +got):\n%s", tt.reason, diff)
		}
	}
}

func TestSetGateLeavesOtherGates(t *testing.T) {
	w := &workload{manager: map[string]any{}}
	w.setGate("A", "true")
	w.setGate("B", "false")
	w.setGate("A", "false")
	want := []any{"--feature-gates=A=false", "--feature-gates=B=false"}
	if diff := cmp.Diff(want, w.manager["args"]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
