package distribution

// Variant names one of the image sets that are published for a Flux release.
type Variant string

// The published image sets.
const (
	// UpstreamAlpine is built and published by the Flux project.
	UpstreamAlpine Variant = "upstream-alpine"
	// EnterpriseAlpine is the vendor's build on Alpine Linux.
	EnterpriseAlpine Variant = "enterprise-alpine"
	// EnterpriseDistroless is the vendor's build without a distribution around the binary.
	EnterpriseDistroless Variant = "enterprise-distroless"
	// EnterpriseDistrolessFIPS is EnterpriseDistroless with a FIPS 140 validated cryptographic module; not every release has it.
	EnterpriseDistrolessFIPS Variant = "enterprise-distroless-fips"
)

// Variants returns all variants, upstream first.
func Variants() []Variant {
	return []Variant{UpstreamAlpine, EnterpriseAlpine, EnterpriseDistroless, EnterpriseDistrolessFIPS}
}

// Registry returns the host and path under which the variant's images are named, or nothing for an unknown variant.
func (v Variant) Registry() string {
	switch v {
	case UpstreamAlpine:
		return "ghcr.io/fluxcd"
	case EnterpriseAlpine:
		return "ghcr.io/controlplaneio-fluxcd/alpine"
	case EnterpriseDistroless:
		return "ghcr.io/controlplaneio-fluxcd/distroless"
	case EnterpriseDistrolessFIPS:
		return "ghcr.io/controlplaneio-fluxcd/distroless-fips"
	}
	return ""
}

// optional tells whether a release may lack the variant.
func (v Variant) optional() bool {
	return v == EnterpriseDistrolessFIPS
}
