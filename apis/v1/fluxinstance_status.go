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
	// +operator-sdk:csv:customresourcedefinitions:type=status,xDescriptors={"urn:alm:descriptor:io.kubernetes.conditions"}
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// lastAttemptedRevision is the revision (version@sha256:digest) of the last pass.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=status,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	LastAttemptedRevision string `json:"lastAttemptedRevision,omitempty"`

	// lastAppliedRevision is the revision of the last successful pass.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=status,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	LastAppliedRevision string `json:"lastAppliedRevision,omitempty"`

	// lastArtifactRevision is the digest of the distribution artifact; empty for the built-in distribution.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=status,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	LastArtifactRevision string `json:"lastArtifactRevision,omitempty"`

	// artifact is the distribution artifact that the last successful pass installed from; empty for the built-in distribution.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=status
	Artifact *ArtifactStatus `json:"artifact,omitempty"`

	// release compares the release that is wanted with the newest one there is.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=status
	Release *ReleaseStatus `json:"release,omitempty"`

	// adoption is what was there before the instance; absent where nothing was.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=status
	Adoption *AdoptionStatus `json:"adoption,omitempty"`

	// components are the images that run.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=status
	Components []ComponentImage `json:"components,omitempty"`

	// inventory lists the objects the instance owns.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=status
	Inventory *ResourceInventory `json:"inventory,omitempty"`

	// history lists the last attempted states, newest first, five at most.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=status
	History meta.History `json:"history,omitempty"`
}

// ArtifactStatus is a distribution artifact and what vouches for it.
type ArtifactStatus struct {
	// reference is the address the artifact was fetched from.
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	// +operator-sdk:csv:customresourcedefinitions:type=status,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Reference string `json:"reference"`
	// digest of the artifact, as in lastArtifactRevision.
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	// +operator-sdk:csv:customresourcedefinitions:type=status,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Digest string `json:"digest"`
	// verified says whose signature was found; empty where spec.distribution.artifactSource.verify is not set.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec
	// +operator-sdk:csv:customresourcedefinitions:type=status
	Verified *ArtifactSigner `json:"verified,omitempty"`
}

// ArtifactSigner is the signer of an artifact: a key, or an identity.
type ArtifactSigner struct {
	// key is the name, in the Secret, of the public key that the signature was checked with.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	// +operator-sdk:csv:customresourcedefinitions:type=status,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Key string `json:"key,omitempty"`
	// issuer of the identity that signed.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	// +operator-sdk:csv:customresourcedefinitions:type=status,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Issuer string `json:"issuer,omitempty"`
	// subject is the identity that signed.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	// +operator-sdk:csv:customresourcedefinitions:type=status,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Subject string `json:"subject,omitempty"`
}

// ReleaseStatus compares two releases of Flux.
type ReleaseStatus struct {
	// elected is the release that spec.distribution.version chooses.
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=status,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Elected string `json:"elected"`
	// available is the newest release of the distribution.
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=status,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Available string `json:"available"`
	// message says why the two differ; empty where they do not.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=status,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Message string `json:"message,omitempty"`
}

// ComponentImage is the image of a controller.
type ComponentImage struct {
	// name of the controller.
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=status,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Name string `json:"name"`
	// repository of the image, without tag.
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=status,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Repository string `json:"repository"`
	// tag of the image.
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=status,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Tag string `json:"tag"`
	// digest of the image, empty where it is not pinned.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=status,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Digest string `json:"digest,omitempty"`
}

// ResourceInventory lists objects.
type ResourceInventory struct {
	// entries are the objects, each once.
	// +operator-sdk:csv:customresourcedefinitions:type=status
	Entries []ResourceRef `json:"entries"`
}

// ResourceRef names one object.
type ResourceRef struct {
	// id is namespace_name_group_kind.
	// +operator-sdk:csv:customresourcedefinitions:type=status,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	ID string `json:"id"`
	// v is the API version of the object's kind.
	// +operator-sdk:csv:customresourcedefinitions:type=status,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Version string `json:"v"`
}
