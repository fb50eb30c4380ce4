package apply

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// foreignManager is a field manager whose fields become ours, so that those which are not in our object go away.
type foreignManager struct {
	name string
	// prefix makes every manager match whose name begins with name.
	prefix     bool
	operations []metav1.ManagedFieldsOperationType
}

// foreignManagers returns the managers to take over from: the ways in which people and tools install and edit Flux, and those named by the
// user. Our own updates are taken over too, as only applied fields can be dropped again.
//
// Terraform's providers for Kubernetes apply kubernetes_manifest as "Terraform" and send "HashiCorp/1.0 Terraform/…" as user agent for all other
// resources, from which the API server takes the name up to the slash; a provider that embeds Helm is known by the name of its binary, such as
// terraform-provider-helm_v2.13.0_x5. Its provider for Flux writes as "flux", that for kubectl as "HashiCorp" or "kubectl".
// Argo CD applies as argocd-controller; before it named itself, updates bore the name of its binary, argocd-application-controller.
//
// helm-controller gives its own name to what it installs from charts, by updates with Helm 3 and by applies since Helm 4, and when it corrects drift.
// On its own behalf it writes to HelmReleases and HelmCharts alone, which are never ours. kustomize-controller, which is the reason why only its
// applies are taken, updates the finalizers of the Kustomization that we apply.
func foreignManagers(own string, overrides []string) []foreignManager {
	const apply, update = metav1.ManagedFieldsOperationApply, metav1.ManagedFieldsOperationUpdate
	managers := []foreignManager{
		{name: own, operations: []metav1.ManagedFieldsOperationType{update}},
		{name: "kustomize-controller", operations: []metav1.ManagedFieldsOperationType{apply}},
		{name: "helm", operations: []metav1.ManagedFieldsOperationType{apply, update}}, // Helm 4 applies
		{name: "helm-controller", operations: []metav1.ManagedFieldsOperationType{apply, update}},
		{name: "kubectl", prefix: true, operations: []metav1.ManagedFieldsOperationType{apply, update}},
		{name: "before-first-apply", operations: []metav1.ManagedFieldsOperationType{update}},
		{name: "flux", operations: []metav1.ManagedFieldsOperationType{apply, update}},
		{name: "Terraform", operations: []metav1.ManagedFieldsOperationType{apply, update}},
		{name: "HashiCorp", operations: []metav1.ManagedFieldsOperationType{update}},
		{name: "terraform-provider-", prefix: true, operations: []metav1.ManagedFieldsOperationType{apply, update}},
		{name: "argocd-controller", operations: []metav1.ManagedFieldsOperationType{apply, update}},
		{name: "argocd-application-controller", operations: []metav1.ManagedFieldsOperationType{update}},
	}
	for _, name := range overrides {
		if name != own {
			managers = append(managers, foreignManager{name: name, operations: []metav1.ManagedFieldsOperationType{apply, update}})
		}
	}
	return managers
}

func (f foreignManager) names(manager string) bool {
	if f.prefix {
		return strings.HasPrefix(manager, f.name)
	}
	return manager == f.name
}

const (
	helmReleaseAnnotation = "meta.helm.sh/release-name"
	// helmPolicyAnnotation set to keep makes Helm leave a live object alone when its chart does not have it any more.
	helmPolicyAnnotation = "helm.sh/resource-policy"
)

// foreignAnnotations and foreignLabels are left behind by former owners and are removed unless the object itself sets them.
var (
	foreignAnnotations = []string{
		"kubectl.kubernetes.io/last-applied-configuration",
		helmReleaseAnnotation,
		"meta.helm.sh/release-namespace",
		"argocd.argoproj.io/tracking-id",
	}
	foreignLabels = []string{
		"kustomize.toolkit.fluxcd.io/name",
		"kustomize.toolkit.fluxcd.io/namespace",
		"helm.toolkit.fluxcd.io/name",
		"helm.toolkit.fluxcd.io/namespace",
	}
)

// operation is one step of a JSON patch.
type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value,omitempty"`
}

// fieldsOf selects some of the fields that a manager owns.
type fieldsOf func(owned *fieldpath.Set) *fieldpath.Set

func noFields(*fieldpath.Set) *fieldpath.Set { return fieldpath.NewSet() }

// takeOver removes the traces of former owners and makes the fields of foreign managers ours, except for the ignored ones, which are not ours
// either. It makes no request and returns false where there is nothing to do. Somebody else's change in the meantime is a conflict; the
// object is then to be applied anew.
func (a *Applier) takeOver(ctx context.Context, obj *unstructured.Unstructured, live *metav1.PartialObjectMetadata, ignored fieldsOf) (bool, error) {
	steps, err := a.takeoverSteps(obj, live, ignored)
	if err != nil || len(steps) == 0 {
		return false, err
	}
	return true, a.amend(ctx, live, steps)
}

// takeoverSteps returns what there is to do to take over an object.
func (a *Applier) takeoverSteps(obj *unstructured.Unstructured, live *metav1.PartialObjectMetadata, ignored fieldsOf) ([]operation, error) {
	steps := leftovers("/metadata/annotations/", foreignAnnotations, live.Annotations, obj.GetAnnotations())
	steps = append(steps, leftovers("/metadata/labels/", foreignLabels, live.Labels, obj.GetLabels())...)
	entries, taken, err := a.takeFields(live.ManagedFields, ignored)
	if err != nil {
		return nil, fmt.Errorf("reading managed fields: %w", err)
	}
	if taken {
		steps = append(steps, operation{Op: "replace", Path: "/metadata/managedFields", Value: entries})
	}
	return steps, nil
}

// amend changes the metadata of an object, provided that it is still the one that was read.
func (a *Applier) amend(ctx context.Context, live *metav1.PartialObjectMetadata, steps []operation) error {
	steps = append(steps, operation{Op: "replace", Path: "/metadata/resourceVersion", Value: live.ResourceVersion})
	body, err := json.Marshal(steps)
	if err != nil {
		return fmt.Errorf("encoding a patch: %w", err)
	}
	return a.client.Patch(ctx, live, client.RawPatch(types.JSONPatchType, body), client.FieldOwner(a.manager))
}

// leftovers returns the steps that remove those of the keys which the live object has and ours does not.
func leftovers(path string, keys []string, live, ours map[string]string) []operation {
	var steps []operation
	for _, key := range keys {
		_, exists := live[key]
		if _, wanted := ours[key]; exists && !wanted {
			steps = append(steps, operation{Op: "remove", Path: path + escaped(key)})
		}
	}
	return steps
}

// escaped writes a key as a part of a JSON pointer.
func escaped(key string) string {
	return strings.ReplaceAll(key, "/", "~1")
}

// kept are fields that stay with a foreign manager: what kubectl rollout restart writes asks for one rollout, and undoing it would be another;
// what tells Helm not to delete an object protects it from whoever removes the former release; and what tells us not to delete it is for users to
// set, by whatever means.
var kept = fieldpath.NewSet(
	fieldpath.MakePathOrDie("metadata", "annotations", v1.PruneAnnotation),
	fieldpath.MakePathOrDie("metadata", "labels", v1.PruneAnnotation),
	fieldpath.MakePathOrDie("metadata", "annotations", helmPolicyAnnotation),
	fieldpath.MakePathOrDie("spec", "template", "metadata", "annotations"),
	fieldpath.MakePathOrDie("spec", "template", "metadata", "annotations", "kubectl.kubernetes.io/restartedAt"),
)

// takeFields moves the fields of foreign managers into the entry of our manager, takes the ignored ones out of it, and returns the new list of
// entries and whether there was anything to do. Writes to subresources are left to their managers.
func (a *Applier) takeFields(entries []metav1.ManagedFieldsEntry, ignored fieldsOf) ([]metav1.ManagedFieldsEntry, bool, error) {
	own := metav1.ManagedFieldsEntry{Manager: a.manager, Operation: metav1.ManagedFieldsOperationApply, FieldsType: "FieldsV1"}
	fields, taken, changed := fieldpath.NewSet(), fieldpath.NewSet(), false
	var others []metav1.ManagedFieldsEntry
	for _, entry := range entries {
		ours := a.isOurs(entry)
		if !ours && !a.isForeign(entry) || entry.FieldsV1 == nil {
			others = append(others, entry)
			continue
		}
		set := &fieldpath.Set{}
		if err := set.FromJSON(entry.FieldsV1.GetRawReader()); err != nil {
			return nil, false, err
		}
		left := ignored(set)
		if ours {
			own, fields, changed = entry, set.RecursiveDifference(left), changed || !left.Empty()
			continue
		}
		own.APIVersion = cmp.Or(own.APIVersion, entry.APIVersion)
		wanted := set.RecursiveDifference(left).Difference(kept)
		taken, changed = taken.Union(wanted), changed || !wanted.Empty()
		if rest := set.Difference(wanted); !rest.Empty() {
			raw, err := rest.ToJSON()
			if err != nil {
				return nil, false, err
			}
			entry.FieldsV1 = metav1.NewFieldsV1(string(raw))
			others = append(others, entry)
		}
	}
	if !changed {
		return nil, false, nil
	}
	raw, err := fields.Union(taken).ToJSON()
	if err != nil {
		return nil, false, err
	}
	own.FieldsV1 = metav1.NewFieldsV1(string(raw))
	return append(others, own), true, nil
}

// isOurs tells whether an entry is that of our apply requests.
func (a *Applier) isOurs(entry metav1.ManagedFieldsEntry) bool {
	return entry.Manager == a.manager && entry.Operation == metav1.ManagedFieldsOperationApply && entry.Subresource == ""
}

func (a *Applier) isForeign(entry metav1.ManagedFieldsEntry) bool {
	return entry.Subresource == "" && slices.ContainsFunc(a.foreign, func(f foreignManager) bool {
		return f.names(entry.Manager) && slices.Contains(f.operations, entry.Operation)
	})
}
