package bundle

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// checkManifests allows only kinds that every cluster has: an InstallPlan fails on one that lacks a kind.
func checkManifests(b *Bundle) []string {
	var f findings
	allowed := []string{"ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "Service"}
	for _, object := range b.Others {
		f.wantf(slices.Contains(allowed, object.GetKind()), "%s %q is of a kind that catalogs refuse or clusters may lack", object.GetKind(), object.GetName())
		f.wantf(object.GetNamespace() == "", "%s %q names a namespace, which is for who installs it to choose", object.GetKind(), object.GetName())
	}
	return f
}

func checkKinds(b *Bundle) []string {
	var f findings
	defined := map[string]bool{}
	for _, definition := range b.CRDs {
		defined[definition.Name] = false
	}
	for _, kind := range b.CSV.Spec.Kinds.Owned {
		_, known := defined[kind.Name]
		f.wantf(known, "%s is owned and not in the bundle", kind.Name)
		defined[kind.Name] = true
		f.wantf(len(kind.Resources) > 0, "%s does not say which objects it leads to", kind.Kind)
		f.wantf(kind.DisplayName != "" && kind.Description != "", "%s has no name or no description for the console", kind.Kind)
		for _, descriptor := range slices.Concat(kind.SpecDescriptors, kind.StatusDescriptors) {
			f.wantf(descriptor.DisplayName != "" && descriptor.Description != "", "the field %s of %s has no name or no description for the console", descriptor.Path, kind.Kind)
		}
	}
	for name, owned := range defined {
		f.wantf(owned, "%s is in the bundle and not owned", name)
	}
	slices.Sort(f)
	return f
}

// checkExamples wants one of each kind that its definition accepts as the API server would.
func checkExamples(b *Bundle) []string {
	var f findings
	var examples []map[string]any
	err := json.Unmarshal([]byte(b.CSV.Annotations["alm-examples"]), &examples)
	f.wantf(err == nil, "alm-examples cannot be read: %v", err)
	seen := map[string]bool{}
	for _, example := range examples {
		object := unstructured.Unstructured{Object: example}
		seen[object.GetKind()] = true
		if err := b.accepts(object); err != nil {
			f = append(f, fmt.Sprintf("the example of a %s is refused: %v", object.GetKind(), err))
		}
	}
	for _, kind := range b.CSV.Spec.Kinds.Owned {
		f.wantf(seen[kind.Kind], "there is no example of a %s", kind.Kind)
	}
	return f
}

// checkImages wants every image of the operator's pods to be listed, and all of them by digest where the bundle is for closed networks. The operator's
// own image has a digest only in a released bundle.
func checkImages(b *Bundle) []string {
	var f findings
	pinned := map[string]bool{}
	for _, related := range b.CSV.Spec.RelatedImages {
		hasDigest := strings.Contains(related.Image, "@sha256:")
		pinned[related.Image] = true
		f.wantf(hasDigest || related.Image == b.CSV.Annotations["containerImage"], "the image %s has no digest: %s", related.Name, related.Image)
		f.wantf(hasDigest || b.CSV.Annotations[featurePrefix+"disconnected"] != "true", "the image %s has no digest and cannot be mirrored: %s", related.Name, related.Image)
	}
	f.wantf(len(pinned) > 1, "relatedImages does not list what the operator installs")
	named := 0
	for _, container := range b.containers() {
		f.wantf(pinned[container.Image], "the image of container %s is not among relatedImages: %s", container.Name, container.Image)
		for _, variable := range container.Env {
			if strings.HasPrefix(variable.Name, "RELATED_IMAGE_") {
				named++
				f.wantf(pinned[variable.Value], "%s is not among relatedImages: %s", variable.Name, variable.Value)
			}
		}
	}
	f.wantf(named > 0, "no variable RELATED_IMAGE_* tells the operator of mirrored images")
	return f
}

func (b *Bundle) containers() []corev1.Container {
	var containers []corev1.Container
	for _, deployment := range b.CSV.Spec.Install.Spec.Deployments {
		containers = append(containers, deployment.Spec.Template.Spec.InitContainers...)
		containers = append(containers, deployment.Spec.Template.Spec.Containers...)
	}
	return containers
}

// checkPods wants pods that run under restricted-v2 and under the restricted pod security standard.
func checkPods(b *Bundle) []string {
	var f findings
	f.wantf(len(b.CSV.Spec.Install.Spec.Deployments) == 1, "there is not one Deployment")
	for _, deployment := range b.CSV.Spec.Install.Spec.Deployments {
		pod := deployment.Spec.Template.Spec
		security := pod.SecurityContext
		f.wantf(!pod.HostNetwork && !pod.HostPID && !pod.HostIPC, "the pod shares namespaces of the node")
		f.wantf(security != nil && security.RunAsNonRoot != nil && *security.RunAsNonRoot, "the pod may run as root")
		f.wantf(security != nil && security.RunAsUser == nil && security.RunAsGroup == nil && security.FSGroup == nil, "the pod fixes user or group, which OpenShift chooses")
		f.wantf(security != nil && security.SeccompProfile != nil && security.SeccompProfile.Type == corev1.SeccompProfileTypeRuntimeDefault,
			"the pod has not the runtime's seccomp profile")
		for _, volume := range pod.Volumes {
			f.wantf(volume.HostPath == nil, "the volume %s is a folder of the node", volume.Name)
		}
	}
	for _, container := range b.containers() {
		f = append(f, checkContainer(container)...)
	}
	return f
}

func checkContainer(container corev1.Container) []string {
	var f findings
	security := container.SecurityContext
	if security == nil || security.Capabilities == nil {
		return []string{"the container " + container.Name + " says nothing of its capabilities"}
	}
	f.wantf(security.RunAsUser == nil && security.RunAsGroup == nil, "the container %s fixes user or group, which OpenShift chooses", container.Name)
	f.wantf(security.AllowPrivilegeEscalation != nil && !*security.AllowPrivilegeEscalation, "the container %s may gain privileges", container.Name)
	f.wantf(security.ReadOnlyRootFilesystem != nil && *security.ReadOnlyRootFilesystem, "the container %s may write to its root", container.Name)
	f.wantf(slices.Contains(security.Capabilities.Drop, "ALL") && len(security.Capabilities.Add) == 0, "the container %s has capabilities", container.Name)
	f.wantf(container.LivenessProbe != nil && container.ReadinessProbe != nil, "the container %s has no probes", container.Name)
	f.wantf(len(container.Resources.Requests) > 0, "the container %s requests nothing", container.Name)
	return f
}

// wildGroups are those of which every resource is the operator's business: its own, and those of Flux, to which new releases add kinds.
var wildGroups = []string{
	v1.Group,
	"source.toolkit.fluxcd.io", "source.extensions.fluxcd.io", "kustomize.toolkit.fluxcd.io", "helm.toolkit.fluxcd.io",
	"notification.toolkit.fluxcd.io", "image.toolkit.fluxcd.io",
}

// checkRules wants rights that are listed one by one, and none that would spread with the install mode.
func checkRules(b *Bundle) []string {
	var f findings
	f.wantf(len(b.CSV.Spec.Install.Spec.Permissions) == 0, "permissions become rights in all namespaces when it is installed for all: they belong into a Role")
	rules, err := b.Rules()
	f.wantf(err == nil, "%v", err)
	for _, rule := range rules {
		f.wantf(!slices.Contains(rule.Verbs, "*") && !slices.Contains(rule.APIGroups, "*"), "a rule has a wildcard for verbs or groups: %v", rule)
		known := !slices.ContainsFunc(rule.APIGroups, func(group string) bool { return !slices.Contains(wildGroups, group) })
		f.wantf(!slices.Contains(rule.Resources, "*") || known, "a rule has a wildcard for resources of foreign groups: %v", rule)
		powers := slices.ContainsFunc(rule.Verbs, func(verb string) bool { return verb == "escalate" || verb == "bind" || verb == "impersonate" })
		f.wantf(!powers || len(rule.ResourceNames) > 0, "a rule lets it gain rights without naming of what: %v", rule)
	}
	return f
}
