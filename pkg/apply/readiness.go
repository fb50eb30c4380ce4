package apply

import (
	"context"
	"errors"
	"regexp"
	"strings"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// verdict is what is known of an object's readiness.
type verdict struct {
	ready bool
	// terminal means that the object will not become ready by itself.
	terminal bool
	reason   string
	message  string
}

var (
	unseen  = verdict{reason: "NotFound", message: "the object has not been seen, or does not carry the owner labels"}
	missing = verdict{reason: "NotFound", message: "the object was deleted, or lost the owner labels, while waiting for it"}
)

// fluxGroupSuffix ends the API groups of Flux.
const fluxGroupSuffix = ".fluxcd.io"

// isJudged tells whether the kind has a status that says something about readiness.
func isJudged(obj *unstructured.Unstructured) bool {
	kind := obj.GroupVersionKind().GroupKind()
	if kind == crdKind || isWorkload(kind) {
		return true
	}
	return kind == schema.GroupKind{Group: "batch", Kind: "Job"} || strings.HasSuffix(kind.Group, fluxGroupSuffix)
}

// isWorkload tells whether objects of the kind keep pods running.
func isWorkload(kind schema.GroupKind) bool {
	if kind.Group != "apps" {
		return false
	}
	switch kind.Kind {
	case "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet":
		return true
	}
	return false
}

// judge tells whether a live object is ready.
func judge(kind schema.GroupKind, live *unstructured.Unstructured) verdict {
	live.SetGroupVersionKind(kind.WithVersion(live.GroupVersionKind().Version))
	result, err := status.Compute(live)
	if err != nil {
		return verdict{reason: "UnknownStatus", message: err.Error()}
	}
	if result.Status != status.TerminatingStatus && isHeld(live) {
		return verdict{ready: true}
	}
	v := verdict{ready: result.Status == status.CurrentStatus, reason: "NotReady", message: result.Message}
	if len(result.Conditions) > 0 && result.Conditions[0].Reason != "" {
		v.reason = result.Conditions[0].Reason
	}
	if result.Status == status.TerminatingStatus {
		v.reason = "Terminating"
	}
	switch {
	case kind.Kind == "Job" && kind.Group == "batch":
		return judgeJob(live, v)
	case isWorkload(kind):
		return judgeWorkload(live, v)
	}
	v.terminal = result.Status == status.FailedStatus
	if reason, message, found := condition(live, "Ready", "False"); found && !v.ready && !v.terminal && v.reason != "LatestGenerationNotObserved" {
		v.reason, v.message = reason, message
	}
	return v
}

// isHeld tells whether somebody asked that the object be left as it is: a paused workload or a suspended Flux object makes no progress.
func isHeld(live *unstructured.Unstructured) bool {
	for _, field := range []string{"paused", "suspend"} {
		if held, _, _ := unstructured.NestedBool(live.Object, "spec", field); held {
			return true
		}
	}
	return false
}

// judgeJob asks for completion, where a Job that has merely started counts as current otherwise.
func judgeJob(live *unstructured.Unstructured, v verdict) verdict {
	if v.reason == "Terminating" {
		return v
	}
	if _, _, complete := condition(live, "Complete", "True"); complete {
		return verdict{ready: true}
	}
	if reason, message, failed := condition(live, "Failed", "True"); failed {
		return verdict{terminal: true, reason: reason, message: message}
	}
	return verdict{reason: "JobNotCompleted", message: v.message}
}

// podName matches the generated pod name in a refusal to create a pod, which differs from one attempt to the next.
var podName = regexp.MustCompile(`pods "[^"]*"`)

// judgeWorkload prefers the refusal to create pods over the number of missing ones. An exceeded progress deadline is no final failure: the
// rollout continues when, say, the missing image appears.
func judgeWorkload(live *unstructured.Unstructured, v verdict) verdict {
	if v.ready {
		return v
	}
	if reason, message, refused := condition(live, "ReplicaFailure", "True"); refused {
		v.reason, v.message = reason, podName.ReplaceAllString(message, "pods")
	}
	return v
}

// condition finds a condition of a type in the wanted status.
func condition(live *unstructured.Unstructured, kind, wanted string) (reason, message string, found bool) {
	conditions, _, _ := unstructured.NestedSlice(live.Object, "status", "conditions")
	for _, entry := range conditions {
		fields, ok := entry.(map[string]any)
		if !ok || fields["type"] != kind || fields["status"] != wanted {
			continue
		}
		reason, _ = fields["reason"].(string)
		message, _ = fields["message"].(string)
		return reason, message, true
	}
	return "", "", false
}

// isDeadline tells whether a context is done because its time is over.
func isDeadline(ctx context.Context) bool {
	return errors.Is(context.Cause(ctx), context.DeadlineExceeded)
}
