package migrate

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

const (
	kustomizeNameLabel      = "kustomize.toolkit.fluxcd.io/name"
	kustomizeNamespaceLabel = "kustomize.toolkit.fluxcd.io/namespace"
	helmToolkitName         = "helm.toolkit.fluxcd.io/name"
	helmToolkitNamespace    = "helm.toolkit.fluxcd.io/namespace"
	helmReleaseName         = "meta.helm.sh/release-name"
	helmReleaseNamespace    = "meta.helm.sh/release-namespace"
	argoTracking            = "argocd.argoproj.io/tracking-id"
	lastApplied             = "kubectl.kubernetes.io/last-applied-configuration"
)

// former is who managed an object before.
type former struct {
	name, advice string
	// claims tells whether it says so on the object itself, and so may come back to it.
	claims bool
}

// writer is a field manager as tools leave it behind.
type writer struct {
	name       string
	prefix     bool
	operations string
}

// writers are the field managers whose fields are taken over, as in the room that applies: it explains where the names come from. Fields of
// others, such as kube-controller-manager, stay theirs and cannot be lost.
var writers = []writer{
	{name: v1.FieldManager, operations: "Update"},
	{name: "kustomize-controller", operations: "Apply"},
	{name: "helm", operations: "Apply Update"},
	{name: "helm-controller", operations: "Apply Update"},
	{name: "kubectl", prefix: true, operations: "Apply Update"},
	{name: "before-first-apply", operations: "Update"},
	{name: "flux", operations: "Apply Update"},
	{name: "Terraform", operations: "Apply Update"},
	{name: "HashiCorp", operations: "Update"},
	{name: "terraform-provider-", prefix: true, operations: "Apply Update"},
	{name: "argocd-controller", operations: "Apply Update"},
	{name: "argocd-application-controller", operations: "Update"},
}

// isTaken tells whether the fields of an entry become the operator's.
func isTaken(entry metav1.ManagedFieldsEntry, others []string) bool {
	if entry.Subresource != "" {
		return false
	}
	return slices.Contains(others, entry.Manager) || slices.ContainsFunc(writers, func(w writer) bool {
		named := entry.Manager == w.name || w.prefix && strings.HasPrefix(entry.Manager, w.name)
		return named && strings.Contains(w.operations, string(entry.Operation))
	})
}

// formerOf tells who managed an object: what it is marked with decides, then who wrote it.
func formerOf(obj *unstructured.Unstructured, instance *v1.FluxInstance) former {
	labels, annotations := obj.GetLabels(), obj.GetAnnotations()
	switch {
	case isOwn(obj, instance):
		return former{name: "flux-operator"}
	case labels[v1.OwnerNameLabel] != "":
		return otherInstance(labels[v1.OwnerNamespaceLabel] + "/" + labels[v1.OwnerNameLabel])
	case labels[kustomizeNameLabel] != "":
		return bootstrap(labels[kustomizeNamespaceLabel] + "/" + labels[kustomizeNameLabel])
	case labels[helmToolkitName] != "":
		return helmToolkit(labels[helmToolkitNamespace], labels[helmToolkitName])
	case annotations[helmReleaseName] != "":
		return helmRelease(obj, annotations[helmReleaseNamespace], annotations[helmReleaseName])
	case annotations[argoTracking] != "":
		name, _, _ := strings.Cut(annotations[argoTracking], ":")
		return argoCD(name)
	}
	if owner := metav1.GetControllerOf(obj); owner != nil {
		return former{
			name: owner.Kind + " " + owner.Name, claims: true,
			advice: "It is the owner of the objects and may change or delete them: remove the owner reference, or the owner.",
		}
	}
	return writerOf(obj)
}

// isOwn tells whether an object carries the labels of the instance.
func isOwn(obj *unstructured.Unstructured, instance *v1.FluxInstance) bool {
	labels := obj.GetLabels()
	return labels[v1.OwnerNameLabel] == instance.Name && labels[v1.OwnerNamespaceLabel] == instance.Namespace
}

// mayBeTaken applies the collision rule. The namespace of the instance is there before the instance can be, whoever made it.
func (f former) mayBeTaken(obj *unstructured.Unstructured, instance *v1.FluxInstance) bool {
	if isOwn(obj, instance) || obj.GetKind() == "Namespace" && obj.GetName() == instance.Namespace {
		return true
	}
	switch instance.Collisions() {
	case v1.CollideOwn:
		return false
	case v1.CollideUnowned:
		return !f.claims
	default:
		return true
	}
}

func otherInstance(name string) former {
	return former{
		name: "FluxInstance " + name, claims: true,
		advice: "Annotate the other FluxInstance with " + v1.ReconcileAnnotation + ": disabled and delete it: it is let go and its objects stay.",
	}
}

func bootstrap(kustomization string) former {
	return former{
		name: "flux bootstrap, Kustomization " + kustomization, claims: true,
		advice: "Nothing is left to do for it to let go: the objects are marked so that the Kustomization passes over them. " +
			"Remove gotk-components.yaml, and gotk-sync.yaml where spec.sync replaces it, from Git at any time. " +
			"If Terraform bootstrapped: terraform state rm flux_bootstrap_git.NAME, and drop the resource from the code.",
	}
}

func helmToolkit(namespace, name string) former {
	return former{
		name: "HelmRelease " + namespace + "/" + name, claims: true,
		advice: fmt.Sprintf("Suspend the release now (flux -n %s suspend helmrelease %s), then delete it while it is suspended: that uninstalls nothing. "+
			"Remove it from Git as well.", namespace, name),
	}
}

func helmRelease(obj *unstructured.Unstructured, namespace, name string) former {
	was := former{name: "Helm release " + namespace + "/" + name, claims: true}
	was.advice = fmt.Sprintf("Never run helm uninstall: it would delete Flux. Make Helm forget the release: "+
		"kubectl -n %s label secret -l owner=helm,name=%s owner=helm-adopted --overwrite", namespace, name)
	if wroteWith(obj, "terraform-provider-") {
		was.name += ", Terraform"
		was.advice += " and Terraform, too: terraform state rm helm_release.NAME, and drop the resource from the code."
	}
	return was
}

func argoCD(application string) former {
	return former{
		name: strings.TrimSpace("Argo CD " + application), claims: true,
		advice: "Switch off automated sync of the application, then remove the manifests of Flux from it without pruning: " +
			"argocd app delete --cascade=false leaves the objects alone.",
	}
}

// writerOf tells from the field managers who managed an object that is not marked.
func writerOf(obj *unstructured.Unstructured) former {
	switch {
	case wroteWith(obj, "argocd-"):
		return former{name: "Argo CD", advice: argoCD("").advice}
	case wroteWith(obj, "Terraform") || wroteWith(obj, "HashiCorp") || wroteWith(obj, "terraform-provider-"):
		return former{name: "Terraform", advice: "Take the objects out of the state with terraform state rm, or with removed blocks that have destroy = false, " +
			"and drop them from the code: the next terraform apply would write to them again."}
	case wroteWith(obj, "helm"):
		return former{name: "Helm, no release"}
	case wroteWith(obj, "flux"):
		return former{name: "flux install", advice: "Do not run flux install or flux bootstrap in this cluster any more."}
	case wroteWith(obj, "kubectl") || obj.GetAnnotations()[lastApplied] != "":
		return former{name: "kubectl", advice: "Do not apply the former manifests any more, by hand or from a pipeline."}
	}
	for _, entry := range obj.GetManagedFields() {
		if entry.Subresource == "" && entry.Manager != "" {
			return former{name: clip(entry.Manager)}
		}
	}
	return former{name: "unknown"}
}

// wroteWith tells whether a field manager whose name begins so wrote to the object itself.
func wroteWith(obj *unstructured.Unstructured, prefix string) bool {
	return slices.ContainsFunc(obj.GetManagedFields(), func(entry metav1.ManagedFieldsEntry) bool {
		return entry.Subresource == "" && strings.HasPrefix(entry.Manager, prefix)
	})
}
