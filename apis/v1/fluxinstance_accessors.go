package v1

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// GetConditions returns the conditions of the status.
func (in *FluxInstance) GetConditions() []metav1.Condition { return in.Status.Conditions }

// SetConditions replaces the conditions of the status.
func (in *FluxInstance) SetConditions(conditions []metav1.Condition) {
	in.Status.Conditions = conditions
}

// IsDisabled tells whether reconciliation is switched off by annotation.
func (in *FluxInstance) IsDisabled() bool { return IsDisabled(in.Annotations) }

// Interval is the time between two passes.
func (in *FluxInstance) Interval() time.Duration {
	return durationOr(in.Annotations, ReconcileEveryAnnotation, DefaultReconcileEvery)
}

// ArtifactInterval is the time between two looks at the distribution artifact.
func (in *FluxInstance) ArtifactInterval() time.Duration {
	return durationOr(in.Annotations, ReconcileArtifactEveryAnnotation, DefaultReconcileArtifactEvery)
}

// ArtifactTimeout bounds fetching and verifying the distribution artifact.
func (in *FluxInstance) ArtifactTimeout() time.Duration {
	if source := in.Spec.Distribution.ArtifactSource; source != nil && source.Timeout != nil {
		return source.Timeout.Duration
	}
	return DefaultArtifactTimeout
}

// Timeout bounds the health check.
func (in *FluxInstance) Timeout() time.Duration {
	return durationOr(in.Annotations, ReconcileTimeoutAnnotation, DefaultReconcileTimeout)
}

// Components returns the wanted controllers, the default four when the spec names none.
func (in *FluxInstance) Components() []Component {
	if len(in.Spec.Components) > 0 {
		return in.Spec.Components
	}
	return []Component{SourceController, KustomizeController, HelmController, NotificationController}
}

// Cluster returns the cluster settings with their defaults filled in, also where the spec has none.
func (in *FluxInstance) Cluster() Cluster {
	cluster := Cluster{NetworkPolicy: true}
	if in.Spec.Cluster != nil {
		cluster = *in.Spec.Cluster
	}
	if cluster.Domain == "" {
		cluster.Domain = "cluster.local"
	}
	if cluster.Type == "" {
		cluster.Type = "kubernetes"
	}
	return cluster
}

// Wait tells whether readiness is waited for.
func (in *FluxInstance) Wait() bool { return in.Spec.Wait == nil || *in.Spec.Wait }

// SyncName is the name of the sync source and Kustomization.
func (in *FluxInstance) SyncName() string {
	if in.Spec.Sync != nil && in.Spec.Sync.Name != "" {
		return in.Spec.Sync.Name
	}
	return in.Namespace
}

// MigratesResources tells whether stored objects are moved to the storage version of their kinds.
func (in *FluxInstance) MigratesResources() bool {
	return in.Spec.MigrateResources == nil || *in.Spec.MigrateResources
}

// GetLastHandledReconcileRequest returns the last request for a pass that was answered.
func (in *FluxInstance) GetLastHandledReconcileRequest() string {
	return in.Status.LastHandledReconcileAt
}

// GetLastHandledForceRequestStatus returns where the last request for a forced pass is noted.
func (in *FluxInstance) GetLastHandledForceRequestStatus() *string {
	return &in.Status.LastHandledForceAt
}
