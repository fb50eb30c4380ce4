package migrate

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func entry(manager, operation, apiVersion, subresource, fields string) metav1.ManagedFieldsEntry {
	return metav1.ManagedFieldsEntry{
		Manager: manager, Operation: metav1.ManagedFieldsOperationType(operation), APIVersion: apiVersion, Subresource: subresource,
		FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(fields),
	}
}

func TestCarry(t *testing.T) {
	const (
		old, current = "example.com/v1beta1", "example.com/v1"
		a, b         = `{"f:spec":{"f:a":{}}}`, `{"f:spec":{"f:b":{}}}`
		both         = `{"f:spec":{"f:a":{},"f:b":{}}}`
	)
	tests := map[string]struct {
		in, want []metav1.ManagedFieldsEntry
	}{
		"nothing elsewhere": {
			in: []metav1.ManagedFieldsEntry{entry("x", "Apply", current, "", a), entry("x", "Update", current, "status", a), entry("y", "Update", "other.com/v1beta1", "", a)},
		},
		"an applier and another group": {
			in:   []metav1.ManagedFieldsEntry{entry("x", "Apply", old, "", a), entry("y", "Update", "other.com/v1beta1", "", a)},
			want: []metav1.ManagedFieldsEntry{entry("x", "Apply", current, "", a), entry("y", "Update", "other.com/v1beta1", "", a)},
		},
		"the same updater in both versions": {
			in:   []metav1.ManagedFieldsEntry{entry("x", "Update", old, "", a), entry("z", "Apply", current, "", a), entry("x", "Update", current, "", b)},
			want: []metav1.ManagedFieldsEntry{entry("x", "Update", current, "", both), entry("z", "Apply", current, "", a)},
		},
		"different operations and subresources": {
			in:   []metav1.ManagedFieldsEntry{entry("x", "Update", old, "", a), entry("x", "Apply", old, "", b), entry("x", "Update", old, "status", b)},
			want: []metav1.ManagedFieldsEntry{entry("x", "Update", current, "", a), entry("x", "Apply", current, "", b), entry("x", "Update", current, "status", b)},
		},
	}
	step := Step{Definition: Definition{Group: "example.com"}, To: "v1"}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, changed, err := step.carry(test.in)
			if err != nil {
				t.Fatal(err)
			}
			if changed != (test.want != nil) {
				t.Errorf("changed = %v", changed)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("managed fields (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCarryKeepsTheLaterTime(t *testing.T) {
	early, late := metav1.NewTime(time.Unix(1, 0)), metav1.NewTime(time.Unix(2, 0))
	first, second := entry("x", "Update", "example.com/v0", "", "{}"), entry("x", "Update", "example.com/v1", "", "{}")
	first.Time, second.Time = &early, &late
	second.FieldsV1 = nil
	got, _, err := Step{Definition: Definition{Group: "example.com"}, To: "v1"}.carry([]metav1.ManagedFieldsEntry{first, second})
	if err != nil || len(got) != 1 || !got[0].Time.Equal(&late) {
		t.Errorf("managed fields = %v, %v, want one of the later time", got, err)
	}
}

func TestCarryRefusesWhatItDoesNotUnderstand(t *testing.T) {
	in := []metav1.ManagedFieldsEntry{entry("x", "Update", "example.com/v0", "", `{"f:a":`), entry("x", "Update", "example.com/v1", "", "{}")}
	if _, _, err := (Step{Definition: Definition{Group: "example.com"}, To: "v1"}).carry(in); err == nil {
		t.Error("no error for broken fields")
	}
}
