package v1

import (
	"github.com/fluxcd/pkg/apis/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Distribution says which release of Flux is wanted and where its images come from.
//
// +kubebuilder:validation:XValidation:rule="!has(self.artifactSource) || has(self.artifact)",message="artifactSource says how artifact is fetched: set artifact as well, or remove artifactSource"
type Distribution struct {
	// version is an exact release such as 2.9.4, or a range such as 2.x or 2.9.x.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Version string `json:"version"`

	// registry is the address the controller images are pulled from, for example ghcr.io/fluxcd.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Registry string `json:"registry"`

	// variant of the images; guessed from the registry when empty.
	// +kubebuilder:validation:Enum=upstream-alpine;enterprise-alpine;enterprise-distroless;enterprise-distroless-fips
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:select:upstream-alpine","urn:alm:descriptor:com.tectonic.ui:select:enterprise-alpine","urn:alm:descriptor:com.tectonic.ui:select:enterprise-distroless","urn:alm:descriptor:com.tectonic.ui:select:enterprise-distroless-fips"}
	Variant string `json:"variant,omitempty"`

	// imagePullSecret is the name of a Secret in the same namespace, used by the controllers' pods.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:io.kubernetes:Secret"}
	ImagePullSecret string `json:"imagePullSecret,omitempty"`

	// artifact is the OCI address (oci://...) of a distribution to use instead of the one built into the operator.
	// +kubebuilder:validation:Pattern="^oci://.*$"
	// +kubebuilder:validation:MaxLength=1024
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Artifact string `json:"artifact,omitempty"`

	// artifactPullSecret is the name of a Secret of type kubernetes.io/dockerconfigjson in the same namespace, used for the artifact alone.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:io.kubernetes:Secret"}
	ArtifactPullSecret string `json:"artifactPullSecret,omitempty"`

	// artifactSource says how the artifact is fetched and verified; its fields are those of Flux's OCIRepository.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec
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
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:select:generic","urn:alm:descriptor:com.tectonic.ui:select:aws","urn:alm:descriptor:com.tectonic.ui:select:azure","urn:alm:descriptor:com.tectonic.ui:select:gcp"}
	Provider string `json:"provider,omitempty"`

	// serviceAccountName is the name of a ServiceAccount in the same namespace: with provider generic its image pull secrets are used,
	// with a cloud provider its identity instead of the operator's.
	// +kubebuilder:validation:MaxLength=253
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:io.kubernetes:ServiceAccount"}
	ServiceAccountName string `json:"serviceAccountName,omitempty"`

	// certSecretRef names a Secret in the same namespace with ca.crt, the authority that the registry's certificate is checked against
	// besides those of the system, or tls.crt and tls.key, the client's certificate, or all three.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec
	CertSecretRef *meta.LocalObjectReference `json:"certSecretRef,omitempty"`

	// proxySecretRef names a Secret in the same namespace with address, the proxy to reach the registry through, and optionally username and password.
	// Without it the proxy of the operator's environment is used.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec
	ProxySecretRef *meta.LocalObjectReference `json:"proxySecretRef,omitempty"`

	// insecure allows plain HTTP.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:booleanSwitch"}
	Insecure bool `json:"insecure,omitempty"`

	// timeout of fetching and verifying. Defaults to 60s.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m))+$"
	// +kubebuilder:default:="60s"
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Timeout *metav1.Duration `json:"timeout,omitempty"`

	// verify the signature of the artifact before anything in it is used.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec
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
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:select:cosign"}
	Provider string `json:"provider,omitempty"`

	// secretRef names a Secret in the same namespace whose keys that end in .pub hold the trusted public keys in PEM form.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec
	SecretRef *meta.LocalObjectReference `json:"secretRef,omitempty"`

	// matchOIDCIdentity are the trusted identities; a keyless signature of any of them is enough.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +listType=atomic
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec,displayName="Match OIDC Identity"
	MatchOIDCIdentity []OIDCIdentityMatch `json:"matchOIDCIdentity,omitempty"` //nolint:tagliatelle // the name it has in Flux

	// trustedRootSecretRef names a Secret in the same namespace whose key trusted_root.json holds the authorities that keyless signatures are
	// checked against. Without it, those of the public Sigstore instance are.
	// +optional
	// +operator-sdk:csv:customresourcedefinitions:type=spec
	TrustedRootSecretRef *meta.LocalObjectReference `json:"trustedRootSecretRef,omitempty"`
}

// OIDCIdentityMatch matches the identity in the certificate of a keyless signature.
type OIDCIdentityMatch struct {
	// issuer is a Go regular expression for the issuer of the identity.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Issuer string `json:"issuer"`

	// subject is a Go regular expression for the identity.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +required
	// +operator-sdk:csv:customresourcedefinitions:type=spec,xDescriptors={"urn:alm:descriptor:com.tectonic.ui:text"}
	Subject string `json:"subject"`
}
