package v1

import (
	"github.com/fluxcd/pkg/apis/kustomize"
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
	// +operator-sdk:csv:customresourcedefinitions:type=spec
	Distribution Distribution `json:"distribution"`

	// components are the Flux controllers to run.
	// Defaults to source-controller, kustomize-controller, helm-controller and notification-controller.
	// +kubebuilder:validation:MaxItems=7
	// +listType=set
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec
	Components []Component `json:"components,omitempty"`

	// commonMetadata is set on every object the operator applies; its keys win over the same keys of the release.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec
	CommonMetadata *CommonMetadata `json:"commonMetadata,omitempty"`

	// cluster describes the cluster and its tenancy.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec
	Cluster *Cluster `json:"cluster,omitempty"`

	// sharding runs further sets of the controllers, each for the objects labelled for it.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec
	Sharding *Sharding `json:"sharding,omitempty"`

	// storage gives source-controller a persistent volume.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec
	Storage *Storage `json:"storage,omitempty"`

	// kustomize patches the rendered release, last of all.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec
	Kustomize *Kustomize `json:"kustomize,omitempty"`

	// wait for the applied objects to become ready before reporting success. Defaults to true.
	// +kubebuilder:default:=true
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:booleanSwitch"}
	Wait *bool `json:"wait,omitempty"`

	// migrateResources moves stored Flux objects to the storage version of their kinds. Defaults to true.
	// +kubebuilder:default:=true
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:booleanSwitch"}
	MigrateResources *bool `json:"migrateResources,omitempty"`

	// sync deploys what a source (Git, OCI or bucket) contains.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec
	Sync *Sync `json:"sync,omitempty"`

	// adoption says how objects are taken over that were in the cluster before the instance.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec
	Adoption *Adoption `json:"adoption,omitempty"`

	// deletionPolicy says what the end of the instance means for Flux: Delete (controllers, definitions and all Flux custom resources go),
	// DeleteControllers (definitions and custom resources stay) or Orphan (everything stays). What Flux deployed always stays. Defaults to Delete.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:select:Delete","urn:alm:descriptor:com.tectonic.ui:select:DeleteControllers","urn:alm:descriptor:com.tectonic.ui:select:Orphan"}
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`

	// snapshots says how many copies of the instance and all Flux custom resources are kept; one is made before each upgrade to another minor.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec
	Snapshots *Snapshots `json:"snapshots,omitempty"`
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
	// +operator-sdk:csv:customresourcedefinitions:type=spec
	Labels map[string]string `json:"labels,omitempty"`

	// annotations to set on all objects.
	// +kubebuilder:validation:MaxProperties=64
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec
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
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Domain string `json:"domain,omitempty"`

	// multitenant locks the controllers down for clusters shared by tenants.
	// +kubebuilder:default:=false
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:booleanSwitch"}
	Multitenant bool `json:"multitenant"`

	// multitenantWorkloadIdentity makes tenants name the service account their cloud calls use. Needs objectLevelWorkloadIdentity.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:booleanSwitch"}
	MultitenantWorkloadIdentity bool `json:"multitenantWorkloadIdentity,omitempty"`

	// tenantDefaultServiceAccount is used by objects that name none, when multitenant. Defaults to "default".
	// +kubebuilder:validation:MaxLength=253
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:io.kubernetes:ServiceAccount"}
	TenantDefaultServiceAccount string `json:"tenantDefaultServiceAccount,omitempty"`

	// tenantDefaultDecryptionServiceAccount is used for decryption by objects that name none. Defaults to "default".
	// +kubebuilder:validation:MaxLength=253
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:io.kubernetes:ServiceAccount"}
	TenantDefaultDecryptionServiceAccount string `json:"tenantDefaultDecryptionServiceAccount,omitempty"`

	// tenantDefaultKubeConfigServiceAccount is used for remote clusters by objects that name none. Defaults to "default".
	// +kubebuilder:validation:MaxLength=253
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:io.kubernetes:ServiceAccount"}
	TenantDefaultKubeConfigServiceAccount string `json:"tenantDefaultKubeConfigServiceAccount,omitempty"`

	// objectLevelWorkloadIdentity lets Flux objects name the service account their cloud calls use. Needs Flux 2.6.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:booleanSwitch"}
	ObjectLevelWorkloadIdentity bool `json:"objectLevelWorkloadIdentity,omitempty"`

	// networkPolicy restricts traffic to the controllers. Defaults to true.
	// +kubebuilder:default:=true
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:booleanSwitch"}
	NetworkPolicy bool `json:"networkPolicy"`

	// type of the cluster. A default that nobody wrote gives way to what the cluster is: openshift where it has security context constraints.
	// +kubebuilder:validation:Enum=kubernetes;openshift;aws;azure;gcp
	// +kubebuilder:default:=kubernetes
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:select:kubernetes","urn:alm:descriptor:com.tectonic.ui:select:openshift","urn:alm:descriptor:com.tectonic.ui:select:aws","urn:alm:descriptor:com.tectonic.ui:select:azure","urn:alm:descriptor:com.tectonic.ui:select:gcp"}
	Type string `json:"type,omitempty"`

	// size of the cluster; chooses resources and concurrency of the controllers. Unset keeps the release's own.
	// +kubebuilder:validation:Enum=small;medium;large
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:select:small","urn:alm:descriptor:com.tectonic.ui:select:medium","urn:alm:descriptor:com.tectonic.ui:select:large"}
	Size string `json:"size,omitempty"`
}

// Sharding runs further sets of the controllers.
type Sharding struct {
	// key of the label that assigns an object to a shard. Defaults to sharding.fluxcd.io/key.
	// +kubebuilder:default:=sharding.fluxcd.io/key
	// +kubebuilder:validation:MaxLength=317
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Key string `json:"key,omitempty"`

	// shards are the names of the shards: unique DNS labels, short enough that the longest controller name with its suffix has at most 63 characters.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=100
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=35
	// +kubebuilder:validation:items:Pattern="^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
	// +listType=set
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=spec
	Shards []string `json:"shards"`

	// storage of the shards' artifacts: ephemeral (default), or persistent with the class and size of spec.storage.
	// +kubebuilder:validation:Enum=ephemeral;persistent
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:select:ephemeral","urn:alm:descriptor:com.tectonic.ui:select:persistent"}
	Storage string `json:"storage,omitempty"`
}

// Storage describes a persistent volume claim.
type Storage struct {
	// class is the name of the StorageClass.
	// +kubebuilder:validation:MaxLength=253
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Class string `json:"class"`

	// size is the requested capacity, for example 10Gi.
	// +kubebuilder:validation:MaxLength=64
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Size string `json:"size"`
}

// Kustomize holds patches.
type Kustomize struct {
	// patches in strategic merge or JSON6902 form, applied in order after everything else.
	// +kubebuilder:validation:MaxItems=256
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec
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
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Name string `json:"name,omitempty"`

	// interval between two looks at the source. Defaults to 1m.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +kubebuilder:default:="1m"
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Interval *metav1.Duration `json:"interval,omitempty"`

	// kind of the source.
	// +kubebuilder:validation:Enum=OCIRepository;GitRepository;Bucket
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:select:OCIRepository","urn:alm:descriptor:com.tectonic.ui:select:GitRepository","urn:alm:descriptor:com.tectonic.ui:select:Bucket"}
	Kind string `json:"kind"`

	// url of the repository, or the endpoint of the bucket.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	URL string `json:"url"`

	// ref is a Git reference (refs/heads/main), an OCI tag, or the name of the bucket.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Ref string `json:"ref"`

	// path in the source to deploy.
	// +kubebuilder:validation:MaxLength=4096
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Path string `json:"path"`

	// pullSecret is the name of a Secret in the same namespace with the credentials for the source.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:io.kubernetes:Secret"}
	PullSecret string `json:"pullSecret,omitempty"`

	// provider of the credentials for the source.
	// +kubebuilder:validation:Enum=generic;aws;azure;gcp;github
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:select:generic","urn:alm:descriptor:com.tectonic.ui:select:aws","urn:alm:descriptor:com.tectonic.ui:select:azure","urn:alm:descriptor:com.tectonic.ui:select:gcp","urn:alm:descriptor:com.tectonic.ui:select:github"}
	Provider string `json:"provider,omitempty"`
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
// +operator-sdk:csv:customresourcedefinitions:displayName="Flux Instance",order=1,resources={{Deployment,v1,source-controller},{Deployment,v1,kustomize-controller},{Service,v1,source-controller},{ServiceAccount,v1,source-controller},{NetworkPolicy,v1,allow-egress},{CustomResourceDefinition,v1,gitrepositories.source.toolkit.fluxcd.io},{ClusterRoleBinding,v1,cluster-reconciler-flux-system},{GitRepository,v1,flux-system},{Kustomization,v1,flux-system}}
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
