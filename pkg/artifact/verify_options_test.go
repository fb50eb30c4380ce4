package artifact

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
)

// unlogged is a certificate that is in no certificate log.
func unlogged(t *testing.T, l *lab) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key := newKey(t)
	certificate, err := ca.GenerateLeafCert("signer@example.com", goodIssuer, time.Now().Add(-time.Minute), key, l.authority.Intermediates[0], l.authorityKey)
	must(t, err)
	return certificate, key
}

func TestNewVerifierFails(t *testing.T) {
	lab := newLab(t)
	key := newKey(t)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	public := publicPEM(t, key.Public())
	keys := func(file []byte) VerifyOptions { return VerifyOptions{Keys: map[string][]byte{"cosign.pub": file}} }
	for name, c := range map[string]struct {
		options VerifyOptions
		want    string
	}{
		"nothing":         {VerifyOptions{}, "give either public keys or identities"},
		"both":            {VerifyOptions{Keys: map[string][]byte{"cosign.pub": public}, Identities: []Identity{goodIdentity}}, "give either public keys or identities"},
		"no PEM":          {keys([]byte("key")), `reading public key "cosign.pub": it is not in PEM form`},
		"private key":     {keys(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})), `reading public key "cosign.pub": it is a private key`},
		"certificate":     {keys(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE"})), `reading public key "cosign.pub": it is a "CERTIFICATE"`},
		"two keys":        {keys(append(append([]byte{}, public...), public...)), "holds more than one block"},
		"broken key":      {keys(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("x")})), `reading public key "cosign.pub": asn1`},
		"issuer pattern":  {VerifyOptions{Identities: []Identity{goodIdentity, {Issuer: "(", Subject: "."}}}, "reading matchOIDCIdentity[1].issuer \"(\""},
		"subject pattern": {VerifyOptions{Identities: []Identity{{Issuer: ".", Subject: "("}}}, "reading matchOIDCIdentity[0].subject \"(\""},
		"empty issuer":    {VerifyOptions{Identities: []Identity{{Subject: "."}}}, "reading matchOIDCIdentity[0].issuer \"\""},
		"broken root":     {VerifyOptions{Identities: []Identity{goodIdentity}, TrustedRoot: []byte("{")}, "reading trusted_root.json"},
		"no issuers":      {VerifyOptions{Identities: []Identity{goodIdentity}, TrustedRoot: lab.trustedRoot(withoutIssuers)}, "certificateAuthorities"},
		"no time":         {VerifyOptions{Identities: []Identity{goodIdentity}, TrustedRoot: lab.trustedRoot(withoutLogs, withoutTimestamps)}, "neither tlogs nor timestampAuthorities"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := NewVerifier(c.options)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want %q", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), string(private)) {
				t.Error("the error contains the private key")
			}
		})
	}
}

func TestID(t *testing.T) {
	lab := newLab(t)
	a, b := publicPEM(t, newKey(t).Public()), publicPEM(t, newKey(t).Public())
	ids := map[string]VerifyOptions{}
	for _, options := range []VerifyOptions{
		{Keys: map[string][]byte{"a.pub": a}},
		{Keys: map[string][]byte{"a.pub": b}},
		{Keys: map[string][]byte{"a.pub": a, "b.pub": b}},
		{Identities: []Identity{goodIdentity}},
		{Identities: []Identity{goodIdentity}, TrustedRoot: lab.trustedRoot()},
		{Identities: []Identity{{Issuer: ".", Subject: "."}}},
	} {
		id := mustID(t, options)
		if known, ok := ids[id]; ok {
			t.Errorf("%+v and %+v have the same id", options, known)
		}
		ids[id] = options
	}
	again := VerifyOptions{Keys: map[string][]byte{"b.pub": b, "a.pub": a}, RootCache: t.TempDir()}
	if _, ok := ids[mustID(t, again)]; !ok {
		t.Error("verifiers that trust the same have different ids")
	}
}

func mustID(t *testing.T, options VerifyOptions) string {
	t.Helper()
	verifier, err := NewVerifier(options)
	must(t, err)
	return verifier.ID()
}

func FuzzSignaturePayload(f *testing.F) {
	artifact := digest.FromString("artifact")
	lab := newLab(f)
	stranger := lab.legacy(lab.certify("https://github.com/evil/flux", goodIssuer, time.Now().Add(-time.Minute)), payloadOf(artifact, payloadType))
	f.Add(stranger.payload, stranger.annotations[signatureAnnotation], stranger.annotations[certificateAnnotation],
		stranger.annotations[logAnnotation], stranger.annotations[timestampAnnotation])
	f.Add([]byte(`{"critical":{"image":{"docker-manifest-digest":null}}}`), "", "", "", "")
	trusted := []trust{
		fuzzTrust(f, VerifyOptions{Keys: map[string][]byte{"cosign.pub": publicPEM(f, newKey(f).Public())}}),
		fuzzTrust(f, VerifyOptions{Identities: []Identity{goodIdentity}, TrustedRoot: lab.trustedRoot()}),
	}
	f.Fuzz(func(t *testing.T, payload []byte, signed, certificate, log, timestamp string) {
		annotations := map[string]string{signatureAnnotation: signed, certificateAnnotation: certificate, logAnnotation: log, timestampAnnotation: timestamp}
		for _, read := range []material{keyed, certified} {
			found, err := legacySignature(annotations, payload, artifact, read)
			if err != nil {
				continue
			}
			if text := string(payload); !strings.Contains(text, "docker-manifest-digest") && !strings.Contains(text, `\u`) {
				t.Errorf("payload %q was taken for one of %q", payload, artifact)
			}
			if _, err := found.verify(trusted); err == nil {
				t.Errorf("a stranger's signature is trusted: %q", payload)
			}
		}
	})
}

func fuzzTrust(f *testing.F, options VerifyOptions) trust {
	f.Helper()
	verifier, err := NewVerifier(options)
	must(f, err)
	trusted, err := verifier.trusted(f.Context())
	must(f, err)
	return trusted[0]
}
