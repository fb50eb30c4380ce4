package artifact

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/url"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"
	"github.com/sigstore/sigstore-go/pkg/tuf"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"oras.land/oras-go/v2"
)

// VerifyOptions say whose cosign signatures are trusted: those made with any of the keys, or keyless ones of any of the identities.
type VerifyOptions struct {
	// Keys are public keys, PEM, under the names that errors and results call them by. The kinds are ECDSA, RSA and Ed25519.
	Keys map[string][]byte
	// Identities exclude Keys.
	Identities []Identity
	// TrustedRoot is a Sigstore trusted_root.json: the authorities that keyless signatures are checked against, without any request.
	// Empty means those of the public Sigstore instance, which are fetched.
	TrustedRoot []byte
	// RootCache is a folder for the authorities of the public instance, which makes them a matter of one fetch a day; empty means every time.
	RootCache string
	// Proxy to fetch them through, with its user and password; nil means the one of the environment.
	Proxy *url.URL
}

// Identity matches the certificate of a keyless signature. Both patterns are Go regular expressions, and match anywhere unless they
// begin with ^ and end with $, as in Flux's OCIRepository.
type Identity struct {
	// Issuer is the pattern of who vouches for the identity, such as ^https://token\.actions\.githubusercontent\.com$.
	Issuer string
	// Subject is the pattern of who signed, such as an email address or the URL of a workflow.
	Subject string
}

// Cosign verifies signatures made with cosign, in both formats: the tag sha256-<hex>.sig, and Sigstore bundles that refer to the artifact.
type Cosign struct {
	id string
	// keyless says whether signatures are read for their certificates.
	keyless bool
	// expects names what is trusted, for errors.
	expects string
	// trusted returns what is trusted; only one of them has to be satisfied.
	trusted func(context.Context) ([]trust, error)
}

// trust is one way to be trusted: by one key, or by any of the identities.
type trust struct {
	// key is its name; empty for identities.
	key      string
	verifier *verify.Verifier
	policy   verify.PolicyOption
}

// NewVerifier reads keys, patterns and trusted root; no request is made yet. Its errors name the key, the pattern or the file that is wrong.
func NewVerifier(o VerifyOptions) (*Cosign, error) {
	return newVerifier(o, mirror{url: tuf.DefaultMirror, anchor: tuf.DefaultRoot()})
}

func newVerifier(o VerifyOptions, public mirror) (*Cosign, error) {
	if (len(o.Keys) == 0) == (len(o.Identities) == 0) {
		return nil, errors.New("reading whose signatures are trusted: give either public keys or identities")
	}
	verifier := byKeys
	if len(o.Identities) > 0 {
		verifier = byIdentities
	}
	cosign, err := verifier(o, public)
	if err != nil {
		return nil, err
	}
	cosign.id, err = identifier(o)
	return cosign, err
}

// identifier is a digest of everything that decides whether a signature is trusted.
func identifier(o VerifyOptions) (string, error) {
	trusted, err := json.Marshal([]any{o.Keys, o.Identities, o.TrustedRoot})
	if err != nil {
		return "", fmt.Errorf("writing down whose signatures are trusted: %w", err)
	}
	sum := sha256.Sum256(trusted)
	return "cosign-" + hex.EncodeToString(sum[:]), nil
}

// ID is equal for verifiers that trust the same keys, or the same identities and authorities.
func (c *Cosign) ID() string { return c.id }

// Verify looks for a trusted signature of the artifact; one is enough. Not more than 100 are looked at.
//
// Fails when there is none, and says how many there are, why they are not trusted, and what would be. Fails with an [UncheckedError] when the
// authorities of the public Sigstore instance are needed and cannot be fetched.
func (c *Cosign) Verify(ctx context.Context, target oras.ReadOnlyGraphTarget, subject ocispec.Descriptor) (Verification, error) {
	trusted, err := c.trusted(ctx)
	if err != nil {
		return Verification{}, err
	}
	var rejected rejections
	for found, err := range c.signatures(ctx, target, subject) {
		if ctx.Err() != nil {
			return Verification{}, fmt.Errorf("looking at signatures: %w", context.Cause(ctx))
		}
		if err == nil {
			var who Verification
			if who, err = found.verify(trusted); err == nil {
				return who, nil
			}
		}
		if rejected.add(err); rejected.count == maxCandidates {
			break
		}
	}
	return Verification{}, rejected.explain(c.expects)
}

// signatures reads the signatures of both formats, one at a time; an error stands for one that cannot be read.
func (c *Cosign) signatures(ctx context.Context, target oras.ReadOnlyGraphTarget, subject ocispec.Descriptor) iter.Seq2[signature, error] {
	return func(yield func(signature, error) bool) {
		for found, err := range bundles(ctx, target, subject) {
			if !yield(found, err) {
				return
			}
		}
		convert := keyed
		if c.keyless {
			convert = certified
		}
		for found, err := range attached(ctx, target, subject, convert) {
			if !yield(found, err) {
				return
			}
		}
	}
}

// signature is a signature, and what it has to be made over.
type signature struct {
	entity *bundle.Bundle
	// over returns the content, or its digest; content can be read only once.
	over func() verify.ArtifactPolicyOption
	// approves looks at what was signed: a statement about an artifact is not always a good one.
	approves func(*verify.VerificationResult) error
}

// verify returns who signed, or why the last one of the trusted did not.
func (s signature) verify(trusted []trust) (Verification, error) {
	var refusal error
	for _, t := range trusted {
		result, err := t.verifier.Verify(s.entity, verify.NewPolicy(s.over(), t.policy))
		if err == nil {
			err = s.approves(result)
		}
		if err == nil {
			return t.verification(result), nil
		}
		refusal = s.whoInstead(err)
	}
	return Verification{}, refusal
}

// whoInstead names the identity that signed, where it is the wrong one: everything else about the signature was found to be right.
func (s signature) whoInstead(err error) error {
	if _, wrong := errors.AsType[*verify.ErrNoMatchingCertificateIdentity](err); !wrong {
		return err
	}
	content, contentErr := s.entity.VerificationContent()
	if contentErr != nil || content.Certificate() == nil {
		return err
	}
	signer, summaryErr := certificate.SummarizeCertificate(content.Certificate())
	if summaryErr != nil {
		return err
	}
	return fmt.Errorf("signed by %q of issuer %q", signer.SubjectAlternativeName, signer.Issuer)
}

func (t trust) verification(result *verify.VerificationResult) Verification {
	if t.key != "" {
		return Verification{Key: t.key}
	}
	signer := result.Signature.Certificate
	return Verification{Issuer: signer.Issuer, Subject: signer.SubjectAlternativeName}
}
