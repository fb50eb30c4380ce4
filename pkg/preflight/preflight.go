// Package preflight finds the first reason not to apply a rendered set to a cluster: a readable list of rules.
package preflight

import (
	"fmt"
	"slices"

	"github.com/Masterminds/semver/v3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/render"
)

// Facts are what is known of the cluster; what is not known is left empty and not judged.
type Facts struct {
	// KubernetesVersion as the API server gives it, for example v1.36.3 or v1.33.4-eks-1a2b3c.
	KubernetesVersion string
	// OperatorNamespace is where the operator runs.
	OperatorNamespace string
	// Claims are the PersistentVolumeClaims as they are in the cluster, of those that the set contains.
	Claims []*unstructured.Unstructured
	// Forbidden is the name of a ClusterRole of the set that the operator may not change.
	Forbidden string
}

// Violation is a reason not to apply a set. What runs stays as it is.
//
//nolint:errname // a rule has violations; that they are errors is how they travel
type Violation struct {
	// Field of the FluxInstance to change.
	Field string
	// Problem says what is wrong.
	Problem string
	// Cure says what to do about it.
	Cure string
	// Passing says that it may go away without a change of the instance, so that the set is worth another look.
	Passing bool
}

// Error implements error.
func (v *Violation) Error() string { return fmt.Sprintf("%s: %s; %s", v.Field, v.Problem, v.Cure) }

// rule returns the reason it finds, or nil.
type rule func(*v1.FluxInstance, *render.Set, Facts) *Violation

// Check returns the first reason not to apply the set as a *Violation, nil when there is none.
func Check(instance *v1.FluxInstance, set *render.Set, facts Facts) error {
	for _, broken := range []rule{
		instanceIsBesideOperator,
		operatorHasRights,
		objectsStayInNamespace,
		controllersAreThere,
		imagesArePinned,
		clusterIsRecentEnough,
		claimsKeepWhatTheyHold,
		ignoredFieldsAreFields,
		inventoryFitsStatus,
	} {
		if violation := broken(instance, set, facts); violation != nil {
			return violation
		}
	}
	return nil
}

// instanceIsBesideOperator: the operator acts in its own namespace only.
func instanceIsBesideOperator(instance *v1.FluxInstance, _ *render.Set, facts Facts) *Violation {
	if facts.OperatorNamespace == "" || facts.OperatorNamespace == instance.Namespace {
		return nil
	}
	return &Violation{Field: "metadata.namespace",
		Problem: fmt.Sprintf("the instance is in %q and the operator in %q", instance.Namespace, facts.OperatorNamespace),
		Cure:    "create the instance in the operator's namespace"}
}

// operatorHasRights: it has those in the cluster by name, and the names end with the namespace. A lifecycle manager installs the operator anywhere,
// with the same names. Rights that were just given reach the API server a moment later.
func operatorHasRights(instance *v1.FluxInstance, _ *render.Set, facts Facts) *Violation {
	if facts.Forbidden == "" {
		return nil
	}
	return &Violation{Field: "metadata.namespace", Passing: true,
		Problem: fmt.Sprintf("the operator has no rights for a Flux in namespace %q: it may not change ClusterRole %q, and its bundle gives it the rights for %q",
			instance.Namespace, facts.Forbidden, v1.DefaultNamespace),
		Cure: fmt.Sprintf("remove the instance and the operator here and install them in %q, or give the operator the rights of config/rbac for this namespace", v1.DefaultNamespace)}
}

const patchesField = "spec.kustomize.patches"

// objectsStayInNamespace: whatever a release or a patch says, nothing is written into other namespaces, and no other namespace is made.
func objectsStayInNamespace(instance *v1.FluxInstance, set *render.Set, _ Facts) *Violation {
	for _, o := range set.Objects {
		namespace := o.GetNamespace()
		switch {
		case render.IsClusterScoped(o.GetKind()):
			if o.GetKind() != "Namespace" || o.GetName() == instance.Namespace {
				continue
			}
			namespace = o.GetName()
		case namespace == instance.Namespace:
			continue
		}
		return &Violation{Field: patchesField,
			Problem: fmt.Sprintf("%s %q would be in namespace %q instead of %q", o.GetKind(), o.GetName(), namespace, instance.Namespace),
			Cure:    "remove the patch that moves it, or choose another release if there is none"}
	}
	return nil
}

// controllersAreThere: every component has its Deployment, even after patches.
func controllersAreThere(instance *v1.FluxInstance, set *render.Set, _ Facts) *Violation {
	for i, component := range instance.Components() {
		present := slices.ContainsFunc(set.Objects, func(o *unstructured.Unstructured) bool {
			return o.GetKind() == "Deployment" && o.GetName() == string(component)
		})
		if !present {
			return &Violation{Field: fmt.Sprintf("spec.components[%d]", i),
				Problem: fmt.Sprintf("no Deployment %q is left of %s", component, component),
				Cure:    "remove the component instead of deleting its Deployment with a patch"}
		}
	}
	return nil
}

// imagesArePinned: where the distribution has the digest of an image, that image runs with it. An image that the user put in its
// place is the user's own to pin, and an image of which no digest is on record cannot be.
func imagesArePinned(_ *v1.FluxInstance, set *render.Set, _ Facts) *Violation {
	for _, image := range set.Images {
		if image.Digest != "" {
			continue
		}
		for _, released := range set.ReleaseImages {
			digest := released.Digest
			released.Digest = ""
			if released == image && digest != "" {
				return &Violation{Field: patchesField,
					Problem: fmt.Sprintf("a patch takes the digest from the image %s:%s of %s", image.Repository, image.Tag, image.Name),
					Cure:    fmt.Sprintf("write the image with @%s, or leave it to the release", digest)}
			}
		}
	}
	return nil
}

// A version of Kubernetes is refused only where a release is known not to work on it.
//
// The Flux project names the versions a release was tested with in its release notes (2.8: 1.33 to 1.35, 2.9: 1.34 to 1.36; section
// "Kubernetes compatibility" of github.com/fluxcd/flux2/releases) and adds that older ones may do. What older ones surely lack is
// what the definitions of the release itself use: validation rules are evaluated by default since 1.25, selectable fields exist by
// default since 1.31 (kubernetes.io, feature gates CustomResourceValidationExpressions and CustomResourceFieldSelectors).
const (
	rulesSince      = 25
	selectableSince = 31
)

// clusterIsRecentEnough: the API server understands the definitions of the release.
func clusterIsRecentEnough(_ *v1.FluxInstance, set *render.Set, facts Facts) *Violation {
	minor, known := minorOf(facts.KubernetesVersion)
	if !known || minor >= selectableSince {
		return nil
	}
	needed := map[string]uint64{"x-kubernetes-validations": rulesSince, "selectableFields": selectableSince}
	for _, o := range set.Objects {
		if o.GetKind() != "CustomResourceDefinition" {
			continue
		}
		if need := newestNeed(o.Object, needed); minor < need {
			return &Violation{Field: "spec.distribution.version",
				Problem: fmt.Sprintf("Flux %s needs Kubernetes 1.%d for %s %q and this is %s", set.Revision.Version, need, o.GetKind(), o.GetName(), facts.KubernetesVersion),
				Cure:    "upgrade the cluster or choose an older release"}
		}
	}
	return nil
}

// minorOf reads the minor of a version of Kubernetes 1; one that cannot be read is not known.
func minorOf(text string) (minor uint64, known bool) {
	parsed, err := semver.NewVersion(text)
	if err != nil || parsed.Major() != 1 {
		return 0, false
	}
	return parsed.Minor(), true
}

// newestNeed is the highest minor that any of the named fields anywhere in the value needs.
func newestNeed(value any, needed map[string]uint64) uint64 {
	var newest uint64
	switch value := value.(type) {
	case map[string]any:
		for key, child := range value {
			newest = max(newest, needed[key], newestNeed(child, needed))
		}
	case []any:
		for _, child := range value {
			newest = max(newest, newestNeed(child, needed))
		}
	}
	return newest
}

// maxInventoryBytes leaves two thirds of what etcd takes for one object (1.5 MiB by default) to spec, history and managed fields.
const maxInventoryBytes = 512 << 10

// inventoryFitsStatus: the list of what is applied is kept in the status of the instance.
func inventoryFitsStatus(_ *v1.FluxInstance, set *render.Set, _ Facts) *Violation {
	const punctuation = len(`{"id":"___","v":""},`)
	size := 0
	for _, o := range set.Objects {
		gvk := o.GroupVersionKind()
		size += len(o.GetNamespace()) + len(o.GetName()) + len(gvk.Group) + len(gvk.Kind) + len(gvk.Version) + punctuation
	}
	if size <= maxInventoryBytes {
		return nil
	}
	return &Violation{Field: "spec.sharding.shards",
		Problem: fmt.Sprintf("the inventory of %d objects would take %d bytes in the status, %d are allowed", len(set.Objects), size, maxInventoryBytes),
		Cure:    "use fewer shards"}
}
