package v1

import (
	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/fluxcd/pkg/apis/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// FluxInstanceKind is the kind of a FluxInstance.
const FluxInstanceKind = "FluxInstance"

// FluxInstanceSpec says which Flux is wanted and how it is configured.
//
// +kubebuilder:validation:XValidation:rule="!has(self.sharding) || !has(self.sharding.storage) || self.sharding.storage != 'persistent' || has(self.storage)",message="spec.sharding.storage 'persistent' needs spec.storage with class and size"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.sync) || !has(self.sync) || (has(self.sync.name) == has(oldSelf.sync.name) && (!has(self.sync.name) || self.sync.name == oldSelf.sync.name))",message="spec.sync.name is immutable: remove spec.sync first, then add it with the other name"
type FluxInstanceSpec struct {
	// distribution says which release of Flux is wanted and where its images come from.
	// +required
	Distribution Distribution `json:"distribution"`

	// components are the Flux controllers to run.
	// Defaults to source-controller, kustomize-controller, helm-controller and notification-controller.
	// +kubebuilder:validation:MaxItems=7
	// +listType=set
	// +optional
	Components []Component `json:"components,omitempty"`

	// commonMetadata is set on every object the operator applies; its keys win over the same keys of the release.
	// +optional
	CommonMetadata *CommonMetadata `json:"commonMetadata,omitempty"`

	// cluster describes the cluster and its tenancy.
	// +optional
	Cluster *Cluster `json:"cluster,omitempty"`

	// sharding runs further sets of the controllers, each for the objects labelled for it.
	// +optional
	Sharding *Sharding `json:"sharding,omitempty"`

	// storage gives source-controller a persistent volume.
	// +optional
	Storage *Storage `json:"storage,omitempty"`

	// kustomize patches the rendered release, last of all.
	// +optional
	Kustomize *Kustomize `json:"kustomize,omitempty"`

	// wait for the applied objects to become ready before reporting success. Defaults to true.
	// +kubebuilder:default:=true
	// +optional
	Wait *bool `json:"wait,omitempty"`

	// migrateResources moves stored Flux objects to the storage version of their kinds. Defaults to true.
	// +kubebuilder:default:=true
	// +optional
	MigrateResources *bool `json:"migrateResources,omitempty"`

	// sync deploys what a source (Git, OCI or bucket) contains.
	// +optional
	Sync *Sync `json:"sync,omitempty"`
}

// Distribution says which release of Flux is wanted and where its images come from.
//
// +kubebuilder:validation:XValidation:rule="!has(self.artifactSource) || has(self.artifact)",message="artifactSource says how artifact is fetched: set artifact as well, or remove artifactSource"
type Distribution struct {
	// version is an exact release such as 2.9.4, or a range such as 2.x or 2.9.x.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +required
	Version string `json:"version"`

	// registry is the address the controller images are pulled from, for example ghcr.io/fluxcd.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +required
	Registry string `json:"registry"`

	// variant of the images; guessed from the registry when empty.
	// +kubebuilder:validation:Enum=upstream-alpine;enterprise-alpine;enterprise-distroless;enterprise-distroless-fips
	// +optional
	Variant string `json:"variant,omitempty"`

	// imagePullSecret is the name of a Secret in the same namespace, used by the controllers' pods.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	ImagePullSecret string `json:"imagePullSecret,omitempty"`

	// artifact is the OCI address (oci://...) of a distribution to use instead of the one built into the operator.
	// +kubebuilder:validation:Pattern="^oci://.*$"
	// +kubebuilder:validation:MaxLength=1024
	// +optional
	Artifact string `json:"artifact,omitempty"`

	// artifactPullSecret is the name of a Secret of type kubernetes.io/dockerconfigjson in the same namespace, used for the artifact alone.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	ArtifactPullSecret string `json:"artifactPullSecret,omitempty"`

	// artifactSource says how the artifact is fetched and verified; its fields are those of Flux's OCIRepository.
	// +optional
	ArtifactSource *ArtifactSource `json:"artifactSource,omitempty"`
}

// ArtifactSource says how an OCI artifact is fetched and verified. The fields have the names and shapes they have in Flux's OCIRepository.
//
// +kubebuilder:validation:XValidation:rule="!has(self.insecure) || !self.insecure || !has(self.certSecretRef)",message="insecure and certSecretRef exclude each other: plain HTTP has no certificates"
type ArtifactSource struct {
	// provider of the credentials for the registry: generic for static ones, or the cloud whose identity the operator or serviceAccountName has.
	// +kubebuilder:validation:Enum=generic;aws;azure;gcp
	// +kubebuilder:default:=generic
	// +optional
	Provider string `json:"provider,omitempty"`

	// serviceAccountName is the name of a ServiceAccount in the same namespace: with provider generic its image pull secrets are used,
	// with a cloud provider its identity instead of the operator's.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	ServiceAccountName string `json:"serviceAccountName,omitempty"`

	// certSecretRef names a Secret in the same namespace with ca.crt, the authority that the registry's certificate is checked against
	// besides those of the system, or tls.crt and tls.key, the client's certificate, or all three.
	// +optional
	CertSecretRef *meta.LocalObjectReference `json:"certSecretRef,omitempty"`

	// proxySecretRef names a Secret in the same namespace with address, the proxy to reach the registry through, and optionally username and password.
	// Without it the proxy of the operator's environment is used.
	// +optional
	ProxySecretRef *meta.LocalObjectReference `json:"proxySecretRef,omitempty"`

	// insecure allows plain HTTP.
	// +optional
	Insecure bool `json:"insecure,omitempty"`

	// timeout of fetching and verifying. Defaults to 60s.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m))+$"
	// +kubebuilder:default:="60s"
	// +optional
	Timeout *metav1.Duration `json:"timeout,omitempty"`

	// verify the signature of the artifact before anything in it is used.
	// +optional
	Verify *ArtifactVerification `json:"verify,omitempty"`
}

// ArtifactVerification says which signatures of an artifact are trusted: those of given keys, or keyless ones of given identities.
//
// +kubebuilder:validation:XValidation:rule="has(self.secretRef) != has(self.matchOIDCIdentity)",message="set either secretRef, for signatures by key, or matchOIDCIdentity, for keyless ones"
// +kubebuilder:validation:XValidation:rule="!has(self.trustedRootSecretRef) || has(self.matchOIDCIdentity)",message="trustedRootSecretRef is for keyless signatures: set matchOIDCIdentity as well"
type ArtifactVerification struct {
	// provider of the signatures.
	// +kubebuilder:validation:Enum=cosign
	// +kubebuilder:default:=cosign
	// +optional
	Provider string `json:"provider,omitempty"`

	// secretRef names a Secret in the same namespace whose keys that end in .pub hold the trusted public keys in PEM form.
	// +optional
	SecretRef *meta.LocalObjectReference `json:"secretRef,omitempty"`

	// matchOIDCIdentity are the trusted identities; a keyless signature of any of them is enough.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +listType=atomic
	// +optional
	MatchOIDCIdentity []OIDCIdentityMatch `json:"matchOIDCIdentity,omitempty"`

	// trustedRootSecretRef names a Secret in the same namespace whose key trusted_root.json holds the authorities that keyless signatures are
	// checked against. Without it, those of the public Sigstore instance are.
	// +optional
	TrustedRootSecretRef *meta.LocalObjectReference `json:"trustedRootSecretRef,omitempty"`
}

// OIDCIdentityMatch matches the identity in the certificate of a keyless signature.
type OIDCIdentityMatch struct {
	// issuer is a Go regular expression for the issuer of the identity.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +required
	Issuer string `json:"issuer"`

	// subject is a Go regular expression for the identity.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +required
	Subject string `json:"subject"`
}

// Component is the name of a Flux controller.
//
// +kubebuilder:validation:Enum=source-controller;kustomize-controller;helm-controller;notification-controller;image-reflector-controller;image-automation-controller;source-watcher
type Component string

// The Flux controllers.
const (
	// SourceController fetches sources.
	SourceController Component = "source-controller"
	// KustomizeController applies Kustomizations.
	KustomizeController Component = "kustomize-controller"
	// HelmController runs Helm releases.
	HelmController Component = "helm-controller"
	// NotificationController sends and receives events.
	NotificationController Component = "notification-controller"
	// ImageReflectorController scans image registries.
	ImageReflectorController Component = "image-reflector-controller"
	// ImageAutomationController commits image updates.
	ImageAutomationController Component = "image-automation-controller"
	// SourceWatcher composes artifacts; part of Flux since 2.7.
	SourceWatcher Component = "source-watcher"
)

// CommonMetadata holds labels and annotations for all objects.
type CommonMetadata struct {
	// labels to set on all objects.
	// +kubebuilder:validation:MaxProperties=64
	// +optional
	Labels map[string]string `json:"labels,omitempty"`

	// annotations to set on all objects.
	// +kubebuilder:validation:MaxProperties=64
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`
}

// Cluster describes the cluster and its tenancy.
//
// +kubebuilder:validation:XValidation:rule="!has(self.multitenantWorkloadIdentity) || !self.multitenantWorkloadIdentity || (has(self.objectLevelWorkloadIdentity) && self.objectLevelWorkloadIdentity)",message="multitenantWorkloadIdentity needs objectLevelWorkloadIdentity: set it to true as well"
type Cluster struct {
	// domain of the cluster's DNS. Defaults to cluster.local.
	// +kubebuilder:default:=cluster.local
	// +kubebuilder:validation:MaxLength=253
	// +optional
	Domain string `json:"domain,omitempty"`

	// multitenant locks the controllers down for clusters shared by tenants.
	// +kubebuilder:default:=false
	// +required
	Multitenant bool `json:"multitenant"`

	// multitenantWorkloadIdentity makes tenants name the service account their cloud calls use. Needs objectLevelWorkloadIdentity.
	// +optional
	MultitenantWorkloadIdentity bool `json:"multitenantWorkloadIdentity,omitempty"`

	// tenantDefaultServiceAccount is used by objects that name none, when multitenant. Defaults to "default".
	// +kubebuilder:validation:MaxLength=253
	// +optional
	TenantDefaultServiceAccount string `json:"tenantDefaultServiceAccount,omitempty"`

	// tenantDefaultDecryptionServiceAccount is used for decryption by objects that name none. Defaults to "default".
	// +kubebuilder:validation:MaxLength=253
	// +optional
	TenantDefaultDecryptionServiceAccount string `json:"tenantDefaultDecryptionServiceAccount,omitempty"`

	// tenantDefaultKubeConfigServiceAccount is used for remote clusters by objects that name none. Defaults to "default".
	// +kubebuilder:validation:MaxLength=253
	// +optional
	TenantDefaultKubeConfigServiceAccount string `json:"tenantDefaultKubeConfigServiceAccount,omitempty"`

	// objectLevelWorkloadIdentity lets Flux objects name the service account their cloud calls use. Needs Flux 2.6.
	// +optional
	ObjectLevelWorkloadIdentity bool `json:"objectLevelWorkloadIdentity,omitempty"`

	// networkPolicy restricts traffic to the controllers. Defaults to true.
	// +kubebuilder:default:=true
	// +required
	NetworkPolicy bool `json:"networkPolicy"`

	// type of the cluster.
	// +kubebuilder:validation:Enum=kubernetes;openshift;aws;azure;gcp
	// +kubebuilder:default:=kubernetes
	// +optional
	Type string `json:"type,omitempty"`

	// size of the cluster; chooses resources and concurrency of the controllers. Unset keeps the release's own.
	// +kubebuilder:validation:Enum=small;medium;large
	// +optional
	Size string `json:"size,omitempty"`
}

// Sharding runs further sets of the controllers.
type Sharding struct {
	// key of the label that assigns an object to a shard. Defaults to sharding.fluxcd.io/key.
	// +kubebuilder:default:=sharding.fluxcd.io/key
	// +kubebuilder:validation:MaxLength=317
	// +optional
	Key string `json:"key,omitempty"`

	// shards are the names of the shards: unique DNS labels, short enough that the longest controller name with its suffix has at most 63 characters.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=100
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=35
	// +kubebuilder:validation:items:Pattern="^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
	// +listType=set
	// +required
	Shards []string `json:"shards"`

	// storage of the shards' artifacts: ephemeral (default), or persistent with the class and size of spec.storage.
	// +kubebuilder:validation:Enum=ephemeral;persistent
	// +optional
	Storage string `json:"storage,omitempty"`
}

// Storage describes a persistent volume claim.
type Storage struct {
	// class is the name of the StorageClass.
	// +kubebuilder:validation:MaxLength=253
	// +required
	Class string `json:"class"`

	// size is the requested capacity, for example 10Gi.
	// +kubebuilder:validation:MaxLength=64
	// +required
	Size string `json:"size"`
}

// Kustomize holds patches.
type Kustomize struct {
	// patches in strategic merge or JSON6902 form, applied in order after everything else.
	// +kubebuilder:validation:MaxItems=256
	// +optional
	Patches []kustomize.Patch `json:"patches,omitempty"`
}

// Sync says what to deploy from where.
//
// +kubebuilder:validation:XValidation:rule="!has(self.provider) || self.provider != 'gcp' || self.kind != 'GitRepository'",message="provider gcp works with kind OCIRepository or Bucket only"
// +kubebuilder:validation:XValidation:rule="!has(self.provider) || self.provider != 'github' || self.kind == 'GitRepository'",message="provider github works with kind GitRepository only"
type Sync struct {
	// name of the source and the Kustomization. Defaults to the namespace of the FluxInstance. Immutable while spec.sync is present.
	// +kubebuilder:validation:MaxLength=63
	// +optional
	Name string `json:"name,omitempty"`

	// interval between two looks at the source. Defaults to 1m.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +kubebuilder:default:="1m"
	// +optional
	Interval *metav1.Duration `json:"interval,omitempty"`

	// kind of the source.
	// +kubebuilder:validation:Enum=OCIRepository;GitRepository;Bucket
	// +required
	Kind string `json:"kind"`

	// url of the repository, or the endpoint of the bucket.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +required
	URL string `json:"url"`

	// ref is a Git reference (refs/heads/main), an OCI tag, or the name of the bucket.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +required
	Ref string `json:"ref"`

	// path in the source to deploy.
	// +kubebuilder:validation:MaxLength=4096
	// +required
	Path string `json:"path"`

	// pullSecret is the name of a Secret in the same namespace with the credentials for the source.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	PullSecret string `json:"pullSecret,omitempty"`

	// provider of the credentials for the source.
	// +kubebuilder:validation:Enum=generic;aws;azure;gcp;github
	// +optional
	Provider string `json:"provider,omitempty"`
}

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

// FluxInstance is one installation of Flux.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:categories={fluxcd,fluxcd-appliers}
// +kubebuilder:printcolumn:name="Age",type="date",JSONPath=".metadata.creationTimestamp",description=""
// +kubebuilder:printcolumn:name="Ready",type="string",JSONPath=".status.conditions[?(@.type==\"Ready\")].status",description=""
// +kubebuilder:printcolumn:name="Status",type="string",JSONPath=".status.conditions[?(@.type==\"Ready\")].message",description=""
// +kubebuilder:printcolumn:name="Revision",type="string",JSONPath=".status.lastAttemptedRevision",description=""
// +kubebuilder:validation:XValidation:rule="self.metadata.name == 'flux'",message="a FluxInstance has the name 'flux': rename it"
type FluxInstance struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what is wanted.
	Spec FluxInstanceSpec `json:"spec,omitempty"`
	// status is what is.
	Status FluxInstanceStatus `json:"status,omitempty"`
}

// FluxInstanceList is a list of FluxInstances.
//
// +kubebuilder:object:root=true
type FluxInstanceList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []FluxInstance `json:"items"`
}
