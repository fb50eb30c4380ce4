package preflight

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/render"
)

// claimsKeepWhatTheyHold: a volume claim can grow and nothing else. Another one in its place would be empty, and whether that may be is for the
// user to say. A claim that has no volume yet holds nothing: it is made anew when it is applied.
func claimsKeepWhatTheyHold(_ *v1.FluxInstance, set *render.Set, facts Facts) *Violation {
	for _, live := range facts.Claims {
		phase, _, _ := unstructured.NestedString(live.Object, "status", "phase")
		if phase == "Pending" || live.GetDeletionTimestamp() != nil {
			continue
		}
		at := slices.IndexFunc(set.Objects, func(o *unstructured.Unstructured) bool {
			return o.GetKind() == live.GetKind() && o.GetName() == live.GetName() && o.GetNamespace() == live.GetNamespace()
		})
		if at < 0 || strings.EqualFold(set.Objects[at].GetAnnotations()[v1.ForceAnnotation], v1.EnabledValue) {
			continue
		}
		if violation := claimKeepsWhatItHolds(set.Objects[at], live); violation != nil {
			return violation
		}
	}
	return nil
}

func claimKeepsWhatItHolds(wanted, live *unstructured.Unstructured) *Violation {
	byHand := fmt.Sprintf("delete PersistentVolumeClaim %q and then the pod that uses it by hand, to begin with an empty volume", live.GetName())
	class, stated, _ := unstructured.NestedString(wanted.Object, "spec", "storageClassName")
	if has, _, _ := unstructured.NestedString(live.Object, "spec", "storageClassName"); stated && class != has {
		return &Violation{Field: "spec.storage.class",
			Problem: fmt.Sprintf("the volume of PersistentVolumeClaim %q has storage class %q and cannot get %q", live.GetName(), has, class),
			Cure:    fmt.Sprintf("keep %q, or %s", has, byHand)}
	}
	modes, stated, _ := unstructured.NestedStringSlice(wanted.Object, "spec", "accessModes")
	if has, _, _ := unstructured.NestedStringSlice(live.Object, "spec", "accessModes"); stated && !sameSet(modes, has) {
		return &Violation{Field: patchesField,
			Problem: fmt.Sprintf("the volume of PersistentVolumeClaim %q has access modes %s and cannot get %s",
				live.GetName(), strings.Join(has, ", "), strings.Join(modes, ", ")),
			Cure: "remove the patch that changes them, or " + byHand}
	}
	size, has := quantityAt(wanted, "spec", "resources", "requests", "storage"), quantityAt(live, "spec", "resources", "requests", "storage")
	// What was asked for and not allocated may be taken back, and an allocation is often larger than what was asked for.
	if allocated := quantityAt(live, "status", "capacity", "storage"); size.Sign() > 0 && size.Cmp(has) < 0 && size.Cmp(allocated) <= 0 {
		return &Violation{Field: "spec.storage.size",
			Problem: fmt.Sprintf("the volume of PersistentVolumeClaim %q has %s and cannot shrink to %s", live.GetName(), has.String(), size.String()),
			Cure:    fmt.Sprintf("ask for %s or more, or %s", has.String(), byHand)}
	}
	return nil
}

func sameSet(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}

// quantityAt reads a quantity; one that is not there or cannot be read is zero, which the API server judges.
func quantityAt(o *unstructured.Unstructured, fields ...string) resource.Quantity {
	text, _, _ := unstructured.NestedString(o.Object, fields...)
	quantity, err := resource.ParseQuantity(text)
	if err != nil {
		return resource.Quantity{}
	}
	return quantity
}
