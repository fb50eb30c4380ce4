package v1

import (
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// FluxReportKind is the kind of a FluxReport.
const FluxReportKind = "FluxReport"

// FluxReportSpec is the observed state of Flux, written by the operator.
type FluxReportSpec struct {
	// distribution describes the installed Flux.
	// +required
	Distribution FluxDistributionStatus `json:"distribution"`

	// cluster describes the cluster.
	// +optional
	Cluster *ClusterInfo `json:"cluster,omitempty"`

	// operator describes the operator.
	// +optional
	Operator *OperatorInfo `json:"operator,omitempty"`

	// components are the Flux controllers, sorted by name.
	// +optional
	ComponentsStatus []FluxComponentStatus `json:"components,omitempty"`

	// reconcilers are the Flux kinds with the number of their objects, sorted by apiVersion and kind.
	// +optional
	ReconcilersStatus []FluxReconcilerStatus `json:"reconcilers,omitempty"`

	// sync describes the sync of the FluxInstance.
	// +optional
	SyncStatus *FluxSyncStatus `json:"sync,omitempty"`
}

// FluxDistributionStatus describes the installed Flux.
type FluxDistributionStatus struct {
	// entitlement is "Unknown", or "Issued by" and the vendor.
	// +required
	Entitlement string `json:"entitlement"`
	// status is Installed, Not Installed or Unknown.
	// +required
	Status string `json:"status"`
	// version of Flux.
	// +optional
	Version string `json:"version,omitempty"`
	// managedBy names the tool that installed Flux.
	// +optional
	ManagedBy string `json:"managedBy,omitempty"`
}

// ClusterInfo describes the cluster.
type ClusterInfo struct {
	// serverVersion of Kubernetes.
	// +required
	ServerVersion string `json:"serverVersion"`
	// platform of the API server, os/arch.
	// +required
	Platform string `json:"platform"`
	// nodes is the number of nodes.
	// +optional
	Nodes int `json:"nodes,omitempty"`
}

// OperatorInfo describes the operator.
type OperatorInfo struct {
	// apiVersion the operator serves.
	// +required
	APIVersion string `json:"apiVersion"`
	// version of the operator.
	// +required
	Version string `json:"version"`
	// platform of the operator, os/arch.
	// +required
	Platform string `json:"platform"`
}

// FluxComponentStatus describes a controller.
type FluxComponentStatus struct {
	// name of the Deployment.
	// +required
	Name string `json:"name"`
	// ready tells whether the Deployment is available.
	// +required
	Ready bool `json:"ready"`
	// status of the Deployment in words.
	// +required
	Status string `json:"status"`
	// image of the controller.
	// +required
	Image string `json:"image"`
}

// FluxReconcilerStatus counts the objects of a kind.
type FluxReconcilerStatus struct {
	// apiVersion of the kind.
	// +required
	APIVersion string `json:"apiVersion"`
	// kind of the objects.
	// +required
	Kind string `json:"kind"`
	// stats are the numbers.
	// +optional
	Stats FluxReconcilerStats `json:"stats,omitempty"`
}

// FluxReconcilerStats are the numbers of a kind.
type FluxReconcilerStats struct {
	// running is the number of objects that are not suspended.
	// +required
	Running int `json:"running"`
	// failing is the number of running objects that are not ready.
	// +required
	Failing int `json:"failing"`
	// suspended is the number of suspended objects.
	// +required
	Suspended int `json:"suspended"`
	// totalSize of the stored artifacts, with its unit; empty where there are none.
	// +optional
	TotalSize string `json:"totalSize,omitempty"`
}

// FluxSyncStatus describes the sync of the FluxInstance.
type FluxSyncStatus struct {
	// id is kustomization/ and its name.
	// +required
	ID string `json:"id"`
	// path in the source.
	// +optional
	Path string `json:"path,omitempty"`
	// ready tells whether source and Kustomization are ready.
	// +required
	Ready bool `json:"ready"`
	// status in words.
	// +required
	Status string `json:"status"`
	// source is the address of the source.
	// +optional
	Source string `json:"source,omitempty"`
}

// FluxReportStatus says how the report itself goes.
type FluxReportStatus struct {
	meta.ReconcileRequestStatus `json:",inline"`

	// conditions hold Ready.
	// +listType=map
	// +listMapKey=type
	// +optional
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
