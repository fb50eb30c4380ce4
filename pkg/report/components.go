package report

import (
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// Component is a controller of Flux.
type Component struct {
	v1.FluxComponentStatus

	// Selector is the label selector of the objects it reconciles, empty where it reconciles all.
	Selector string
}

// ComponentOf describes the controller that a Deployment runs. The cause is what keeps its pods from running, empty where nothing does or nobody
// knows; it is told only of a controller that is not ready.
func ComponentOf(deployment *appsv1.Deployment, cause string) Component {
	found := Component{FluxComponentStatus: v1.FluxComponentStatus{Name: deployment.Name, Status: string(status.UnknownStatus)}}
	if containers := deployment.Spec.Template.Spec.Containers; len(containers) > 0 {
		found.Image = containers[0].Image
		found.Selector = selectorOf(containers[0].Args)
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(deployment)
	if err == nil {
		object := &unstructured.Unstructured{Object: content}
		object.SetGroupVersionKind(appsv1.SchemeGroupVersion.WithKind("Deployment"))
		var result *status.Result
		if result, err = status.Compute(object); err == nil {
			found.Ready = result.Status == status.CurrentStatus
			found.Status = strings.TrimSpace(string(result.Status) + " " + result.Message)
		}
	}
	if err != nil {
		found.Status += " " + err.Error()
	}
	if !found.Ready {
		found.Cause = cause
	}
	return found
}

// selectorOf finds the label selector among the arguments of a controller.
func selectorOf(args []string) string {
	for i, arg := range args {
		flag, value, joined := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		switch {
		case flag != "watch-label-selector":
		case joined:
			return value
		case i+1 < len(args):
			return args[i+1]
		}
	}
	return ""
}
