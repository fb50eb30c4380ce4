package render

import (
	"fmt"
	"strings"
)

// managerContainer is the name of the container in which a Flux controller runs.
const managerContainer = "manager"

const featureGatesFlag = "feature-gates"

// workload is the Deployment of a controller, opened for changes by name.
type workload struct {
	*object
	// pod is spec.template.spec, manager the container of the controller; both are the object's own maps, not copies.
	pod, manager map[string]any
}

// openWorkload finds the parts of a Deployment that are changed; it fails where one is missing.
func openWorkload(o *object) (*workload, error) {
	pod, err := mapAt(o.Object, "spec", "template", "spec")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", describe(o.Unstructured), err)
	}
	containers, err := mapsAt(pod, "containers")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", describe(o.Unstructured), err)
	}
	manager, found := named(containers, managerContainer)
	if !found {
		return nil, fmt.Errorf("%s has no container %q", describe(o.Unstructured), managerContainer)
	}
	if _, err := listAt(manager, "args"); err != nil {
		return nil, fmt.Errorf("%s, container %q: %w", describe(o.Unstructured), managerContainer, err)
	}
	return &workload{object: o, pod: pod, manager: manager}, nil
}

// setArg gives a flag of the controller its value: where the flag stands, or at the end when it is not there yet.
func (w *workload) setArg(flag, value string) {
	w.replaceArg("--"+flag+"="+value, func(arg string) bool {
		return arg == "--"+flag || strings.HasPrefix(arg, "--"+flag+"=")
	})
}

// setGate switches a feature gate of the controller; each gate has an argument of its own, so that others stay as they are.
func (w *workload) setGate(gate, value string) {
	prefix := "--" + featureGatesFlag + "=" + gate + "="
	w.replaceArg(prefix+value, func(arg string) bool { return strings.HasPrefix(arg, prefix) })
}

func (w *workload) replaceArg(wanted string, isOld func(string) bool) {
	args, _ := w.manager["args"].([]any) // openWorkload has checked that it is a list
	kept := make([]any, 0, len(args)+1)
	placed := false
	for i := 0; i < len(args); i++ {
		text, _ := args[i].(string)
		if !isOld(text) {
			kept = append(kept, args[i])
			continue
		}
		if !placed {
			kept, placed = append(kept, wanted), true
		}
		if !strings.Contains(text, "=") && i+1 < len(args) && isValue(args[i+1]) {
			i++ // the old value stood in an argument of its own
		}
	}
	if !placed {
		kept = append(kept, wanted)
	}
	w.manager["args"] = kept
}

// isValue tells a value from the next flag; controllers take no positional arguments.
func isValue(arg any) bool {
	text, ok := arg.(string)
	return ok && !strings.HasPrefix(text, "-")
}

// setPodMetadata sets one label or annotation (kind says which) of the pods.
func (w *workload) setPodMetadata(kind, key, value string) error {
	values, err := ensureMap(w.Object, "spec", "template", "metadata", kind)
	if err != nil {
		return fmt.Errorf("%s: %w", describe(w.Unstructured), err)
	}
	values[key] = value
	return nil
}

// setEnv gives an environment variable of the controller its value.
func (w *workload) setEnv(name, value string) error {
	variables, err := mapsAt(w.manager, "env")
	if err != nil {
		return fmt.Errorf("%s, container %q: %w", describe(w.Unstructured), managerContainer, err)
	}
	if variable, found := named(variables, name); found {
		clear(variable)
		variable["name"], variable["value"] = name, value
		return nil
	}
	all, _ := w.manager["env"].([]any) // mapsAt has checked that it is a list
	w.manager["env"] = append(all, map[string]any{"name": name, "value": value})
	return nil
}
