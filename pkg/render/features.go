package render

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

const (
	openshift = "openshift"

	// requiredSCC names the one constraint that OpenShift admits a pod under; no other is tried.
	requiredSCC  = "openshift.io/required-scc"
	restrictedV2 = "restricted-v2"
)

// applyClusterType takes out what OpenShift's security context constraints set themselves; the other types need no change.
//
// The constraint that does so is named: the controllers that are cluster-admin may use all of them, and OpenShift would give these "anyuid",
// which it prefers and which sets none of what is taken out.
func (d *draft) applyClusterType() error {
	if d.cluster.Type != openshift {
		return nil
	}
	for _, w := range d.workloads {
		delete(w.pod, "securityContext")
		unstructured.RemoveNestedField(w.manager, "securityContext", "seccompProfile")
		unstructured.RemoveNestedField(w.manager, "securityContext", "runAsNonRoot")
		if err := w.setPodMetadata("annotations", requiredSCC, restrictedV2); err != nil {
			return d.broken(w.file, err)
		}
	}
	for _, o := range d.objects {
		if o.GetKind() == "Namespace" {
			unstructured.RemoveNestedField(o.Object, "metadata", "labels", podSecurityLabel)
			unstructured.RemoveNestedField(o.Object, "metadata", "labels", podSecurityLabel+"-version")
		}
	}
	return nil
}

// profile is what a size means for some controllers.
type profile struct {
	components             []v1.Component
	requestCPU, requestMem string
	limitCPU, limitMem     string
	args                   [][2]string
}

// profiles says what a size means; controllers in several entries get all of them.
func profiles(size string) []profile {
	appliers := []v1.Component{v1.KustomizeController, v1.HelmController}
	sources := []v1.Component{v1.SourceController}
	switch size {
	case "small":
		return []profile{
			{components: knownComponents(), requestCPU: "100m", requestMem: "64Mi", limitCPU: "1000m", limitMem: "512Mi"},
			{components: appliers, args: [][2]string{{"concurrent", "5"}, {"requeue-dependency", "10s"}}},
			{components: sources, args: helmCacheArgs("10")},
		}
	case "medium":
		return []profile{
			{components: slices.Concat(appliers, sources), requestCPU: "100m", requestMem: "128Mi", limitCPU: "2000m", limitMem: "1Gi"},
			{components: appliers, args: [][2]string{{"concurrent", "10"}, {"requeue-dependency", "5s"}}},
			{components: sources, args: append(helmCacheArgs("50"), [2]string{"concurrent", "5"})},
		}
	case "large":
		return []profile{
			{components: appliers, requestCPU: "100m", requestMem: "256Mi", limitCPU: "3000m", limitMem: "3Gi",
				args: [][2]string{{"concurrent", "20"}, {"requeue-dependency", "5s"}}},
			{components: sources, requestCPU: "100m", requestMem: "256Mi", limitCPU: "2000m", limitMem: "2Gi",
				args: append(helmCacheArgs("100"), [2]string{"concurrent", "10"})},
		}
	}
	return nil
}

func helmCacheArgs(size string) [][2]string {
	return [][2]string{{"helm-cache-max-size", size}, {"helm-cache-ttl", "720m"}, {"helm-cache-purge-interval", "60m"}}
}

// applySize sets resources and concurrency for the size of the cluster.
func (d *draft) applySize() error {
	for _, p := range profiles(d.cluster.Size) {
		for _, w := range d.of(p.components...) {
			if p.limitCPU != "" {
				w.manager["resources"] = map[string]any{
					"requests": map[string]any{"cpu": p.requestCPU, "memory": p.requestMem},
					"limits":   map[string]any{"cpu": p.limitCPU, "memory": p.limitMem},
				}
			}
			for _, arg := range p.args {
				w.setArg(arg[0], arg[1])
			}
		}
	}
	if d.cluster.Size != "" {
		for _, w := range d.workloads {
			mergeAnnotations(w.object, map[string]string{v1.ProfileAnnotation: d.cluster.Size})
		}
	}
	return nil
}

const defaultServiceAccountFlag = "default-service-account"

// lockDown keeps tenants of a shared cluster apart.
func (d *draft) lockDown() error {
	if !d.cluster.Multitenant {
		return nil
	}
	for _, w := range d.of(v1.KustomizeController, v1.HelmController, v1.NotificationController,
		v1.ImageReflectorController, v1.ImageAutomationController, v1.SourceWatcher) {
		w.setArg("no-cross-namespace-refs", "true")
	}
	for _, w := range d.of(v1.KustomizeController) {
		w.setArg("no-remote-bases", "true")
	}
	for _, w := range d.of(v1.KustomizeController, v1.HelmController) {
		w.setArg(defaultServiceAccountFlag, orDefault(d.cluster.TenantDefaultServiceAccount))
	}
	return nil
}

func orDefault(serviceAccount string) string {
	if serviceAccount == "" {
		return "default"
	}
	return serviceAccount
}

// applyWorkloadIdentity opens or shuts what lets Flux objects act as service accounts of their own in a cloud.
//
// Flux knows that for single objects since 2.6, for helm-controller and with defaults for tenants since 2.7.
func (d *draft) applyWorkloadIdentity() error {
	wanted, tenants := d.cluster.ObjectLevelWorkloadIdentity, d.cluster.MultitenantWorkloadIdentity
	switch {
	case tenants && !wanted:
		return &FieldError{Field: "spec.cluster.multitenantWorkloadIdentity", Problem: "it builds on objectLevelWorkloadIdentity",
			Cure: "set spec.cluster.objectLevelWorkloadIdentity to true as well"}
	case wanted && !d.atLeast(2, 6):
		return d.tooOld("spec.cluster.objectLevelWorkloadIdentity", "2.6")
	case tenants && !d.atLeast(2, 7):
		return d.tooOld("spec.cluster.multitenantWorkloadIdentity", "2.7")
	case !d.atLeast(2, 6):
		return nil
	}
	gated := []v1.Component{v1.SourceController, v1.KustomizeController, v1.NotificationController,
		v1.ImageReflectorController, v1.ImageAutomationController}
	if d.atLeast(2, 7) {
		gated = append(gated, v1.HelmController)
	}
	for _, w := range d.of(gated...) {
		// Before 2.7 the gate was shut unless opened, so nothing says it is.
		if wanted || d.atLeast(2, 7) {
			w.setGate("ObjectLevelWorkloadIdentity", fmt.Sprint(wanted))
		}
	}
	if tenants {
		d.setTenantIdentities()
	}
	if !wanted {
		return d.dropTokenRule()
	}
	return nil
}

func (d *draft) tooOld(field, since string) error {
	return &FieldError{Field: field, Problem: fmt.Sprintf("Flux %s does not know it, it came with %s", d.name, since),
		Cure: "remove it or choose a newer release in spec.distribution.version"}
}

func (d *draft) setTenantIdentities() {
	for _, w := range d.of(v1.SourceController, v1.NotificationController, v1.ImageReflectorController, v1.ImageAutomationController) {
		w.setArg(defaultServiceAccountFlag, orDefault(d.cluster.TenantDefaultServiceAccount))
	}
	for _, w := range d.of(v1.KustomizeController) {
		w.setArg("default-decryption-service-account", orDefault(d.cluster.TenantDefaultDecryptionServiceAccount))
	}
	for _, w := range d.of(v1.KustomizeController, v1.HelmController) {
		w.setArg("default-kubeconfig-service-account", orDefault(d.cluster.TenantDefaultKubeConfigServiceAccount))
	}
}

// dropTokenRule takes from the controllers the right to create tokens for any service account, which only workload identity needs.
func (d *draft) dropTokenRule() error {
	role, err := d.find(rbacGroup, "ClusterRole", crdControllerRole)
	if err != nil {
		return d.broken(d.rolesPath(), err)
	}
	rules, err := mapsAt(role.Object, "rules")
	if err != nil {
		return d.broken(role.file, fmt.Errorf("%s: %w", describe(role.Unstructured), err))
	}
	kept := make([]any, 0, len(rules))
	for _, rule := range rules {
		resources, err := listAt(rule, "resources")
		if err != nil {
			return d.broken(role.file, fmt.Errorf("%s: %w", describe(role.Unstructured), err))
		}
		others := slices.DeleteFunc(slices.Clone(resources), func(r any) bool { return r == "serviceaccounts/token" })
		if len(others) == 0 && len(resources) > 0 {
			continue
		}
		if len(others) < len(resources) {
			rule["resources"] = others
		}
		kept = append(kept, rule)
	}
	role.Object["rules"] = kept
	return nil
}
