package render

import (
	"fmt"
	"slices"
	"strings"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// setCommonArgs sets what every controller is told about the installation.
func (d *draft) setCommonArgs() error {
	for _, w := range d.workloads {
		w.setArg("watch-all-namespaces", "true")
		w.setArg("log-level", "info")
		if w.component != v1.NotificationController {
			w.setArg("events-addr", d.eventsAddress())
		}
		if storesArtifacts(w.component) {
			w.setArg("storage-adv-addr", d.storageAddress(w.GetName()))
		}
	}
	return nil
}

// eventsAddress is where controllers send events; empty switches that off where nobody listens.
func (d *draft) eventsAddress() string {
	if !d.installed(v1.NotificationController) {
		return ""
	}
	return fmt.Sprintf("http://%s.%s.svc.%s./", v1.NotificationController, d.instance.Namespace, d.domain())
}

// storageAddress is where other controllers fetch artifacts from; the kubelet fills in the variable.
func (d *draft) storageAddress(service string) string {
	return fmt.Sprintf("%s.$(RUNTIME_NAMESPACE).svc.%s.", service, d.domain())
}

func (d *draft) domain() string { return strings.TrimSuffix(d.cluster.Domain, ".") }

// storesArtifacts tells which controllers keep artifacts under /data and serve them.
func storesArtifacts(component v1.Component) bool {
	return component == v1.SourceController || component == v1.SourceWatcher
}

// setPodDefaults sets where the pods run and with what they pull their images.
func (d *draft) setPodDefaults() error {
	for _, w := range d.workloads {
		selector, err := ensureMap(w.pod, "nodeSelector")
		if err != nil {
			return d.broken(w.file, fmt.Errorf("%s: %w", describe(w.Unstructured), err))
		}
		selector["kubernetes.io/os"] = "linux"
		if secret := d.instance.Spec.Distribution.ImagePullSecret; secret != "" {
			w.pod["imagePullSecrets"] = []any{map[string]any{"name": secret}}
		}
		if err := w.setPodMetadata("labels", partOfLabel, partOfFlux); err != nil {
			return d.broken(w.file, err)
		}
		// The volumes are caches, so the autoscaler may move the pods although they have some.
		if err := w.setPodMetadata("annotations", "cluster-autoscaler.kubernetes.io/safe-to-evict", "true"); err != nil {
			return d.broken(w.file, err)
		}
	}
	return nil
}

// crdControllerRole is the ClusterRole with what all controllers may do.
const crdControllerRole = "crd-controller"

const notificationGroup = "notification.toolkit.fluxcd.io"

// extendNotificationKinds lets alerts and receivers name the operator's own kinds and lets the controllers read them.
func (d *draft) extendNotificationKinds() error {
	if !d.installed(v1.NotificationController) {
		return nil
	}
	if err := d.extendEnum("Alert", "eventSources"); err != nil {
		return err
	}
	if err := d.extendEnum("Receiver", "resources"); err != nil {
		return err
	}
	role, err := d.find(rbacGroup, "ClusterRole", crdControllerRole)
	if err != nil {
		return d.broken(d.rolesPath(), err)
	}
	rules, err := listAt(role.Object, "rules")
	if err != nil {
		return d.broken(role.file, fmt.Errorf("%s: %w", describe(role.Unstructured), err))
	}
	role.Object["rules"] = append(rules, map[string]any{
		"apiGroups": []any{v1.Group},
		"resources": []any{"*"},
		"verbs":     []any{"*"},
	})
	return nil
}

func (d *draft) rolesPath() string { return "flux/" + d.name + "/" + rolesFile }

// extendEnum adds our kinds to the kinds a list in the spec of a notification kind may name, in every version that has the list.
func (d *draft) extendEnum(kind, list string) error {
	crd, err := d.findCRD(notificationGroup, kind)
	if err != nil {
		return err
	}
	versions, err := mapsAt(crd.Object, "spec", "versions")
	if err != nil {
		return d.broken(crd.file, fmt.Errorf("%s: %w", describe(crd.Unstructured), err))
	}
	extended := false
	for _, version := range versions {
		schema, err := mapAt(version, "schema", "openAPIV3Schema", "properties", "spec", "properties", list, "items", "properties", "kind")
		if err != nil {
			continue // a version without the list
		}
		kinds, err := listAt(schema, "enum")
		if err != nil {
			return d.broken(crd.file, fmt.Errorf("%s: %w", describe(crd.Unstructured), err))
		}
		extended = true
		if len(kinds) == 0 {
			continue // a version that allows any kind already
		}
		for _, own := range []string{v1.FluxInstanceKind, "ResourceSet", "ResourceSetInputProvider"} {
			if !slices.Contains(kinds, any(own)) {
				kinds = append(kinds, own)
			}
		}
		schema["enum"] = kinds
	}
	if !extended {
		return d.broken(crd.file, fmt.Errorf("%s has no list of kinds at spec.%s[].kind in any version", describe(crd.Unstructured), list))
	}
	return nil
}

// findCRD finds the definition of a kind.
func (d *draft) findCRD(group, kind string) (*object, error) {
	for _, o := range d.objects {
		if o.GetKind() == "CustomResourceDefinition" &&
			textAt(o.Object, "spec", "group") == group && textAt(o.Object, "spec", "names", "kind") == kind {
			return o, nil
		}
	}
	return nil, &ReleaseError{Release: d.name, Err: fmt.Errorf("it has no definition of kind %s in group %s", kind, group)}
}

// openExternalArtifacts lets the consumers use what source-watcher composes.
func (d *draft) openExternalArtifacts() error {
	if !d.installed(v1.SourceWatcher) {
		return nil
	}
	for _, w := range d.of(v1.KustomizeController, v1.HelmController) {
		w.setGate("ExternalArtifact", "true")
	}
	return nil
}
