package artifact

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha512"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/content/oci"
	"oras.land/oras-go/v2/registry/remote"
)

// layer is one signature in the legacy format.
type layer struct {
	payload     []byte
	annotations map[string]string
}

func (l layer) without(annotation string) layer {
	changed := map[string]string{}
	for key, value := range l.annotations {
		if key != annotation {
			changed[key] = value
		}
	}
	return layer{payload: l.payload, annotations: changed}
}

// signedArtifact is an artifact in a registry on loopback, and its signatures.
type signedArtifact struct {
	*remote.Repository

	t       *testing.T
	subject ocispec.Descriptor
}

// listing says how a registry tells what refers to an artifact.
type listing bool

const (
	byAPI listing = true
	byTag listing = false
)

func newArtifact(t *testing.T, how listing) *signedArtifact {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.WithReferrersSupport(bool(how)), registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	repository, err := remote.NewRepository(strings.TrimPrefix(server.URL, "http://") + "/flux/distribution")
	must(t, err)
	repository.PlainHTTP = true
	must(t, repository.SetReferrersCapability(bool(how)))
	subject, err := oras.PackManifest(t.Context(), repository, oras.PackManifestVersion1_1, "application/vnd.example", oras.PackManifestOptions{})
	must(t, err)
	return &signedArtifact{Repository: repository, t: t, subject: subject}
}

func (a *signedArtifact) digest() digest.Digest { return a.subject.Digest }

// attach publishes signatures in the legacy format.
func (a *signedArtifact) attach(layers ...layer) {
	a.t.Helper()
	manifest := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: a.push("application/vnd.oci.image.config.v1+json", []byte("{}")),
	}
	for _, l := range layers {
		desc := a.push(payloadMediaType, l.payload)
		desc.Annotations = l.annotations
		manifest.Layers = append(manifest.Layers, desc)
	}
	raw, err := json.Marshal(manifest)
	must(a.t, err)
	desc := content.NewDescriptorFromBytes(manifest.MediaType, raw)
	must(a.t, a.PushReference(a.t.Context(), desc, bytes.NewReader(raw), signatureTag(a.digest())))
}

// refer publishes a bundle.
func (a *signedArtifact) refer(bundle any, annotations map[string]string) {
	a.t.Helper()
	raw, err := json.Marshal(bundle)
	must(a.t, err)
	layers := []ocispec.Descriptor{a.push(bundleMediaType, raw)}
	_, err = oras.PackManifest(a.t.Context(), a, oras.PackManifestVersion1_1, bundleMediaType,
		oras.PackManifestOptions{Subject: &a.subject, Layers: layers, ManifestAnnotations: annotations})
	must(a.t, err)
}

func (a *signedArtifact) push(mediaType string, raw []byte) ocispec.Descriptor {
	a.t.Helper()
	desc := content.NewDescriptorFromBytes(mediaType, raw)
	must(a.t, a.Push(a.t.Context(), desc, bytes.NewReader(raw)))
	return desc
}

// payload is what a legacy signature of the artifact is made over, statement what a bundle is.
func (a *signedArtifact) payload() []byte { return payloadOf(a.digest(), payloadType) }

func payloadOf(artifact digest.Digest, kind string) []byte {
	return fmt.Appendf(nil, `{"critical":{"identity":{"docker-reference":"registry.example.com/flux"},"image":{"docker-manifest-digest":%q},"type":%q},"optional":null}`, artifact, kind)
}

func (a *signedArtifact) statement() []byte { return statementOf(a.digest(), signPredicate) }

func statementOf(artifact digest.Digest, predicate string) []byte {
	return fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":%q}}],"predicateType":%q,"predicate":{}}`, artifact.Encoded(), predicate)
}

func (a *signedArtifact) verify(options VerifyOptions) (Verification, error) {
	a.t.Helper()
	verifier, err := NewVerifier(options)
	must(a.t, err)
	return verifier.Verify(a.t.Context(), a, a.subject)
}

func (a *signedArtifact) mustBe(want Verification, options VerifyOptions) {
	a.t.Helper()
	got, err := a.verify(options)
	if err != nil {
		a.t.Fatal(err)
	}
	if got != want {
		a.t.Errorf("verified by %+v, want %+v", got, want)
	}
}

// mustFail wants every one of the words in the error.
func (a *signedArtifact) mustFail(options VerifyOptions, words ...string) {
	a.t.Helper()
	got, err := a.verify(options)
	if err == nil {
		a.t.Fatalf("verified by %+v, want an error", got)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			a.t.Errorf("error %q does not contain %q", err, word)
		}
	}
}

func TestSignedWithKey(t *testing.T) {
	key, other := newKey(t), newKey(t)
	options := VerifyOptions{Keys: map[string][]byte{"other.pub": publicPEM(t, other.Public()), "cosign.pub": publicPEM(t, key.Public())}}
	want := Verification{Key: "cosign.pub"}
	t.Run("legacy", func(t *testing.T) {
		a := newArtifact(t, byAPI)
		a.attach(legacyByKey(t, key, a.payload()))
		a.mustBe(want, options)
	})
	for name, how := range map[string]listing{"bundle by API": byAPI, "bundle by tag": byTag} {
		t.Run(name, func(t *testing.T) {
			a := newArtifact(t, how)
			a.refer(bundleByKey(t, key, a.statement()), nil)
			a.mustBe(want, options)
		})
	}
	t.Run("plain signature in a bundle", func(t *testing.T) {
		a := newArtifact(t, byAPI)
		manifest, err := content.FetchAll(t.Context(), a, a.subject)
		must(t, err)
		bundle := bundleByKey(t, key, nil)
		delete(bundle, "dsseEnvelope")
		sum := digest.FromBytes(manifest)
		raw := make([]byte, 0, 32)
		_, err = fmt.Sscanf(sum.Encoded(), "%x", &raw)
		must(t, err)
		bundle["messageSignature"] = map[string]any{"messageDigest": map[string]any{"algorithm": "SHA2_256", "digest": raw}, "signature": signWith(t, key, manifest)}
		a.refer(bundle, nil)
		a.mustBe(want, options)
	})
}

func TestKindsOfKeys(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(t, err)
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	must(t, err)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	for name, c := range map[string]struct {
		public crypto.PublicKey
		sign   func(content []byte) ([]byte, error)
	}{
		"P-384 with SHA-256": {p384.Public(), func(c []byte) ([]byte, error) { return signWith(t, p384, c), nil }},
		"P-384 with SHA-384": {p384.Public(), func(c []byte) ([]byte, error) {
			sum := sha512.Sum384(c)
			return p384.Sign(rand.Reader, sum[:], crypto.SHA384)
		}},
		"P-521 with SHA-512": {p521.Public(), func(c []byte) ([]byte, error) {
			sum := sha512.Sum512(c)
			return p521.Sign(rand.Reader, sum[:], crypto.SHA512)
		}},
		"RSA":     {rsaKey.Public(), func(c []byte) ([]byte, error) { return signWith(t, rsaKey, c), nil }},
		"Ed25519": {edKey.Public(), func(c []byte) ([]byte, error) { return ed25519.Sign(edKey, c), nil }},
		"Ed25519 hashed": {edKey.Public(), func(c []byte) ([]byte, error) {
			sum := sha512.Sum512(c)
			return edKey.Sign(rand.Reader, sum[:], crypto.SHA512)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			options := VerifyOptions{Keys: map[string][]byte{"key.pub": publicPEM(t, c.public)}}
			a := newArtifact(t, byAPI)
			signed, err := c.sign(a.payload())
			must(t, err)
			a.attach(layer{payload: a.payload(), annotations: map[string]string{signatureAnnotation: b64(signed)}})
			a.mustBe(Verification{Key: "key.pub"}, options)
		})
	}
}

func TestSignedByIdentity(t *testing.T) {
	lab := newLab(t)
	who := lab.certify(goodSubject, goodIssuer, time.Now().Add(-time.Minute))
	other := Identity{Issuer: "^https://other$", Subject: "^other$"}
	options := VerifyOptions{Identities: []Identity{other, goodIdentity}, TrustedRoot: lab.trustedRoot()}
	want := Verification{Issuer: goodIssuer, Subject: goodSubject}
	t.Run("legacy", func(t *testing.T) {
		a := newArtifact(t, byAPI)
		a.attach(lab.legacy(who, a.payload()))
		a.mustBe(want, options)
	})
	for name, how := range map[string]listing{"bundle by API": byAPI, "bundle by tag": byTag} {
		t.Run(name, func(t *testing.T) {
			a := newArtifact(t, how)
			a.refer(lab.bundle(who, a.statement()), map[string]string{predicateAnnotation: signPredicate})
			a.mustBe(want, options)
		})
	}
	t.Run("one good among bad ones", func(t *testing.T) {
		a := newArtifact(t, byAPI)
		a.refer(map[string]any{"mediaType": bundleMediaType}, nil)
		a.refer(bundleByKey(t, newKey(t), a.statement()), nil)
		a.attach(legacyByKey(t, newKey(t), a.payload()), lab.legacy(who, a.payload()), layer{payload: []byte("no JSON")})
		a.mustBe(want, options)
	})
	t.Run("patterns match anywhere", func(t *testing.T) {
		a := newArtifact(t, byAPI)
		a.attach(lab.legacy(who, a.payload()))
		a.mustBe(want, VerifyOptions{Identities: []Identity{{Issuer: "actions", Subject: "example/flux"}}, TrustedRoot: options.TrustedRoot})
	})
}

// Authorities without a log, or without timestamps, are private ones; what they have has to be there.
func TestAsManyProofsAsAuthoritiesGive(t *testing.T) {
	lab := newLab(t)
	who := lab.certify(goodSubject, goodIssuer, time.Now().Add(-time.Minute))
	a := newArtifact(t, byAPI)
	a.attach(lab.legacy(who, a.payload()).without(logAnnotation))
	options := func(changes ...func(*authorities)) VerifyOptions {
		return VerifyOptions{Identities: []Identity{goodIdentity}, TrustedRoot: lab.trustedRoot(changes...)}
	}
	a.mustBe(Verification{Issuer: goodIssuer, Subject: goodSubject}, options(withoutLogs))
	a.mustFail(options(), "not enough verified log entries")

	b := newArtifact(t, byAPI)
	b.attach(lab.legacy(who, b.payload()).without(timestampAnnotation))
	b.mustBe(Verification{Issuer: goodIssuer, Subject: goodSubject}, options(withoutTimestamps))
	b.mustBe(Verification{Issuer: goodIssuer, Subject: goodSubject}, options())
	b.mustFail(options(withoutLogs), "threshold not met")

	secret := who
	secret.certificate, secret.key = unlogged(t, lab)
	c := newArtifact(t, byAPI)
	c.attach(lab.legacy(secret, c.payload()))
	c.mustFail(options(), "SCT")
	c.mustBe(Verification{Issuer: goodIssuer, Subject: "signer@example.com"}, VerifyOptions{
		Identities: []Identity{{Issuer: ".", Subject: "^signer@example.com$"}}, TrustedRoot: lab.trustedRoot(withoutCertLogs),
	})
}

// The second version of the transparency log does not say when it saw a signature.
func TestNewLog(t *testing.T) {
	const subject = "signer@example.com"
	lab := newLab(t)
	options := VerifyOptions{Identities: []Identity{{Issuer: goodIdentity.Issuer, Subject: "^" + subject + "$"}}, TrustedRoot: lab.trustedRoot(lab.ofVirtualCA)}
	a := newArtifact(t, byAPI)
	a.refer(lab.bundleOfNewLog(subject, a.statement()), nil)
	a.mustBe(Verification{Issuer: goodIssuer, Subject: subject}, options)

	undated := newArtifact(t, byAPI)
	undated.refer(lab.bundleOfNewLog(subject, undated.statement(), func(m *protobundle.VerificationMaterial) { m.TimestampVerificationData = nil }), nil)
	undated.mustFail(options, "failed to verify timestamps")

	unlisted := newArtifact(t, byAPI)
	unlisted.refer(lab.bundleOfNewLog(subject, unlisted.statement(), func(m *protobundle.VerificationMaterial) {
		another, err := lab.AttestHashedRekordV2(subject, goodIssuer, unlisted.statement())
		must(t, err)
		entries, err := another.TlogEntries()
		must(t, err)
		m.TlogEntries[0] = entries[0].TransparencyLogEntry()
	}), nil)
	unlisted.mustFail(options, "failed to verify log inclusion")
}

func TestNotTrusted(t *testing.T) {
	lab, elsewhere := newLab(t), newLab(t)
	key := newKey(t)
	now := time.Now()
	who := lab.certify(goodSubject, goodIssuer, now.Add(-time.Minute))
	byKey := VerifyOptions{Keys: map[string][]byte{"cosign.pub": publicPEM(t, key.Public())}}
	keyless := VerifyOptions{Identities: []Identity{goodIdentity}, TrustedRoot: lab.trustedRoot()}
	another := digest.FromString("another artifact")

	for name, c := range map[string]struct {
		publish func(a *signedArtifact)
		options VerifyOptions
		words   []string
	}{
		"unsigned":                        {func(*signedArtifact) {}, byKey, []string{"no signature found", `key "cosign.pub"`}},
		"unsigned, keyless":               {func(*signedArtifact) {}, keyless, []string{"no signature found", goodIdentity.Subject}},
		"wrong key":                       {func(a *signedArtifact) { a.attach(legacyByKey(t, newKey(t), a.payload())) }, byKey, []string{"1 found", "invalid signature", `key "cosign.pub"`}},
		"wrong key, bundle":               {func(a *signedArtifact) { a.refer(bundleByKey(t, newKey(t), a.statement()), nil) }, byKey, []string{"1 found", "could not verify envelope"}},
		"by an identity instead of a key": {func(a *signedArtifact) { a.refer(lab.bundle(who, a.statement()), nil) }, byKey, []string{"expected key signature"}},
		"with a key instead of by an identity": {func(a *signedArtifact) {
			a.attach(legacyByKey(t, key, a.payload()))
			a.refer(bundleByKey(t, key, a.statement()), nil)
		}, keyless, []string{"2 found", "signed with a key, not by an identity"}},
		"wrong subject": {func(a *signedArtifact) {
			a.attach(lab.legacy(lab.certify("https://github.com/evil/flux", goodIssuer, now.Add(-time.Minute)), a.payload()))
		}, keyless, []string{`signed by "https://github.com/evil/flux" of issuer "` + goodIssuer + `"`, "trusted is what is signed by a subject matching " + goodIdentity.Subject}},
		"wrong issuer, bundle": {func(a *signedArtifact) {
			a.refer(lab.bundle(lab.certify(goodSubject, "https://evil.example.com", now.Add(-time.Minute)), a.statement()), nil)
		}, keyless, []string{`signed by "` + goodSubject + `" of issuer "https://evil.example.com"`}},
		"other authorities": {func(a *signedArtifact) {
			a.attach(elsewhere.legacy(elsewhere.certify(goodSubject, goodIssuer, now.Add(-time.Minute)), a.payload()))
		}, keyless, []string{"not enough verified log entries"}},
		"certificate of other authorities": {func(a *signedArtifact) {
			a.attach(lab.legacy(elsewhere.certify(goodSubject, goodIssuer, now.Add(-time.Minute)), a.payload()))
		}, keyless, []string{"leaf certificate verification failed"}},
		"copied from another artifact":         {func(a *signedArtifact) { a.attach(legacyByKey(t, key, payloadOf(another, payloadType))) }, byKey, []string{"signature of another artifact", another.String()}},
		"copied from another artifact, bundle": {func(a *signedArtifact) { a.refer(bundleByKey(t, key, statementOf(another, signPredicate)), nil) }, byKey, []string{"does not match any digest in statement"}},
		"payload of another type":              {func(a *signedArtifact) { a.attach(legacyByKey(t, key, payloadOf(a.digest(), "something else"))) }, byKey, []string{`type "something else"`}},
		"tampered payload": {func(a *signedArtifact) {
			l := legacyByKey(t, key, a.payload())
			l.payload = bytes.Replace(l.payload, []byte("registry.example.com"), []byte("registry.evil.com"), 1)
			a.attach(l)
		}, byKey, []string{"invalid signature"}},
		"tampered statement": {func(a *signedArtifact) {
			b := bundleByKey(t, key, statementOf(another, signPredicate))
			b["dsseEnvelope"].(map[string]any)["payload"] = a.statement()
			a.refer(b, nil)
		}, byKey, []string{"could not verify envelope"}},
		"payload that is no JSON":   {func(a *signedArtifact) { a.attach(legacyByKey(t, key, []byte("signed"))) }, byKey, []string{"reading what was signed"}},
		"no signature in the layer": {func(a *signedArtifact) { a.attach(layer{payload: a.payload()}) }, byKey, []string{"holds no signature"}},
		"attestation": {func(a *signedArtifact) {
			a.refer(bundleByKey(t, key, statementOf(a.digest(), "https://slsa.dev/provenance/v1")), nil)
		}, byKey, []string{`states "https://slsa.dev/provenance/v1", which is no signature`}},
		"attestation that says so": {func(a *signedArtifact) {
			const predicate = "https://slsa.dev/provenance/v1"
			a.refer(bundleByKey(t, key, statementOf(a.digest(), predicate)), map[string]string{predicateAnnotation: predicate})
		}, byKey, []string{"no signature found"}},
		"expired certificate": {func(a *signedArtifact) {
			late := lab.certify(goodSubject, goodIssuer, now.Add(-40*time.Minute))
			late.logged = now
			a.attach(lab.legacy(late, a.payload()))
		}, keyless, []string{"integrated time outside certificate validity"}},
		"expired certificate, bundle": {func(a *signedArtifact) {
			late := lab.certify(goodSubject, goodIssuer, now.Add(-40*time.Minute))
			late.logged = now
			a.refer(lab.bundle(late, a.statement()), nil)
		}, keyless, []string{"integrated time outside certificate validity"}},
		"not in the log": {func(a *signedArtifact) { a.attach(lab.legacy(who, a.payload()).without(logAnnotation)) }, keyless, []string{"not enough verified log entries"}},
		"not in the log, bundle": {func(a *signedArtifact) {
			b := lab.bundle(who, a.statement())
			b["verificationMaterial"].(map[string]any)["tlogEntries"] = []any{}
			a.refer(b, nil)
		}, keyless, []string{"not enough verified log entries"}},
		"another entry of the log": {func(a *signedArtifact) {
			mine, theirs := lab.legacy(who, a.payload()), lab.legacy(who, payloadOf(another, payloadType))
			mine.annotations[logAnnotation] = theirs.annotations[logAnnotation]
			a.attach(mine)
		}, keyless, []string{"transparency log signature does not match"}},
		"broken log entry": {func(a *signedArtifact) {
			l := lab.legacy(who, a.payload())
			l.annotations[logAnnotation] = "{"
			a.attach(l)
		}, keyless, []string{"reading annotation", logAnnotation}},
		"broken timestamp": {func(a *signedArtifact) {
			l := lab.legacy(who, a.payload())
			l.annotations[timestampAnnotation] = "{"
			a.attach(l)
		}, keyless, []string{"reading annotation", timestampAnnotation}},
		"bundle that is no JSON": {func(a *signedArtifact) { a.refer("bundle", nil) }, byKey, []string{"reading bundle"}},
		"payload too large":      {func(a *signedArtifact) { a.attach(legacyByKey(t, key, make([]byte, maxPayload+1))) }, byKey, []string{"has 65537 bytes, at most 65536 are read"}},
		"bundle too large":       {func(a *signedArtifact) { a.refer(strings.Repeat("x", maxBundle), nil) }, byKey, []string{"at most 4194304 are read"}},
	} {
		t.Run(name, func(t *testing.T) {
			a := newArtifact(t, byAPI)
			c.publish(a)
			a.mustFail(c.options, c.words...)
		})
	}
}

// The client of registries refuses manifests of this size itself, a copy on disk does not.
func TestHugeSignatureManifest(t *testing.T) {
	ctx := t.Context()
	disk, err := oci.New(t.TempDir())
	must(t, err)
	subject, err := oras.PackManifest(ctx, disk, oras.PackManifestVersion1_1, "application/vnd.example", oras.PackManifestOptions{})
	must(t, err)
	signatures, err := oras.PackManifest(ctx, disk, oras.PackManifestVersion1_1, "application/vnd.example",
		oras.PackManifestOptions{ManifestAnnotations: map[string]string{"padding": strings.Repeat("x", maxSignatureManifest)}})
	must(t, err)
	must(t, disk.Tag(ctx, signatures, signatureTag(subject.Digest)))
	verifier, err := NewVerifier(VerifyOptions{Keys: map[string][]byte{"cosign.pub": publicPEM(t, newKey(t).Public())}})
	must(t, err)
	_, err = verifier.Verify(ctx, disk, subject)
	if err == nil || !strings.Contains(err.Error(), "at most 4194304 are read") {
		t.Errorf("error is %v", err)
	}
}

func TestManySignatures(t *testing.T) {
	key := newKey(t)
	options := VerifyOptions{Keys: map[string][]byte{"cosign.pub": publicPEM(t, key.Public())}}
	t.Run("the oldest of a hundred is found", func(t *testing.T) {
		a := newArtifact(t, byAPI)
		a.attach(append([]layer{legacyByKey(t, key, a.payload())}, manyLayers(t, a, maxCandidates-1)...)...)
		a.mustBe(Verification{Key: "cosign.pub"}, options)
	})
	t.Run("more are not looked at, from the newest on", func(t *testing.T) {
		a := newArtifact(t, byAPI)
		a.attach(append([]layer{legacyByKey(t, key, a.payload())}, manyLayers(t, a, maxCandidates)...)...)
		a.mustFail(options, "the 100 that were looked at", "invalid signature")
	})
	t.Run("errors stay short", func(t *testing.T) {
		a := newArtifact(t, byAPI)
		var layers []layer
		for i := range maxCandidates {
			layers = append(layers, legacyByKey(t, key, payloadOf(a.digest(), strings.Repeat("long ", 200)+fmt.Sprint(i))))
		}
		layers = append(layers, legacyByKey(t, key, payloadOf(a.digest(), "short")), legacyByKey(t, key, payloadOf(a.digest(), "shorter")), legacyByKey(t, key, nil))
		a.attach(layers...)
		_, err := a.verify(options)
		if err == nil || len(err.Error()) > 2000 || !strings.Contains(err.Error(), "and others") {
			t.Errorf("error is %v", err)
		}
	})
}

func TestCanceled(t *testing.T) {
	a := newArtifact(t, byAPI)
	key := newKey(t)
	a.attach(legacyByKey(t, key, a.payload()))
	verifier, err := NewVerifier(VerifyOptions{Keys: map[string][]byte{"cosign.pub": publicPEM(t, key.Public())}})
	must(t, err)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(io.ErrClosedPipe)
	if _, err := verifier.Verify(ctx, a, a.subject); err == nil || !strings.Contains(err.Error(), io.ErrClosedPipe.Error()) {
		t.Errorf("error is %v, want the cause of the cancellation", err)
	}
}
