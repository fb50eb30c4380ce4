package apply

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

func object(apiVersion, kind, namespace, name string) *unstructured.Unstructured {
	obj := &unstructured.Unstructured{}
	obj.SetAPIVersion(apiVersion)
	obj.SetKind(kind)
	obj.SetNamespace(namespace)
	obj.SetName(name)
	return obj
}

func TestStaged(t *testing.T) {
	crd := object("apiextensions.k8s.io/v1", "CustomResourceDefinition", "", "things.example.com")
	crd.Object["spec"] = map[string]any{"group": "example.com", "names": map[string]any{"kind": "Thing"}}
	objects := []*unstructured.Unstructured{
		object("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", "", "hook"),
		object("example.com/v1", "Thing", "ns", "thing"),
		object("apps/v1", "Deployment", "ns", "b"),
		object("apps/v1", "Deployment", "ns", "a"),
		object("other.example.com/v1", "Thing", "ns", "not-ours"),
		object("v1", "Service", "ns", "svc"),
		object("v1", "ServiceAccount", "ns", "sa"),
		object("scheduling.k8s.io/v1", "PriorityClass", "", "class"),
		crd,
		object("v1", "Namespace", "", "ns"),
	}
	before := append([]*unstructured.Unstructured(nil), objects...)
	var got [][]string
	for _, members := range staged(objects) {
		var names []string
		for _, obj := range members {
			names = append(names, IDOf(obj).String())
		}
		got = append(got, names)
	}
	want := [][]string{
		{"CustomResourceDefinition/things.example.com", "Namespace/ns", "PriorityClass/class"},
		{"ServiceAccount/ns/sa"},
		{"Service/ns/svc"},
		{"Deployment/ns/a", "Deployment/ns/b", "Thing/ns/not-ours"},
		{"Thing/ns/thing"},
		{"ValidatingWebhookConfiguration/hook"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("stages (-want +got):\n%s", diff)
	}
	for i := range before {
		if before[i] != objects[i] {
			t.Fatal("the input was reordered")
		}
	}
}

func TestMatches(t *testing.T) {
	entry := func(manager, subresource, fields string) metav1.ManagedFieldsEntry {
		return metav1.ManagedFieldsEntry{
			Manager: manager, Operation: metav1.ManagedFieldsOperationApply, Subresource: subresource,
			FieldsV1: metav1.NewFieldsV1(fields), Time: &metav1.Time{Time: time.Unix(1000, 0)},
		}
	}
	obj := object("apps/v1", "Deployment", "ns", "app")
	obj.SetLabels(map[string]string{"ours": "1"})
	obj.SetAnnotations(map[string]string{"note": "2"})
	base := func() *metav1.PartialObjectMetadata {
		return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
			UID: "one", ResourceVersion: "100", Generation: 3,
			Labels: map[string]string{"ours": "1", "foreign": "x"}, Annotations: map[string]string{"note": "2"},
			ManagedFields: []metav1.ManagedFieldsEntry{entry("flux-operator", "", `{"f:spec":{}}`)},
		}}
	}
	cases := map[string]struct {
		generation int64
		change     func(*metav1.PartialObjectMetadata)
		want       bool
	}{
		"nothing changed":            {3, func(*metav1.PartialObjectMetadata) {}, true},
		"an older version":           {3, func(m *metav1.PartialObjectMetadata) { m.ResourceVersion, m.UID, m.Generation = "99", "zero", 2 }, true},
		"a status update":            {3, func(m *metav1.PartialObjectMetadata) { m.ResourceVersion = "101" }, true},
		"a foreign label":            {3, func(m *metav1.PartialObjectMetadata) { m.ResourceVersion, m.Labels["another"] = "101", "y" }, true},
		"another object":             {3, func(m *metav1.PartialObjectMetadata) { m.ResourceVersion, m.UID = "101", "two" }, false},
		"being deleted":              {3, func(m *metav1.PartialObjectMetadata) { m.ResourceVersion, m.DeletionTimestamp = "101", &metav1.Time{} }, false},
		"a label of ours changed":    {3, func(m *metav1.PartialObjectMetadata) { m.ResourceVersion, m.Labels["ours"] = "101", "9" }, false},
		"an annotation of ours gone": {3, func(m *metav1.PartialObjectMetadata) { m.ResourceVersion, m.Annotations = "101", nil }, false},
		"the spec changed": {3, func(m *metav1.PartialObjectMetadata) {
			m.ResourceVersion, m.Generation = "101", 4
			m.ManagedFields = append(m.ManagedFields, entry("somebody", "", `{"f:spec":{}}`))
		}, false},
		"the spec changed, managed fields stripped": {3, func(m *metav1.PartialObjectMetadata) {
			m.ResourceVersion, m.Generation, m.ManagedFields = "101", 4, nil
		}, false},
		"scaled by an autoscaler that owns replicas": {3, func(m *metav1.PartialObjectMetadata) {
			m.ResourceVersion, m.Generation = "101", 4
			m.ManagedFields = append(m.ManagedFields, entry("hpa", "scale", `{"f:spec":{}}`))
		}, true},
		"no generation, a status update": {0, func(m *metav1.PartialObjectMetadata) {
			m.ResourceVersion = "101"
			m.ManagedFields = append(m.ManagedFields, entry("kcm", "status", `{"f:status":{}}`))
		}, true},
		"no generation, data changed": {0, func(m *metav1.PartialObjectMetadata) {
			m.ResourceVersion = "101"
			m.ManagedFields[0] = entry("flux-operator", "", `{}`)
		}, false},
		"no generation, managed fields stripped": {0, func(m *metav1.PartialObjectMetadata) {
			m.ResourceVersion, m.ManagedFields = "101", nil
		}, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			seen, live := base(), base()
			seen.Generation, live.Generation = tc.generation, tc.generation
			observed := observe(obj, seen, "flux-operator")
			tc.change(live)
			if got := observed.Matches(live); got != tc.want {
				t.Errorf("Matches() = %t, want %t", got, tc.want)
			}
		})
	}
}

func TestActionOf(t *testing.T) {
	start := time.Unix(100_000, 0)
	at := func(seconds int) metav1.Time { return metav1.NewTime(start.Add(time.Duration(seconds) * time.Second)) }
	cases := map[string]struct {
		revision      string
		previous, now Observed
		created       metav1.Time
		want          Action
	}{
		"same version":                        {"", Observed{UID: "a", ResourceVersion: "5"}, Observed{UID: "a", ResourceVersion: "5"}, at(-99), Unchanged},
		"only the status changed":             {"", Observed{UID: "a", ResourceVersion: "5", Applied: at(-99)}, Observed{UID: "a", ResourceVersion: "6", Applied: at(-99)}, at(-99), Unchanged},
		"changed by us":                       {"", Observed{UID: "a", ResourceVersion: "5", Applied: at(-99)}, Observed{UID: "a", ResourceVersion: "6", Applied: at(0)}, at(-99), Configured},
		"was deleted by somebody":             {"", Observed{UID: "a", ResourceVersion: "5"}, Observed{UID: "b", ResourceVersion: "6", Applied: at(0)}, at(0), Created},
		"was recreated by somebody":           {"4", Observed{UID: "a", ResourceVersion: "3"}, Observed{UID: "b", ResourceVersion: "6", Applied: at(0)}, at(-30), Configured},
		"restart, untouched since a moment":   {"6", Observed{}, Observed{UID: "a", ResourceVersion: "6", Applied: at(0)}, at(0), Unchanged},
		"restart, created":                    {"6", Observed{}, Observed{UID: "a", ResourceVersion: "7", Applied: at(0)}, at(0), Created},
		"restart, created, clock 30 s behind": {"6", Observed{}, Observed{UID: "a", ResourceVersion: "7", Applied: at(-30)}, at(-30), Created},
		"restart, configured":                 {"6", Observed{}, Observed{UID: "a", ResourceVersion: "7", Applied: at(0)}, at(-3600), Configured},
		"restart, status update meanwhile":    {"6", Observed{}, Observed{UID: "a", ResourceVersion: "7", Applied: at(-3600)}, at(-3600), Unchanged},
		"restart, no revision, untouched":     {"", Observed{}, Observed{UID: "a", ResourceVersion: "7", Applied: at(-5)}, at(-5), Unchanged},
		"restart, no revision, created":       {"", Observed{}, Observed{UID: "a", ResourceVersion: "7", Applied: at(0)}, at(0), Created},
		"restart, owned fields were equal":    {"6", Observed{}, Observed{UID: "a", ResourceVersion: "7"}, at(-3600), Unchanged},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			live := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{UID: tc.now.UID, CreationTimestamp: tc.created}}
			if got := (before{started: start, revision: tc.revision}).actionOf(tc.now, tc.previous, live); got != tc.want {
				t.Errorf("actionOf() = %s, want %s", got, tc.want)
			}
		})
	}
}

func refused(code int32, reason metav1.StatusReason, message string, causes ...metav1.StatusCause) error {
	return fmt.Errorf("asking: %w", &apierrors.StatusError{ErrStatus: metav1.Status{
		Code: code, Reason: reason, Message: message, Details: &metav1.StatusDetails{Name: "x", Causes: causes},
	}})
}

func TestPatience(t *testing.T) {
	unserved := &apierrors.StatusError{ErrStatus: metav1.Status{Code: http.StatusNotFound, Reason: metav1.StatusReasonNotFound}}
	cases := map[string]struct {
		err           error
		usual, custom time.Duration
	}{
		"webhook timeout":      {refused(500, metav1.StatusReasonInternalError, "failed calling webhook"), retryFor, retryFor},
		"etcd timeout":         {refused(500, "", "etcdserver: request timed out"), retryFor, retryFor},
		"unavailable":          {refused(503, metav1.StatusReasonServiceUnavailable, ""), retryFor, retryFor},
		"too many requests":    {refused(429, metav1.StatusReasonTooManyRequests, ""), retryFor, retryFor},
		"conflict":             {refused(409, metav1.StatusReasonConflict, ""), retryFor, retryFor},
		"field conflict":       {refused(409, metav1.StatusReasonConflict, "", metav1.StatusCause{Type: metav1.CauseTypeFieldManagerConflict}), 0, 0},
		"connection lost":      {fmt.Errorf("patching: %w", io.ErrUnexpectedEOF), retryFor, retryFor},
		"quota not computed":   {refused(403, metav1.StatusReasonForbidden, "status unknown for quota: small"), retryFor, retryFor},
		"no permission":        {refused(403, metav1.StatusReasonForbidden, "cannot patch"), 0, 0},
		"invalid":              {refused(422, metav1.StatusReasonInvalid, ""), 0, 0},
		"unknown field":        {refused(500, "", "failed to create typed patch object: .spec.x: field not declared in schema"), 0, schemaRetryFor},
		"kind not there":       {&apimeta.NoKindMatchError{GroupKind: schema.GroupKind{Kind: "Thing"}}, 0, retryFor},
		"path not there":       {unserved, 0, retryFor},
		"namespace not there":  {refused(404, metav1.StatusReasonNotFound, `namespaces "x" not found`), 0, 0},
		"something of our own": {errors.New("boom"), 0, 0},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := patienceWith(tc.err); got != tc.usual {
				t.Errorf("patienceWith() = %s, want %s", got, tc.usual)
			}
			if got := patienceWithCustom(tc.err); got != tc.custom {
				t.Errorf("patienceWithCustom() = %s, want %s", got, tc.custom)
			}
		})
	}
}

func TestAsImmutable(t *testing.T) {
	cause := func(message string) metav1.StatusCause {
		return metav1.StatusCause{Type: metav1.CauseTypeFieldValueInvalid, Field: "spec.x", Message: message}
	}
	invalid := func(messages ...string) error {
		var causes []metav1.StatusCause
		for _, message := range messages {
			causes = append(causes, cause(message))
		}
		return refused(422, metav1.StatusReasonInvalid, "", causes...)
	}
	cases := map[string]struct {
		err  error
		want bool
	}{
		"selector":         {invalid(`Invalid value: {"matchLabels":{}}: field is immutable`), true},
		"clusterIP":        {invalid("Invalid value: []: may not change once set"), true},
		"statefulset":      {invalid("Forbidden: updates to statefulset spec for fields other than 'replicas' are forbidden"), true},
		"claim":            {invalid("Forbidden: spec is immutable after creation except resources.requests"), true},
		"claim shrunk":     {invalid("Forbidden: field can not be less than status.capacity"), true},
		"roleRef":          {invalid("Invalid value: cannot change roleRef"), true},
		"priority":         {invalid("Forbidden: may not be changed in an update."), true},
		"and another":      {invalid("field is immutable", "Required value"), false},
		"merely invalid":   {invalid("Required value"), false},
		"a webhook's word": {refused(403, metav1.StatusReasonForbidden, "admission webhook denied the request: size is immutable"), true},
		"a server failure": {refused(500, metav1.StatusReasonInternalError, "immutable"), false},
		"not of a server":  {errors.New("immutable"), false},
		"nothing":          {nil, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := asImmutable(ID{}, tc.err); (got != nil) != tc.want {
				t.Errorf("asImmutable() = %v, want %t", got, tc.want)
			}
		})
	}
}

func TestMayRecreate(t *testing.T) {
	cases := []struct {
		apiVersion, kind string
		force, phase     string
		want             bool
	}{
		{"apps/v1", "Deployment", "", "", true},
		{"v1", "Service", "", "", true},
		{"batch/v1", "Job", "", "", true},
		{"rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "", "", true},
		{"rbac.authorization.k8s.io/v1", "RoleBinding", "", "", true},
		{"example.com/v1", "Deployment", "", "", false},
		{"v1", "ConfigMap", "", "", false},
		{"v1", "ConfigMap", "enabled", "", true},
		{"v1", "ConfigMap", "ENABLED", "", true},
		{"v1", "ConfigMap", "disabled", "", false},
		{"kustomize.toolkit.fluxcd.io/v1", "Kustomization", "", "", false},
		{"v1", "PersistentVolumeClaim", "", "Pending", true},
		{"v1", "PersistentVolumeClaim", "", "Bound", false},
		{"v1", "PersistentVolumeClaim", "", "Lost", false},
		{"v1", "PersistentVolumeClaim", "", "", false},
		{"v1", "PersistentVolumeClaim", "enabled", "Bound", true},
		{"v1", "Namespace", "enabled", "", false},
		{"apiextensions.k8s.io/v1", "CustomResourceDefinition", "enabled", "", false},
	}
	for _, tc := range cases {
		obj := object(tc.apiVersion, tc.kind, "", "x")
		obj.SetAnnotations(map[string]string{v1.ForceAnnotation: tc.force})
		live := object(tc.apiVersion, tc.kind, "", "x")
		live.Object["status"] = map[string]any{"phase": tc.phase}
		if got := mayRecreate(obj, live); got != tc.want {
			t.Errorf("mayRecreate(%s %s, force %q, phase %q) = %t", tc.apiVersion, tc.kind, tc.force, tc.phase, got)
		}
	}
}

func TestContainerCause(t *testing.T) {
	waiting := func(reason, message string) corev1.ContainerState {
		return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
	}
	killed := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled"}}
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	const crash = `CrashLoopBackOff: container "c" last exited with code 137 (OOMKilled)`
	cases := map[string]struct {
		status corev1.ContainerStatus
		want   string
	}{
		"pulling fails": {corev1.ContainerStatus{State: waiting("ErrImagePull", "rpc error: code = NotFound desc = i: not found")},
			`ImagePullBackOff: container "c" cannot pull image "i": there is no such image`},
		"pulling is held back": {corev1.ContainerStatus{State: waiting("ImagePullBackOff", `Back-off pulling image "i"`)},
			`ImagePullBackOff: container "c" cannot pull image "i"`},
		"pulling is refused": {corev1.ContainerStatus{State: waiting("ErrImagePull", "unexpected status: 401 Unauthorized")},
			`ImagePullBackOff: container "c" cannot pull image "i": the registry refuses the credentials`},
		"digits of a digest are no status": {corev1.ContainerStatus{State: waiting("ErrImagePull", "pulling ghcr.io/fluxcd/x@sha256:d403429401: connection reset")},
			`ImagePullBackOff: container "c" cannot pull image "i"`},
		"pulling is forbidden": {corev1.ContainerStatus{State: waiting("ErrImagePull", "unexpected status from HEAD request: 403 Forbidden")},
			`ImagePullBackOff: container "c" cannot pull image "i": the registry denies access`},
		"pulling too often": {corev1.ContainerStatus{State: waiting("ErrImagePull", "unexpected status: 429 Too Many Requests")},
			`ImagePullBackOff: container "c" cannot pull image "i": the registry limits the rate of requests`},
		"bad name":      {corev1.ContainerStatus{State: waiting("InvalidImageName", "")}, `InvalidImageName: container "c" cannot use image "i"`},
		"config":        {corev1.ContainerStatus{State: waiting("CreateContainerConfigError", `secret "s" not found`)}, `CreateContainerConfigError: container "c": secret "s" not found`},
		"held back":     {corev1.ContainerStatus{State: waiting("CrashLoopBackOff", "back-off 40s"), LastTerminationState: killed}, crash},
		"just ended":    {corev1.ContainerStatus{State: killed}, crash},
		"running again": {corev1.ContainerStatus{State: running, RestartCount: 3, LastTerminationState: killed}, crash},
		"unready":       {corev1.ContainerStatus{State: running}, `ContainerNotReady: container "c" runs but its readiness probe does not succeed`},
		"recovered":     {corev1.ContainerStatus{State: running, RestartCount: 3, LastTerminationState: killed, Ready: true}, ""},
		"starting":      {corev1.ContainerStatus{State: waiting("ContainerCreating", "")}, `ContainerCreating: container "c" has not started`},
		"init is done":  {corev1.ContainerStatus{State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}}, ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			tc.status.Name, tc.status.Image = "c", "i"
			got := ""
			if c := containerCause(&tc.status); c != nil {
				got = c.reason + ": " + c.message
			}
			if got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

func TestCausesOfPod(t *testing.T) {
	pod := &corev1.Pod{Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "0/1 nodes are available: 1 Insufficient cpu.",
	}}}}
	if got := causesOf(pod); len(got) != 1 || got[0].reason != "Unschedulable" {
		t.Errorf("causesOf(unschedulable pod) = %v", got)
	}
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	if got := causesOf(pod); got != nil {
		t.Errorf("causesOf(ready pod) = %v", got)
	}
}

func TestErrorTextsAreBounded(t *testing.T) {
	if got := clip("a\n  b\tc"); got != "a b c" {
		t.Errorf("clip() = %q", got)
	}
	long := clip(strings.Repeat("ä", messageLimit))
	if len(long) > messageLimit+len("…") || !utf8.ValidString(long) {
		t.Errorf("clip() returned %d bytes", len(long))
	}
	failure := &NotReadyError{}
	for i := range 25 {
		failure.Objects = append(failure.Objects, NotReady{Object: ID{Kind: "Deployment", Name: fmt.Sprint(i)}, Reason: "NotReady"})
	}
	if got := failure.Error(); !strings.HasPrefix(got, "25 of the objects not ready: Deployment/0: NotReady; ") || !strings.HasSuffix(got, "Deployment/9: NotReady; and 15 more") {
		t.Errorf("Error() = %q", got)
	}
}

func TestInParallel(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	calls := make(chan int, 100)
	inParallel(ctx, 1, 100, func(i int) {
		calls <- i
		if i == 2 {
			cancel()
		}
	})
	if len(calls) != 3 {
		t.Errorf("%d calls, want those before the end of the context", len(calls))
	}
}

func TestAddToScheme(t *testing.T) {
	scheme := runtime.NewScheme()
	for range 2 {
		if err := AddToScheme(scheme); err != nil {
			t.Fatal(err)
		}
	}
	crd, err := scheme.New(crdVersion.WithKind(crdKind.Kind))
	if _, ok := crd.(*slimCRD); !ok || err != nil {
		t.Errorf("New() = %T, %v", crd, err)
	}
}
