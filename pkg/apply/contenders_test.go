package apply

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

const wantedApp = `
apiVersion: apps/v1
kind: Deployment
metadata:
  name: app
  namespace: flux-system
  labels: {x: ours}
  finalizers: [example.com/keep]
spec:
  replicas: 1
  selector: {matchLabels: {app: app}}
  template:
    spec:
      containers:
      - name: manager
        image: example.com/app:v1
        args: [--a]
        ports: [{containerPort: 8080}]
`

func fromYAML(tb testing.TB, manifest string) *unstructured.Unstructured {
	tb.Helper()
	obj := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(manifest), &obj.Object); err != nil {
		tb.Fatal(err)
	}
	return obj
}

// wrote is an entry of managed fields, written some minutes after noon.
func wrote(manager string, operation metav1.ManagedFieldsOperationType, minute int, fields string) metav1.ManagedFieldsEntry {
	at := metav1.NewTime(time.Date(2026, 1, 1, 12, minute, 0, 0, time.UTC))
	return metav1.ManagedFieldsEntry{Manager: manager, Operation: operation, Time: &at, FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(fields)}
}

func TestContenders(t *testing.T) {
	const apply, update = metav1.ManagedFieldsOperationApply, metav1.ManagedFieldsOperationUpdate
	scaled := wrote(horizontalManager, update, 3, `{"f:spec":{"f:replicas":{}}}`)
	scaled.Subresource = "scale"
	timeless := wrote("timeless", update, 0, `{"f:metadata":{"f:labels":{"f:x":{}}}}`)
	timeless.Time = nil
	for name, test := range map[string]struct {
		annotation string
		left       [][]string
		entries    []metav1.ManagedFieldsEntry
		want       []Contender
	}{
		"an autoscaler of its own": {
			entries: []metav1.ManagedFieldsEntry{{Manager: "scaler", Operation: update, Subresource: "scale", FieldsV1: scaled.FieldsV1}},
		},
		"nobody": {entries: []metav1.ManagedFieldsEntry{wrote(v1.FieldManager, apply, 0, `{"f:spec":{"f:replicas":{}}}`)}},
		"a label": {
			entries: []metav1.ManagedFieldsEntry{wrote("rival", update, 1, `{"f:metadata":{"f:labels":{"f:x":{},"f:theirs":{}}}}`)},
			want:    []Contender{{"rival", []string{".metadata.labels.x"}}},
		},
		"items of lists, by key, by value and with keys that are defaults": {
			entries: []metav1.ManagedFieldsEntry{wrote("rival", apply, 1, `{
				"f:metadata":{"f:finalizers":{"v:\"example.com/keep\"":{},"v:\"example.com/theirs\"":{}}},
				"f:spec":{"f:template":{"f:spec":{"f:containers":{
					"k:{\"name\":\"manager\"}":{".":{},"f:image":{},"f:tty":{},"f:ports":{"k:{\"containerPort\":8080,\"protocol\":\"TCP\"}":{"f:containerPort":{}}}},
					"k:{\"name\":\"sidecar\"}":{".":{},"f:image":{}}}}}}}`)},
			want: []Contender{{"rival", []string{
				`.metadata.finalizers[="example.com/keep"]`,
				`.spec.template.spec.containers[name="manager"].image`,
				`.spec.template.spec.containers[name="manager"].ports[containerPort=8080,protocol="TCP"].containerPort`,
			}}},
		},
		"what is also ours was not taken from us": {
			entries: []metav1.ManagedFieldsEntry{
				wrote(v1.FieldManager, apply, 0, `{"f:metadata":{"f:labels":{"f:x":{}}}}`),
				wrote("friend", apply, 1, `{"f:metadata":{"f:labels":{"f:x":{}}}}`),
			},
		},
		"whatever is set by those whose fields are taken over, but for the restart that they ask for": {
			entries: []metav1.ManagedFieldsEntry{wrote("kubectl-edit", update, 1, `{"f:spec":{"f:paused":{},
				"f:template":{"f:metadata":{"f:annotations":{".":{},"f:kubectl.kubernetes.io/restartedAt":{}}}}}}`)},
			want: []Contender{{"kubectl-edit", []string{".spec.paused"}}},
		},
		"the newest first": {
			entries: []metav1.ManagedFieldsEntry{
				timeless,
				wrote("older", update, 1, `{"f:spec":{"f:selector":{}}}`),
				wrote("newer", update, 2, `{"f:metadata":{"f:labels":{"f:x":{}}}}`),
				scaled,
			},
			want: []Contender{
				{horizontalManager, []string{".spec.replicas"}},
				{"newer", []string{".metadata.labels.x"}},
				{"older", []string{".spec.selector"}},
				{"timeless", []string{".metadata.labels.x"}},
			},
		},
		"not for what is left to others": {
			annotation: "/metadata/labels/x,/spec/template/spec/containers/0/args",
			left:       [][]string{{"spec", "replicas"}},
			entries: []metav1.ManagedFieldsEntry{
				wrote("rival", update, 1, `{"f:metadata":{"f:labels":{"f:x":{}}},"f:spec":{"f:replicas":{}}}`),
				wrote("kubectl-edit", update, 2, `{"f:spec":{"f:replicas":{},"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"manager\"}":{"f:args":{}}}}}}}`),
			},
		},
		"nor what cannot be read": {
			entries: []metav1.ManagedFieldsEntry{{Manager: "rival"}, wrote("rival", update, 1, `{"x:":[]}`), wrote("rival", update, 1, ``)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			wanted := fromYAML(t, wantedApp)
			wanted.SetAnnotations(map[string]string{v1.IgnoreFieldsAnnotation: test.annotation})
			a := New(nil, Options{}).Leaving(Fields{IDOf(wanted): test.left})
			live := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
				Labels: map[string]string{"x": "theirs"}, Annotations: wanted.GetAnnotations(), ManagedFields: test.entries,
			}}
			if diff := cmp.Diff(test.want, a.Contenders(live, wanted)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWhatIsGoneHasNoManager(t *testing.T) {
	wanted := fromYAML(t, wantedApp)
	wanted.SetAnnotations(map[string]string{"b": "", "a": "", "left": "", v1.IgnoreFieldsAnnotation: "/metadata/annotations/left"})
	live := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Annotations:   map[string]string{v1.IgnoreFieldsAnnotation: ""},
		ManagedFields: []metav1.ManagedFieldsEntry{wrote("rival", metav1.ManagedFieldsOperationUpdate, 0, `{"f:spec":{"f:replicas":{}}}`)},
	}}
	want := []Contender{
		{"rival", []string{".spec.replicas"}},
		{Somebody, []string{".metadata.labels.x", ".metadata.annotations.a", ".metadata.annotations.b"}},
	}
	if diff := cmp.Diff(want, New(nil, Options{}).Contenders(live, wanted)); diff != "" {
		t.Error(diff)
	}
}

func TestContendersAreBounded(t *testing.T) {
	const many = 100
	data := make(map[string]any, many)
	owned := make(map[string]any, many)
	for i := range many {
		key := strings.Repeat("k", i+1)
		data[key], owned["f:"+key] = "v", map[string]any{}
	}
	fields, err := json.Marshal(map[string]any{"f:data": owned})
	if err != nil {
		t.Fatal(err)
	}
	live := &metav1.PartialObjectMetadata{}
	for i := range many {
		live.ManagedFields = append(live.ManagedFields, wrote("rival-"+strings.Repeat("x", i), metav1.ManagedFieldsOperationUpdate, 0, string(fields)))
	}
	wanted := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "data": data}}
	found := New(nil, Options{}).Contenders(live, wanted)
	if len(found) != maxContenders || len(found[0].Fields) != maxContendedFields {
		t.Errorf("%d contenders, %d fields of the first", len(found), len(found[0].Fields))
	}
}

// FuzzContenders feeds managed fields that no API server would write: they must neither break anything nor name a field that is not ours.
func FuzzContenders(f *testing.F) {
	f.Add("rival", `{"f:metadata":{"f:labels":{"f:x":{}}},"f:spec":{"f:replicas":{}}}`)
	f.Add("rival", `{"f:spec":{"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"manager\"}":{".":{},"f:image":{}},"i:0":{}}}}}}`)
	f.Add("kubectl", `{"f:metadata":{"f:finalizers":{"v:\"example.com/keep\"":{}}}}`)
	f.Add("rival", `{"i:-1":{},"v:{}":{},"k:{}":{}}`)
	f.Fuzz(func(t *testing.T, manager, fields string) {
		wanted := fromYAML(t, wantedApp)
		live := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Labels: wanted.GetLabels(), ManagedFields: []metav1.ManagedFieldsEntry{
			wrote(v1.FieldManager, metav1.ManagedFieldsOperationApply, 0, `{"f:spec":{"f:replicas":{}}}`),
			wrote(manager, metav1.ManagedFieldsOperationUpdate, 1, fields),
		}}}
		for _, contender := range New(nil, Options{}).Leaving(Fields{IDOf(wanted): {{"metadata", "labels", "x"}}}).Contenders(live, wanted) {
			if len(contender.Fields) == 0 || len(contender.Fields) > maxContendedFields {
				t.Errorf("%q contends for %d fields", contender.Manager, len(contender.Fields))
			}
			for _, field := range contender.Fields {
				if field == ".spec.replicas" || field == ".metadata.labels.x" {
					t.Errorf("%q is said to contend for %s", contender.Manager, field)
				}
			}
		}
	})
}
