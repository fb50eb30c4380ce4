package v1

// ArtifactFailedCondition is True while the distribution artifact cannot be had and Flux runs from the last good one, or from the built-in
// distribution. It is absent otherwise, and says nothing about Ready.
const ArtifactFailedCondition = "ArtifactFailed"

// ContestedCondition is True while somebody else keeps changing what the operator sets, and the operator has stopped putting it back for a while.
// The message names the field manager, the object and the fields. It is absent otherwise, and says nothing about Ready.
const ContestedCondition = "Contested"

// Reasons of the Ready, Reconciling and Stalled conditions, and of events.
const (
	// ReasonProgressing surfaces while a pass is under way.
	ReasonProgressing = "Progressing"
	// ReasonProgressingWithRetry surfaces on Reconciling when the last pass failed and another will follow.
	ReasonProgressingWithRetry = "ProgressingWithRetry"
	// ReasonReconciliationSucceeded surfaces when the cluster matches the spec and everything is healthy.
	ReasonReconciliationSucceeded = "ReconciliationSucceeded"
	// ReasonReconciliationFailed surfaces when the API server refused an object or could not be asked.
	ReasonReconciliationFailed = "ReconciliationFailed"
	// ReasonReconciliationDisabled surfaces when the reconcile annotation is disabled.
	ReasonReconciliationDisabled = "ReconciliationDisabled"
	// ReasonArtifactFailed surfaces when the distribution cannot be had.
	ReasonArtifactFailed = "ArtifactFailed"
	// ReasonVerificationFailed surfaces on ArtifactFailed when the distribution artifact has no trusted signature.
	ReasonVerificationFailed = "VerificationFailed"
	// ReasonVerificationUnavailable surfaces on ArtifactFailed when nobody can tell whether the distribution artifact has a trusted signature, since the
	// authorities to check it against cannot be fetched; it is tried again.
	ReasonVerificationUnavailable = "VerificationUnavailable"
	// ReasonBuildFailed surfaces when no release matches, or the release cannot be rendered with this spec; the running version stays.
	ReasonBuildFailed = "BuildFailed"
	// ReasonPreflightFailed surfaces when a rule forbids applying the rendered release to this cluster; the running version stays.
	ReasonPreflightFailed = "PreflightFailed"
	// ReasonMigrationFailed surfaces when stored objects could not be moved to an API version that the wanted release serves.
	ReasonMigrationFailed = "MigrationFailed"
	// ReasonHealthCheckFailed surfaces when an applied object did not become ready in time.
	ReasonHealthCheckFailed = "HealthCheckFailed"
	// ReasonHealthCheckCanceled surfaces when a newer change interrupted waiting for readiness.
	ReasonHealthCheckCanceled = "HealthCheckCanceled"
	// ReasonPruneFailed surfaces when an object that is no longer wanted could not be deleted; it stays in the inventory.
	ReasonPruneFailed = "PruneFailed"
	// ReasonUninstallFailed surfaces when a step of an uninstall failed; the finalizer stays and the step is tried again.
	ReasonUninstallFailed = "UninstallFailed"
	// ReasonUninstalling surfaces while an uninstall is under way.
	ReasonUninstalling = "Uninstalling"
	// ReasonNotWatched surfaces on a FluxInstance outside the operator's namespace, which is never acted upon.
	ReasonNotWatched = "NotWatched"
	// ReasonOutdatedVersion is the reason of the event that tells of a newer release outside the chosen range.
	ReasonOutdatedVersion = "OutdatedVersion"
	// ReasonDriftCorrected is the reason of the event that tells of managed objects put back after somebody changed them.
	ReasonDriftCorrected = "DriftCorrected"
	// ReasonDependencyNotReady surfaces while something the object depends on is not ready.
	ReasonDependencyNotReady = "DependencyNotReady"
	// ReasonSucceeded is the Ready reason of a FluxReport that is complete.
	ReasonSucceeded = "Succeeded"
	// ReasonFieldsContested is the reason of the Contested condition, and of the event that tells of it.
	ReasonFieldsContested = "FieldsContested"
	// ReasonAdoptionPending surfaces while spec.adoption.dryRun keeps the instance from taking over what status.adoption describes.
	ReasonAdoptionPending = "AdoptionPending"
	// ReasonAdopted is the reason of the event that tells what was taken over from whom.
	ReasonAdopted = "Adopted"
	// ReasonSnapshotFailed surfaces when the snapshot before an upgrade to another minor could not be saved; the running version stays.
	ReasonSnapshotFailed = "SnapshotFailed"
	// ReasonUninstalled is the reason of the event that ends an uninstall.
	ReasonUninstalled = "Uninstalled"
)
