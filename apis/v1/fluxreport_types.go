package v1

import (
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// FluxReportKind is the kind of a FluxReport.
const FluxReportKind = "FluxReport"

// ReasonIncomplete is the Ready reason of a FluxReport of which a part could not be computed.
const ReasonIncomplete = "Incomplete"

// FluxReportSpec is the observed state of Flux, written by the operator.
type FluxReportSpec struct {
	// distribution describes the installed Flux.
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=spec
	Distribution FluxDistributionStatus `json:"distribution"`

	// cluster describes the cluster.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec
	Cluster *ClusterInfo `json:"cluster,omitempty"`

	// operator describes the operator.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec
	Operator *OperatorInfo `json:"operator,omitempty"`

	// components are the Flux controllers, sorted by name.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec
	ComponentsStatus []FluxComponentStatus `json:"components,omitempty"`

	// reconcilers are the Flux kinds with the number of their objects, sorted by apiVersion and kind.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec
	ReconcilersStatus []FluxReconcilerStatus `json:"reconcilers,omitempty"`

	// sync describes the sync of the FluxInstance.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec
	SyncStatus *FluxSyncStatus `json:"sync,omitempty"`

	// upgrade compares the release that runs with those that could.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec
	Upgrade *FluxUpgradeStatus `json:"upgrade,omitempty"`

	// artifact is the distribution artifact that Flux was installed from, and who signed it; absent for the built-in distribution.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec
	Artifact *ArtifactStatus `json:"artifact,omitempty"`

	// failing are the objects that fail, the longest first; ten at most are listed.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec
	Failing []FluxFailingObject `json:"failing,omitempty"`

	// sharding is the load of each shard; absent where there are none.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec
	Sharding *FluxShardingStatus `json:"sharding,omitempty"`

	// outdatedVersions are the API versions that are deprecated or not served any more, and that objects are still written in.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec
	OutdatedVersions []FluxOutdatedVersion `json:"outdatedVersions,omitempty"`

	// stale are the parts of this report that could not be computed: they tell what was true before.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec
	Stale []FluxReportPart `json:"stale,omitempty"`
}

// FluxUpgradeStatus compares releases of Flux.
type FluxUpgradeStatus struct {
	// running is the release that runs; empty until one was installed.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Running string `json:"running,omitempty"`
	// elected is the release that the FluxInstance chooses.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Elected string `json:"elected,omitempty"`
	// available is the newest release of the distribution.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Available string `json:"available,omitempty"`
	// message says why these differ; empty where they do not.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Message string `json:"message,omitempty"`
}

// FluxObjectReference names an object of Flux.
type FluxObjectReference struct {
	// kind of the object.
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Kind string `json:"kind"`
	// namespace of the object.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Namespace string `json:"namespace,omitempty"`
	// name of the object.
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Name string `json:"name"`
}

// FluxFailingObject is an object that fails, and why.
type FluxFailingObject struct {
	FluxObjectReference `json:",inline"`

	// reason of its Ready condition.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Reason string `json:"reason,omitempty"`
	// message of its Ready condition, shortened.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Message string `json:"message,omitempty"`
	// since is when it began to fail.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec
	Since *metav1.Time `json:"since,omitempty"`
}

// FluxShardingStatus is how the objects are spread over the shards.
type FluxShardingStatus struct {
	// key of the label that assigns an object to a shard.
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Key string `json:"key"`
	// shards are sorted by name, the main controllers first.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec
	Shards []FluxShardStatus `json:"shards,omitempty"`
	// orphans is the number of objects that are assigned to a shard that does not exist: nobody reconciles them.
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:number"}
	Orphans int `json:"orphans"`
	// orphaned are those objects; ten at most are listed.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec
	Orphaned []FluxObjectReference `json:"orphaned,omitempty"`
}

// FluxShardStatus is the load of a shard.
type FluxShardStatus struct {
	// name of the shard; empty for the main controllers, which reconcile the objects without the label.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Name string `json:"name,omitempty"`
	// objects is the number of objects.
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:number"}
	Objects int `json:"objects"`
	// failing is the number of them that are not ready and not suspended.
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:number"}
	Failing int `json:"failing"`
}

// FluxOutdatedVersion is an API version that nobody should use.
type FluxOutdatedVersion struct {
	// apiVersion that is used.
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=spec,displayName="API Version",xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	APIVersion string `json:"apiVersion"`
	// kind of the objects.
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Kind string `json:"kind"`
	// objects is the number of objects with fields that were last set in this version.
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:number"}
	Objects int `json:"objects"`
	// managers are the field managers that set them; ten at most are listed.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec
	Managers []string `json:"managers,omitempty"`
}

// FluxReportPart is a part of a report that could not be computed.
type FluxReportPart struct {
	// part is the field of the report; for a kind, the field and the kind.
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Part string `json:"part"`
	// message says why.
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Message string `json:"message"`
	// since is when the part began to be old.
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=spec
	Since metav1.Time `json:"since"`
}

// FluxDistributionStatus describes the installed Flux.
type FluxDistributionStatus struct {
	// entitlement is "Unknown", or "Issued by" and the vendor.
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Entitlement string `json:"entitlement"`
	// status is Installed, Not Installed or Unknown.
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Status string `json:"status"`
	// version of Flux.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Version string `json:"version,omitempty"`
	// managedBy names the tool that installed Flux.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	ManagedBy string `json:"managedBy,omitempty"`
}

// ClusterInfo describes the cluster.
type ClusterInfo struct {
	// serverVersion of Kubernetes.
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	ServerVersion string `json:"serverVersion"`
	// platform of the API server, os/arch.
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Platform string `json:"platform"`
	// nodes is the number of nodes.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:number"}
	Nodes int `json:"nodes,omitempty"`
	// type of the cluster as the operator found it, openshift or kubernetes: what spec.cluster.type of a FluxInstance is where it is left out.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Type string `json:"type,omitempty"`
}

// OperatorInfo describes the operator.
type OperatorInfo struct {
	// apiVersion the operator serves.
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=spec,displayName="API Version",xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	APIVersion string `json:"apiVersion"`
	// version of the operator.
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Version string `json:"version"`
	// platform of the operator, os/arch.
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Platform string `json:"platform"`
}

// FluxComponentStatus describes a controller.
type FluxComponentStatus struct {
	// name of the Deployment.
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Name string `json:"name"`
	// ready tells whether the Deployment is available.
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:booleanSwitch"}
	Ready bool `json:"ready"`
	// status of the Deployment in words.
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Status string `json:"status"`
	// image of the controller.
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Image string `json:"image"`
	// cause is what keeps its pods from running, where that is known.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Cause string `json:"cause,omitempty"`
}

// FluxReconcilerStatus counts the objects of a kind.
type FluxReconcilerStatus struct {
	// apiVersion of the kind.
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=spec,displayName="API Version",xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	APIVersion string `json:"apiVersion"`
	// kind of the objects.
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Kind string `json:"kind"`
	// stats are the numbers.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec
	Stats FluxReconcilerStats `json:"stats,omitempty"`
}

// FluxReconcilerStats are the numbers of a kind.
type FluxReconcilerStats struct {
	// running is the number of objects that are not suspended.
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:number"}
	Running int `json:"running"`
	// failing is the number of running objects that are not ready.
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:number"}
	Failing int `json:"failing"`
	// suspended is the number of suspended objects.
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:number"}
	Suspended int `json:"suspended"`
	// totalSize of the stored artifacts, with its unit; empty where there are none.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	TotalSize string `json:"totalSize,omitempty"`
}

// FluxSyncStatus describes the sync of the FluxInstance.
type FluxSyncStatus struct {
	// id is kustomization/ and its name.
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	ID string `json:"id"`
	// path in the source.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Path string `json:"path,omitempty"`
	// ready tells whether source and Kustomization are ready.
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:booleanSwitch"}
	Ready bool `json:"ready"`
	// status in words.
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Status string `json:"status"`
	// source is the address of the source.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Source string `json:"source,omitempty"`
}

// FluxReportStatus says how the report itself goes.
type FluxReportStatus struct {
	meta.ReconcileRequestStatus `json:",inline"`

	// conditions hold Ready.
	// +listType=map
	// +listMapKey=type
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=status,xDescriptors={"urn:alm:descriptor:io.kubernetes.conditions"}
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// FluxReport is the observed state of Flux in a cluster.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:categories={fluxcd}
// +kubebuilder:printcolumn:name="Entitlement",type="string",JSONPath=".spec.distribution.entitlement",description="",priority=10
// +kubebuilder:printcolumn:name="Age",type="date",JSONPath=".metadata.creationTimestamp",description=""
// +kubebuilder:printcolumn:name="Ready",type="string",JSONPath=".status.conditions[?(@.type==\"Ready\")].status",description=""
// +kubebuilder:printcolumn:name="Status",type="string",JSONPath=".status.conditions[?(@.type==\"Ready\")].message",description=""
// +kubebuilder:printcolumn:name="LastUpdated",type="string",JSONPath=".status.conditions[?(@.type==\"Ready\")].lastTransitionTime",description=""
// +kubebuilder:validation:XValidation:rule="self.metadata.name == 'flux'",message="a FluxReport has the name 'flux': rename it"
// +operator-sdk:csv:customresourcedefinitions:displayName="Flux Report",order=2,resources={{Deployment,v1,source-controller},{Kustomization,v1,flux-system}}
type FluxReport struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is the observed state.
	Spec FluxReportSpec `json:"spec,omitempty"`
	// status is the state of the report.
	Status FluxReportStatus `json:"status,omitempty"`
}

// FluxReportList is a list of FluxReports.
//
// +kubebuilder:object:root=true
type FluxReportList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []FluxReport `json:"items"`
}

// GetConditions returns the conditions of the status.
func (in *FluxReport) GetConditions() []metav1.Condition { return in.Status.Conditions }

// SetConditions replaces the conditions of the status.
func (in *FluxReport) SetConditions(conditions []metav1.Condition) { in.Status.Conditions = conditions }

// IsDisabled tells whether reporting is switched off by annotation.
func (in *FluxReport) IsDisabled() bool { return IsDisabled(in.Annotations) }

// IntervalOr is the time between two reports: the annotation's, or the operator's setting.
func (in *FluxReport) IntervalOr(fallback time.Duration) time.Duration {
	return durationOr(in.Annotations, ReconcileEveryAnnotation, fallback)
}
