package render

import (
	"maps"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

const (
	partOfLabel      = "app.kubernetes.io/part-of"
	partOfFlux       = "flux"
	podSecurityLabel = "pod-security.kubernetes.io/warn"
)

// releaseMetadata marks an object as part of this installation, and tells a kustomize-controller that manages the same manifests, as
// after a bootstrap, to let go of it.
func (d *draft) releaseMetadata() (labels, annotations map[string]string) {
	labels = map[string]string{
		"app.kubernetes.io/managed-by": v1.FieldManager,
		"app.kubernetes.io/instance":   d.instance.Namespace,
		"app.kubernetes.io/version":    d.name,
		partOfLabel:                    partOfFlux,
	}
	annotations = map[string]string{
		"kustomize.toolkit.fluxcd.io/ssa":   "Ignore",
		"kustomize.toolkit.fluxcd.io/prune": "Disabled",
	}
	return labels, annotations
}

// setReleaseMetadata sets it on every object; the release's own values of the same keys give way.
func (d *draft) setReleaseMetadata() error {
	labels, annotations := d.releaseMetadata()
	for _, o := range d.objects {
		mergeLabels(o, labels)
		mergeAnnotations(o, annotations)
	}
	return nil
}

// keepReleaseMetadata puts back what a patch took away with a whole map; a value that a patch has set stays.
func (d *draft) keepReleaseMetadata() error {
	labels, annotations := d.releaseMetadata()
	for _, o := range d.objects {
		o.SetLabels(merge(labels, o.GetLabels()))
		o.SetAnnotations(merge(annotations, o.GetAnnotations()))
	}
	return nil
}

// setOwnMetadata sets the user's common metadata and what the operator relies on: the labels by which it knows its objects, and the
// mark that keeps an uninstall from taking the namespace, and with it everything else in there, away.
func (d *draft) setOwnMetadata() error {
	owner := map[string]string{
		v1.OwnerNameLabel:      d.instance.Name,
		v1.OwnerNamespaceLabel: d.instance.Namespace,
	}
	for _, o := range d.objects {
		if common := d.instance.Spec.CommonMetadata; common != nil {
			mergeLabels(o, common.Labels)
			mergeAnnotations(o, common.Annotations)
		}
		mergeLabels(o, owner)
		if o.GetKind() == "Namespace" {
			mergeAnnotations(o, map[string]string{v1.PruneAnnotation: v1.DisabledValue})
		}
	}
	return nil
}

func mergeLabels(o *object, labels map[string]string) {
	if merged := merge(o.GetLabels(), labels); len(merged) > 0 {
		o.SetLabels(merged)
	}
}

func mergeAnnotations(o *object, annotations map[string]string) {
	if merged := merge(o.GetAnnotations(), annotations); len(merged) > 0 {
		o.SetAnnotations(merged)
	}
}

func merge(into, from map[string]string) map[string]string {
	merged := make(map[string]string, len(into)+len(from))
	maps.Copy(merged, into)
	maps.Copy(merged, from)
	return merged
}
