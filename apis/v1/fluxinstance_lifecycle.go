package v1

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// DeletionPolicy says what the end of a FluxInstance means for Flux.
//
// +kubebuilder:validation:Enum=Delete;DeleteControllers;Orphan
type DeletionPolicy string

// The deletion policies. What Flux deployed keeps running under all of them.
const (
	// DeleteAll removes the controllers, the definitions, and with them all Flux custom resources of the cluster. It is the default.
	DeleteAll DeletionPolicy = "Delete"
	// DeleteControllers removes the controllers and what they need, and keeps the definitions and all Flux custom resources as they are.
	DeleteControllers DeletionPolicy = "DeleteControllers"
	// Orphan removes nothing: Flux keeps running, without the operator.
	Orphan DeletionPolicy = "Orphan"
)

// CollisionRule says which objects that are there already may be taken over.
//
// +kubebuilder:validation:Enum=Own;Unowned;Any
type CollisionRule string

// The collision rules, from the strictest to the default.
const (
	// CollideOwn takes only what carries the labels of this instance.
	CollideOwn CollisionRule = "Own"
	// CollideUnowned also takes what no tool claims: no Helm release, no Flux Kustomization, no other instance, no owner reference to a controller.
	CollideUnowned CollisionRule = "Unowned"
	// CollideAny takes whatever has the name of a wanted object.
	CollideAny CollisionRule = "Any"
)

// Adoption says how objects are taken over that were in the cluster before the instance.
type Adoption struct {
	// collisions says which of them may be taken: Own (only what carries the labels of this instance), Unowned (also what no tool claims) or
	// Any (whatever has the name of a wanted object). An object that may not be taken fails the pass before anything is changed. Defaults to Any.
	// +kubebuilder:default:=Any
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:select:Own","urn:alm:descriptor:com.tectonic.ui:select:Unowned","urn:alm:descriptor:com.tectonic.ui:select:Any"}
	Collisions CollisionRule `json:"collisions,omitempty"`

	// dryRun reports in status.adoption what would be taken over and what would be lost, and changes nothing. Defaults to false.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:booleanSwitch"}
	DryRun bool `json:"dryRun,omitempty"`
}

// Snapshots are saved copies of the instance and all Flux custom resources, without the contents of Secrets.
type Snapshots struct {
	// keep is how many are kept, the newest; 0 switches them off. Defaults to 3.
	// +kubebuilder:default:=3
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:number"}
	Keep *int32 `json:"keep,omitempty"`
}

// AdoptionStatus is what was there before the instance, and what becomes of it.
type AdoptionStatus struct {
	// observedAt is when the cluster was looked at.
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=status
	ObservedAt metav1.Time `json:"observedAt"`
	// taken tells whether the objects were taken over since.
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=status,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:booleanSwitch"}
	Taken bool `json:"taken"`
	// inProgress tells whether the objects are being taken over.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=status,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:booleanSwitch"}
	InProgress bool `json:"inProgress,omitempty"`
	// version is the release of Flux that was found, empty where the objects do not tell.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=status,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Version string `json:"version,omitempty"`
	// objects is how many of the wanted objects were there already.
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=status,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:number"}
	Objects int32 `json:"objects"`
	// tools are those that managed the objects before.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=status
	Tools []AdoptedTool `json:"tools,omitempty"`
	// refused are the objects that the collision rule does not let the instance take; thirty at most are listed.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=status
	Refused []string `json:"refused,omitempty"`
	// losses are the settings of others that the instance does not have and that go when it takes over; thirty objects at most are listed.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=status
	Losses []AdoptionLoss `json:"losses,omitempty"`
	// storedVersions are the definitions whose objects may be stored in other versions than the storage version of the wanted release.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=status
	StoredVersions []StoredVersions `json:"storedVersions,omitempty"`
}

// AdoptedTool is a tool that managed objects before the instance.
type AdoptedTool struct {
	// name of the tool, and where it has one the name of what manages the objects: a Helm release, a Kustomization.
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=status,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Name string `json:"name"`
	// objects is how many it managed.
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=status,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:number"}
	Objects int32 `json:"objects"`
	// advice says how to make the tool let go for good; empty where nothing is left to do.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=status,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Advice string `json:"advice,omitempty"`
}

// AdoptionLoss is what others set on an object and the instance does not.
type AdoptionLoss struct {
	// object is kind/namespace/name, or kind/name.
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=status,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Object string `json:"object"`
	// manager is the field manager that set the fields.
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=status,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Manager string `json:"manager"`
	// fields are paths such as .spec.template.spec.priorityClassName; twenty at most are listed.
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=status
	Fields []string `json:"fields"`
}

// StoredVersions says in which API versions the objects of a definition may be stored.
type StoredVersions struct {
	// definition is the name of the CustomResourceDefinition.
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=status,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Definition string `json:"definition"`
	// versions are those of its status.storedVersions.
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=status
	Versions []string `json:"versions"`
}

// DeletionPolicy says what the end of the instance means for Flux, DeleteAll unless the spec says otherwise.
func (in *FluxInstance) DeletionPolicy() DeletionPolicy {
	if in.Spec.DeletionPolicy == "" {
		return DeleteAll
	}
	return in.Spec.DeletionPolicy
}

// Collisions says which objects that are there already may be taken over, CollideAny unless the spec says otherwise.
func (in *FluxInstance) Collisions() CollisionRule {
	if in.Spec.Adoption == nil || in.Spec.Adoption.Collisions == "" {
		return CollideAny
	}
	return in.Spec.Adoption.Collisions
}

// OnlyReportsAdoption tells whether nothing is taken over yet.
func (in *FluxInstance) OnlyReportsAdoption() bool {
	return in.Spec.Adoption != nil && in.Spec.Adoption.DryRun
}

// KeptSnapshots is how many snapshots are kept, 3 unless the spec says otherwise; 0 means that none are made.
func (in *FluxInstance) KeptSnapshots() int {
	if in.Spec.Snapshots == nil || in.Spec.Snapshots.Keep == nil {
		return DefaultKeptSnapshots
	}
	return int(*in.Spec.Snapshots.Keep)
}

// UninstallTimeout is the time from its deletion after which the instance is let go even if something is left; 0 means never.
func (in *FluxInstance) UninstallTimeout() time.Duration {
	return durationOr(in.Annotations, UninstallTimeoutAnnotation, 0)
}
