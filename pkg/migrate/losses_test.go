package migrate

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// objectWith returns an object whose fields belong to one manager.
func objectWith(tb testing.TB, manifest, manager, fields string) *unstructured.Unstructured {
	tb.Helper()
	obj := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(manifest), &obj.Object); err != nil {
		tb.Fatal(err)
	}
	if manager != "" {
		obj.SetManagedFields([]metav1.ManagedFieldsEntry{{
			Manager: manager, Operation: metav1.ManagedFieldsOperationApply, FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(fields),
		}})
	}
	return obj
}

const service = "apiVersion: v1\nkind: Service\nmetadata: {name: webhook, namespace: flux-system}\n"

func TestLosses(t *testing.T) {
	const ports = `{"f:spec":{"f:ports":{"k:{\"port\":80,\"protocol\":\"TCP\"}":{".":{},"f:port":{},"f:nodePort":{}},"k:{\"port\":81,\"protocol\":\"TCP\"}":{".":{},"f:port":{}}}}}`
	tests := map[string]struct {
		live, want, manager, fields string
		lost                        []string
	}{
		"a field of an item, and an item": {
			service + "spec: {ports: [{port: 80, protocol: TCP, nodePort: 30080}, {port: 81, protocol: TCP, name: more}]}",
			service + "spec: {ports: [{port: 80}]}", "kubectl", ports,
			[]string{".spec.ports[80/TCP].nodePort", ".spec.ports[81/TCP]"},
		},
		"a field that nobody sets any more": {
			service + "spec: {}", service + "spec: {}", "kubectl", `{"f:spec":{"f:externalName":{}}}`, nil,
		},
		"a field of a manager that keeps it": {
			service + "spec: {externalName: a}", service + "spec: {}", "cloud-controller-manager", `{"f:spec":{"f:externalName":{}}}`, nil,
		},
		"a default": {
			service + "spec: {sessionAffinity: None, clusterIP: 10.0.0.1}", service + "spec: {}", "kubectl",
			`{"f:spec":{"f:sessionAffinity":{},"f:clusterIP":{}}}`, nil,
		},
		"another value than the default": {
			service + "spec: {sessionAffinity: ClientIP}", service + "spec: {}", "kubectl", `{"f:spec":{"f:sessionAffinity":{}}}`,
			[]string{".spec.sessionAffinity"},
		},
		"the marks of tools": {
			"kind: Service\nmetadata: {name: webhook, namespace: flux-system, labels: {app.kubernetes.io/version: v2, helm.sh/chart: flux2}}",
			service, "helm", `{"f:metadata":{"f:labels":{"f:app.kubernetes.io/version":{},"f:helm.sh/chart":{}}}}`, nil,
		},
		"an item of a set": {
			"kind: Service\nmetadata: {name: webhook, namespace: flux-system, finalizers: [example.com/a]}",
			service, "helm", `{"f:metadata":{"f:finalizers":{".":{},"v:\"example.com/a\"":{}}}}`, []string{".metadata.finalizers"},
		},
		"replicas": {
			service + "spec: {replicas: 3}", service + "spec: {replicas: 1}", "helm", `{"f:spec":{"f:replicas":{}}}`, []string{".spec.replicas"},
		},
		"replicas of a HelmRelease": {
			service + "spec: {replicas: 3}", service + "spec: {replicas: 1}", "helm-controller", `{"f:spec":{"f:replicas":{}}}`, []string{".spec.replicas"},
		},
		"the same amount": {
			service + "spec: {a: {resources: {limits: {cpu: 1000m}}}}", service + "spec: {a: {resources: {limits: {cpu: 1}}}}", "helm",
			`{"f:spec":{"f:a":{"f:resources":{"f:limits":{"f:cpu":{}}}}}}`, nil,
		},
		"a branch under its full name": {
			service + "spec: {ref: {branch: main}}", service + "spec: {ref: {name: refs/heads/main}}", "flux", `{"f:spec":{"f:ref":{"f:branch":{}}}}`, nil,
		},
		"another branch": {
			service + "spec: {ref: {branch: main}}", service + "spec: {ref: {name: refs/heads/next}}", "flux", `{"f:spec":{"f:ref":{"f:branch":{}}}}`,
			[]string{".spec.ref.branch"},
		},
		"managed fields that nobody can read": {
			service + "spec: {replicas: 3}", service, "helm", `{"f:spec":[]}`, nil,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			live := objectWith(t, test.live, test.manager, test.fields)
			want := objectWith(t, test.want, "", "")
			var lost []string
			for _, loss := range (lossFinder{}).find(want, live) {
				lost = append(lost, loss.Fields...)
			}
			if diff := cmp.Diff(test.lost, lost); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSurveyIsBounded(t *testing.T) {
	var found Found
	for i := range 100 {
		var fields, data strings.Builder
		for k := range 50 {
			fmt.Fprintf(&fields, `,"f:key%02d":{}`, k)
			fmt.Fprintf(&data, ", key%02d: x", k)
		}
		manifest := fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: n%03d, namespace: x}\n", i)
		obj := objectWith(t, manifest+"data: {a: b"+data.String()+"}", fmt.Sprintf("kubectl-%d", i), `{"f:data":{"f:a":{}`+fields.String()+"}}")
		obj.SetOwnerReferences([]metav1.OwnerReference{{Kind: "Owner", Name: fmt.Sprint(i), Controller: new(true)}})
		found.Live = append(found.Live, obj)
		found.Wanted = append(found.Wanted, objectWith(t, manifest+"data: {}", "", ""))
	}
	slices.Reverse(found.Live)
	instance := &v1.FluxInstance{ObjectMeta: metav1.ObjectMeta{Name: "flux", Namespace: "flux-system"}}
	instance.Spec.Adoption = &v1.Adoption{Collisions: v1.CollideUnowned}
	survey := Survey(instance, found)
	if len(survey.Tools) != MaxListed || len(survey.Losses) != MaxListed || len(survey.Refused) != MaxListed || survey.Objects != 100 {
		t.Errorf("%d tools, %d losses, %d refused, %d objects", len(survey.Tools), len(survey.Losses), len(survey.Refused), survey.Objects)
	}
	if first := survey.Losses[0]; first.Object != "ConfigMap/x/n000" || len(first.Fields) != maxFields || first.Fields[0] != ".data.a" {
		t.Errorf("%+v", first)
	}
	if diff := cmp.Diff(survey, Survey(instance, found)); diff != "" {
		t.Error(diff)
	}
}

func TestFormer(t *testing.T) {
	instance := &v1.FluxInstance{ObjectMeta: metav1.ObjectMeta{Name: "flux", Namespace: "flux-system"}}
	own := map[string]string{v1.OwnerNameLabel: "flux", v1.OwnerNamespaceLabel: "flux-system"}
	tests := map[string]struct {
		change func(*unstructured.Unstructured)
		name   string
		taken  map[v1.CollisionRule]bool
	}{
		"the instance itself": {
			func(o *unstructured.Unstructured) { o.SetLabels(own) }, "flux-operator",
			map[v1.CollisionRule]bool{v1.CollideOwn: true, v1.CollideUnowned: true, v1.CollideAny: true},
		},
		"another instance": {
			func(o *unstructured.Unstructured) {
				o.SetLabels(map[string]string{v1.OwnerNameLabel: "flux", v1.OwnerNamespaceLabel: "other"})
			}, "FluxInstance other/flux",
			map[v1.CollisionRule]bool{v1.CollideAny: true},
		},
		"a HelmRelease": {
			func(o *unstructured.Unstructured) {
				o.SetLabels(map[string]string{"helm.toolkit.fluxcd.io/name": "flux", "helm.toolkit.fluxcd.io/namespace": "flux-system"})
				o.SetAnnotations(map[string]string{"meta.helm.sh/release-name": "flux"})
			}, "HelmRelease flux-system/flux",
			map[v1.CollisionRule]bool{v1.CollideAny: true},
		},
		"an owner": {
			func(o *unstructured.Unstructured) {
				o.SetOwnerReferences([]metav1.OwnerReference{{Kind: "Addon", Name: "flux", Controller: new(true)}})
			}, "Addon flux",
			map[v1.CollisionRule]bool{v1.CollideAny: true},
		},
		"nobody": {func(*unstructured.Unstructured) {}, "unknown", map[v1.CollisionRule]bool{v1.CollideUnowned: true, v1.CollideAny: true}},
		"the namespace of the instance": {
			func(o *unstructured.Unstructured) {
				o.SetKind("Namespace")
				o.SetNamespace("")
				o.SetName("flux-system")
			}, "unknown",
			map[v1.CollisionRule]bool{v1.CollideOwn: true, v1.CollideUnowned: true, v1.CollideAny: true},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			obj := objectWith(t, service, "", "")
			test.change(obj)
			was := formerOf(obj, instance)
			if was.name != test.name {
				t.Errorf("name = %q, want %q", was.name, test.name)
			}
			for _, rule := range []v1.CollisionRule{v1.CollideOwn, v1.CollideUnowned, v1.CollideAny} {
				strict := instance.DeepCopy()
				strict.Spec.Adoption = &v1.Adoption{Collisions: rule}
				if taken := was.mayBeTaken(obj, strict); taken != test.taken[rule] {
					t.Errorf("%s: taken = %v, want %v", rule, taken, test.taken[rule])
				}
			}
		})
	}
}

// FuzzLosses feeds managed fields, which anybody who may write an object can set, and objects that do not match them.
func FuzzLosses(f *testing.F) {
	f.Add(`{"f:spec":{"f:ports":{"k:{\"port\":80}":{".":{},"f:port":{}}}}}`, "spec: {ports: [{port: 80}]}", "spec: {}")
	f.Add(`{"f:spec":{"f:args":{}}}`, "spec: {args: [--token=hidden, 1]}", "spec: {args: {}}")
	f.Add(`{"f:metadata":{"f:finalizers":{"v:\"a\"":{}},"f:labels":{"f:a":{}}}}`, "metadata: {labels: {a: b}}", "metadata: {labels: []}")
	f.Add(`{"f:a":{"i:0":{}}}`, "a: [b]", "a: []")
	f.Fuzz(func(t *testing.T, fields, live, want string) {
		there, wanted := &unstructured.Unstructured{}, &unstructured.Unstructured{}
		if yaml.Unmarshal([]byte(live), &there.Object) != nil || yaml.Unmarshal([]byte(want), &wanted.Object) != nil || there.Object == nil {
			t.Skip()
		}
		entry := metav1.ManagedFieldsEntry{Manager: "kubectl", Operation: metav1.ManagedFieldsOperationApply, FieldsV1: metav1.NewFieldsV1(fields)}
		lost, err := lostFields(entry, wanted, there)
		if err != nil {
			return
		}
		for _, text := range lost {
			if len(text) > maxField+len("…") || strings.Contains(text, "hidden") && !strings.Contains(fields, "hidden") && !strings.Contains(live, "hidden:") {
				t.Errorf("%q of %q", text, live)
			}
		}
	})
}
