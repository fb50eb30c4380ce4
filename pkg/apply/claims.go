package apply

import (
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// emptyVolume is how a user gets a volume that a claim cannot be changed to.
const emptyVolume = "delete the claim and then the pod that uses it by hand, to begin with an empty volume"

// inWordsOfStorage says of a refused change of a volume claim which field of the FluxInstance asks for it.
func inWordsOfStorage(obj *unstructured.Unstructured, err error) error {
	if obj.GroupVersionKind().GroupKind() != claimKind {
		return err
	}
	immutable, isImmutable := errors.AsType[*ImmutableError](err)
	switch {
	case isImmutable && strings.HasPrefix(immutable.Field, "spec.resources"):
		return fmt.Errorf("spec.storage.size: a volume cannot shrink; ask for at least what it has, or %s: %w", emptyVolume, immutable.Cause)
	case isImmutable:
		return fmt.Errorf("spec.storage.class: a claim keeps its volume; go back to what it has, or %s: %w", emptyVolume, immutable.Cause)
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), "resize"):
		return fmt.Errorf("spec.storage.size: the storage class of the claim does not let its volume grow; go back to the size it has, or %s: %w", emptyVolume, err)
	}
	return err
}
