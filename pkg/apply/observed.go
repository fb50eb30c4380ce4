package apply

import (
	"hash/fnv"
	"maps"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
)

// Observed is what an object looked like right after it was applied: enough to tell later, from live metadata alone, that nobody changed it.
type Observed struct {
	// UID tells an object from another one of the same name.
	UID types.UID
	// ResourceVersion is the version that the apply request returned.
	ResourceVersion string
	// Generation is 0 for kinds that do not count generations.
	Generation int64
	// Labels are those that were set, and no others.
	Labels map[string]string
	// Annotations are those that were set, and no others.
	Annotations map[string]string
	// Applied is when the API server last saw the operator change the object, to the second.
	Applied metav1.Time

	// ownership is a digest of who owns which fields, apart from writes to subresources such as status and scale.
	ownership uint64
	// others is a digest of who owns which fields, apart from the operator.
	others uint64
}

// observe notes what an object looks like in the answer to an apply request.
func observe(obj *unstructured.Unstructured, live *metav1.PartialObjectMetadata, manager string) Observed {
	return Observed{
		UID:             live.UID,
		ResourceVersion: live.ResourceVersion,
		Generation:      live.Generation,
		Labels:          maps.Clone(obj.GetLabels()),
		Annotations:     maps.Clone(obj.GetAnnotations()),
		Applied:         appliedAt(live, manager),
		ownership:       digestEntries(live, outsideSubresources),
		others: digestEntries(live, func(entry metav1.ManagedFieldsEntry) bool {
			return entry.Manager != manager || entry.Subresource != ""
		}),
	}
}

// Matches tells whether live metadata shows no change by others: the object is the same one and is not being deleted, the labels and
// annotations that were set are intact, and so is the rest. For kinds that count generations that means the same generation, for others the
// same resourceVersion; where that differs, unchanged field ownership shows that only subresources were written (status, or scale by an
// autoscaler), provided the metadata includes managedFields. Metadata older than what was observed, as a lagging cache returns it, matches.
func (o Observed) Matches(live metav1.Object) bool {
	if order, err := resourceversion.CompareResourceVersion(live.GetResourceVersion(), o.ResourceVersion); err == nil && order <= 0 {
		return true
	}
	if live.GetUID() != o.UID || live.GetDeletionTimestamp() != nil {
		return false
	}
	if !contains(live.GetLabels(), o.Labels) || !contains(live.GetAnnotations(), o.Annotations) {
		return false
	}
	if o.Generation > 0 && live.GetGeneration() == o.Generation {
		return true
	}
	if live.GetResourceVersion() == o.ResourceVersion {
		return true
	}
	return o.ownership != 0 && len(live.GetManagedFields()) > 0 && digestEntries(live, outsideSubresources) == o.ownership
}

// contains tells whether all pairs of the subset are in the set.
func contains(set, subset map[string]string) bool {
	for key, value := range subset {
		if got, ok := set[key]; !ok || got != value {
			return false
		}
	}
	return true
}

// outsideSubresources selects the managed fields that are not those of subresources. A write by anybody to a field of ours takes it away from
// our manager, and any other write leaves an entry of its own, so that these change with every change but those of subresources.
func outsideSubresources(entry metav1.ManagedFieldsEntry) bool {
	return entry.Subresource == ""
}

// digestEntries digests some of the managed fields.
func digestEntries(obj metav1.Object, selected func(metav1.ManagedFieldsEntry) bool) uint64 {
	hash := fnv.New64a()
	for _, entry := range obj.GetManagedFields() {
		if !selected(entry) {
			continue
		}
		hash.Write([]byte(entry.Manager))
		hash.Write([]byte(entry.Operation))
		hash.Write([]byte(entry.Subresource))
		if entry.Time != nil {
			hash.Write([]byte(entry.Time.UTC().Format(time.RFC3339)))
		}
		if entry.FieldsV1 != nil {
			hash.Write(entry.FieldsV1.GetRawBytes())
		}
	}
	return hash.Sum64()
}

// appliedAt returns when the manager last changed the object by applying. Applying without effect does not move it.
func appliedAt(obj metav1.Object, manager string) metav1.Time {
	for _, entry := range obj.GetManagedFields() {
		if entry.Manager == manager && entry.Operation == metav1.ManagedFieldsOperationApply && entry.Subresource == "" && entry.Time != nil {
			return *entry.Time
		}
	}
	return metav1.Time{}
}

// before is what is known from the time before a set of apply requests.
type before struct {
	// started is the local clock.
	started time.Time
	// revision is a resourceVersion of the API server, empty when it was not needed or could not be had.
	revision string
}

// clockSkew is by how much the API server's clock may differ from ours where only clocks can tell.
const clockSkew = time.Minute

// actionOf tells what an apply request did to the object it returned. The API server does not say so itself. If it is known how the object
// looked after the previous request, that decides; else whether it changed after this set of requests began.
func (b before) actionOf(now, previous Observed, live *metav1.PartialObjectMetadata) Action {
	if previous.UID != live.UID {
		return b.firstSeen(now, previous, live)
	}
	if previous.ResourceVersion == now.ResourceVersion {
		return Unchanged
	}
	if !now.Applied.Equal(&previous.Applied) {
		return Configured
	}
	if justNow := b.started.Sub(now.Applied.Time).Abs() < 2*time.Second; justNow && now.changedWithinASecond(previous) {
		return Configured
	}
	return Unchanged
}

// changedWithinASecond tells whether we changed an object twice within one second, to which the time of a change is noted. The later change
// shows in the generation or in what we set; for kinds that do not count generations, in that nobody else can have caused the new version.
func (o Observed) changedWithinASecond(previous Observed) bool {
	if o.Generation == 0 {
		return o.others == previous.others
	}
	return o.Generation != previous.Generation || !maps.Equal(o.Labels, previous.Labels) || !maps.Equal(o.Annotations, previous.Annotations)
}

// firstSeen is actionOf for an object that is not the one that was observed before, or was not observed at all.
func (b before) firstSeen(now, previous Observed, live *metav1.PartialObjectMetadata) Action {
	if now.Applied.IsZero() {
		return Unchanged
	}
	createdByUs := now.Applied.Sub(live.CreationTimestamp.Time).Abs() <= time.Second && now.Generation <= 1
	if previous.UID != "" && createdByUs {
		return Created
	}
	earliest := b.started.Truncate(time.Second)
	if order, err := resourceversion.CompareResourceVersion(now.ResourceVersion, b.revision); err == nil {
		if order <= 0 {
			return Unchanged
		}
		// It changed since, if only in its status: the clocks need not agree well to tell whether it was us.
		earliest = earliest.Add(-clockSkew)
	}
	if now.Applied.Time.Before(earliest) {
		return Unchanged
	}
	if createdByUs {
		return Created
	}
	return Configured
}
