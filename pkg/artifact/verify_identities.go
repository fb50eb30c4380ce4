package artifact

import (
	"context"
	"errors"
	"fmt"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
)

// byIdentities trusts keyless signatures of any of the identities.
func byIdentities(o VerifyOptions, public mirror) (*Cosign, error) {
	policy, err := identityPolicy(o.Identities)
	if err != nil {
		return nil, err
	}
	authorities := public.source(o.RootCache, o.Proxy)
	if len(o.TrustedRoot) > 0 {
		if authorities, err = givenRoot(o.TrustedRoot); err != nil {
			return nil, err
		}
	}
	describe := func(i Identity) string {
		return fmt.Sprintf("a subject matching %s of an issuer matching %s", shorten(i.Subject), shorten(i.Issuer))
	}
	return &Cosign{
		keyless: true,
		expects: "what is signed by " + list(o.Identities, describe),
		trusted: func(ctx context.Context) ([]trust, error) {
			material, err := authorities(ctx)
			if err != nil {
				return nil, err
			}
			verifier, err := certificateVerifier(material)
			if err != nil {
				return nil, err
			}
			return []trust{{verifier: verifier, policy: policy}}, nil
		},
	}, nil
}

func identityPolicy(identities []Identity) (verify.PolicyOption, error) {
	var options []verify.PolicyOption
	for i, identity := range identities {
		issuer, err := verify.NewIssuerMatcher("", identity.Issuer)
		if err != nil || identity.Issuer == "" {
			return nil, fmt.Errorf("reading matchOIDCIdentity[%d].issuer %q: give a Go regular expression: %w", i, identity.Issuer, errOrEmpty(err))
		}
		subject, err := verify.NewSANMatcher("", identity.Subject)
		if err != nil || identity.Subject == "" {
			return nil, fmt.Errorf("reading matchOIDCIdentity[%d].subject %q: give a Go regular expression: %w", i, identity.Subject, errOrEmpty(err))
		}
		options = append(options, verify.WithCertificateIdentity(verify.CertificateIdentity{SubjectAlternativeName: subject, Issuer: issuer}))
	}
	return func(policy *verify.PolicyConfig) error {
		for _, option := range options {
			if err := option(policy); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

func errOrEmpty(err error) error {
	if err == nil {
		return errors.New("it is empty")
	}
	return err
}

// certificateVerifier asks of a signature every proof that the authorities can give: that its certificate was made public, that it was itself made
// public, and that this was while the certificate was valid.
func certificateVerifier(material root.TrustedMaterial) (*verify.Verifier, error) {
	proofs := []verify.VerifierOption{verify.WithObserverTimestamps(1)}
	if len(material.RekorLogs()) > 0 {
		proofs = append(proofs, verify.WithTransparencyLog(1))
	}
	if len(material.CTLogs()) > 0 {
		proofs = append(proofs, verify.WithSignedCertificateTimestamps(1))
	}
	return verify.NewVerifier(material, proofs...)
}
