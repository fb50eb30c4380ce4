package v1

import (
	"strings"
	"time"
)

const (
	// DefaultInstanceName is the only name a FluxInstance and a FluxReport may have.
	DefaultInstanceName = "flux"

	// DefaultNamespace is where Flux lives unless the operator is installed elsewhere.
	DefaultNamespace = "flux-system"

	// FieldManager is the server-side apply field manager of everything the operator writes.
	FieldManager = "flux-operator"

	// Finalizer keeps a FluxInstance until what it installed is gone.
	Finalizer = Group + "/finalizer"
)

// Labels that mark an object as owned by a FluxInstance.
const (
	// OwnerNameLabel holds the name of the owning FluxInstance.
	OwnerNameLabel = Group + "/name"
	// OwnerNamespaceLabel holds the namespace of the owning FluxInstance.
	OwnerNamespaceLabel = Group + "/namespace"
)

// Annotations that steer the operator.
const (
	// ReconcileAnnotation switches reconciliation of an object: enabled (default) or disabled.
	ReconcileAnnotation = Group + "/reconcile"
	// ReconcileEveryAnnotation is the interval between two passes, a Go duration. FluxInstance: 60m.
	ReconcileEveryAnnotation = Group + "/reconcileEvery"
	// ReconcileArtifactEveryAnnotation is the interval between two looks at the distribution artifact, a Go duration, 10m by default.
	ReconcileArtifactEveryAnnotation = Group + "/reconcileArtifactEvery"
	// ReconcileTimeoutAnnotation bounds the health check, a Go duration, 5m by default.
	ReconcileTimeoutAnnotation = Group + "/reconcileTimeout"
	// UninstallTimeoutAnnotation is the time from its deletion after which a FluxInstance is let go even if an uninstall could not finish, a Go
	// duration. An event then names what is left. Without it, the finalizer stays until everything is done.
	UninstallTimeoutAnnotation = Group + "/uninstallTimeout"
	// PruneAnnotation set to disabled on a managed object keeps it from garbage collection and uninstall.
	PruneAnnotation = Group + "/prune"
	// RevisionAnnotation carries the applied revision on events.
	RevisionAnnotation = Group + "/revision"
	// ForceAnnotation set to enabled on a managed object lets the operator recreate it on an immutable field.
	ForceAnnotation = Group + "/force"
	// IgnoreFieldsAnnotation names fields of a managed object that others set: JSON pointers such as /spec/replicas, separated by commas.
	// They are set when the object is created, and never put back.
	IgnoreFieldsAnnotation = Group + "/ignoreFields"
	// ProfileAnnotation names the size profile on managed Deployments.
	ProfileAnnotation = Group + "/profile"
	// TrustedCAAnnotation on the pods of a controller is the digest of the certificates they were started with, besides those of their image.
	TrustedCAAnnotation = Group + "/trustedCA"
)

// Values of the annotations above, compared without regard to case.
const (
	// EnabledValue switches a behaviour on.
	EnabledValue = "enabled"
	// DisabledValue switches a behaviour off.
	DisabledValue = "disabled"
)

// Defaults of the durations above.
const (
	// DefaultReconcileEvery is the interval between two passes over a FluxInstance.
	DefaultReconcileEvery = 60 * time.Minute
	// DefaultReconcileArtifactEvery is the interval between two looks at the distribution artifact.
	DefaultReconcileArtifactEvery = 10 * time.Minute
	// DefaultArtifactTimeout bounds fetching and verifying the distribution artifact.
	DefaultArtifactTimeout = 60 * time.Second
	// DefaultReconcileTimeout bounds the health check of a FluxInstance.
	DefaultReconcileTimeout = 5 * time.Minute
)

// DefaultKeptSnapshots is how many snapshots are kept.
const DefaultKeptSnapshots = 3

// IsDisabled tells whether the annotations switch reconciliation off.
func IsDisabled(annotations map[string]string) bool {
	return strings.EqualFold(annotations[ReconcileAnnotation], DisabledValue)
}

// durationOr reads a positive Go duration from an annotation; anything else gives the fallback, as the API contract says.
func durationOr(annotations map[string]string, key string, fallback time.Duration) time.Duration {
	d, err := time.ParseDuration(annotations[key])
	if err != nil || d <= 0 {
		return fallback
	}
	return d
}
