package v1

import (
	"github.com/fluxcd/pkg/apis/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// FluxInstanceStatus says what runs, and how it goes.
type FluxInstanceStatus struct {
	meta.ReconcileRequestStatus `json:",inline"`
	meta.ForceRequestStatus     `json:",inline"`

	// conditions are Ready, Reconciling and Stalled.
	// +listType=map
	// +listMapKey=type
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// lastAttemptedRevision is the revision (version@sha256:digest) of the last pass.
	// +optional
	LastAttemptedRevision string `json:"lastAttemptedRevision,omitempty"`

	// lastAppliedRevision is the revision of the last successful pass.
	// +optional
	LastAppliedRevision string `json:"lastAppliedRevision,omitempty"`

	// lastArtifactRevision is the digest of the distribution artifact; empty for the built-in distribution.
	// +optional
	LastArtifactRevision string `json:"lastArtifactRevision,omitempty"`

	// artifact is the distribution artifact that the last successful pass installed from; empty for the built-in distribution.
	// +optional
	Artifact *ArtifactStatus `json:"artifact,omitempty"`

	// release compares the release that is wanted with the newest one there is.
	// +optional
	Release *ReleaseStatus `json:"release,omitempty"`

	// components are the images that run.
	// +optional
	Components []ComponentImage `json:"components,omitempty"`

	// inventory lists the objects the instance owns.
	// +optional
	Inventory *ResourceInventory `json:"inventory,omitempty"`

	// history lists the last attempted states, newest first, five at most.
	// +optional
	History meta.History `json:"history,omitempty"`
}

// ArtifactStatus is a distribution artifact and what vouches for it.
type ArtifactStatus struct {
	// reference is the address the artifact was fetched from.
	// +required
	Reference string `json:"reference"`
	// digest of the artifact, as in lastArtifactRevision.
	// +required
	Digest string `json:"digest"`
	// verified says whose signature was found; empty where spec.distribution.artifactSource.verify is not set.
	// +optional
	Verified *ArtifactSigner `json:"verified,omitempty"`
}

// ArtifactSigner is the signer of an artifact: a key, or an identity.
type ArtifactSigner struct {
	// key is the name, in the Secret, of the public key that the signature was checked with.
	// +optional
	Key string `json:"key,omitempty"`
	// issuer of the identity that signed.
	// +optional
	Issuer string `json:"issuer,omitempty"`
	// subject is the identity that signed.
	// +optional
	Subject string `json:"subject,omitempty"`
}

// ReleaseStatus compares two releases of Flux.
type ReleaseStatus struct {
	// elected is the release that spec.distribution.version chooses.
	// +required
	Elected string `json:"elected"`
	// available is the newest release of the distribution.
	// +required
	Available string `json:"available"`
	// message says why the two differ; empty where they do not.
	// +optional
	Message string `json:"message,omitempty"`
}

// ComponentImage is the image of a controller.
type ComponentImage struct {
	// name of the controller.
	// +required
	Name string `json:"name"`
	// repository of the image, without tag.
	// +required
	Repository string `json:"repository"`
	// tag of the image.
	// +required
	Tag string `json:"tag"`
	// digest of the image, empty where it is not pinned.
	// +optional
	Digest string `json:"digest,omitempty"`
}

// ResourceInventory lists objects.
type ResourceInventory struct {
	// entries are the objects, each once.
	Entries []ResourceRef `json:"entries"`
}

// ResourceRef names one object.
type ResourceRef struct {
	// id is namespace_name_group_kind.
	ID string `json:"id"`
	// v is the API version of the object's kind.
	Version string `json:"v"`
}
