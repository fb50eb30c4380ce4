package artifact

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/url"
	"testing"
	"time"

	ct "github.com/google/certificate-transparency-go"
	cttls "github.com/google/certificate-transparency-go/tls"
	ctx509 "github.com/google/certificate-transparency-go/x509"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"google.golang.org/protobuf/encoding/protojson"
)

const (
	goodIssuer  = "https://token.actions.example.com"
	goodSubject = "https://github.com/example/flux/.github/workflows/release.yml@refs/heads/main"
)

var goodIdentity = Identity{Issuer: `^https://token\.actions\.example\.com$`, Subject: `^https://github\.com/example/flux/.*$`}

// lab is a Sigstore instance: transparency log and timestamp authority of the library's tests, and a certificate authority with a certificate log,
// as the public instance has one.
type lab struct {
	*ca.VirtualSigstore

	tb           testing.TB
	authority    *root.FulcioCertificateAuthority
	authorityKey *ecdsa.PrivateKey
	certLogKey   *ecdsa.PrivateKey
}

func newLab(tb testing.TB) *lab {
	tb.Helper()
	virtual, err := ca.NewVirtualSigstore()
	must(tb, err)
	rootCert, rootKey, err := ca.GenerateRootCa()
	must(tb, err)
	intermediate, intermediateKey, err := ca.GenerateFulcioIntermediate(rootCert, rootKey)
	must(tb, err)
	return &lab{
		VirtualSigstore: virtual, tb: tb,
		authority: &root.FulcioCertificateAuthority{
			Root: rootCert, Intermediates: []*x509.Certificate{intermediate}, URI: "https://fulcio.example.com", ValidityPeriodStart: time.Now().Add(-5 * time.Hour),
		},
		authorityKey: intermediateKey, certLogKey: newKey(tb),
	}
}

// trustedRoot writes down the authorities of the lab; each change may take some away.
func (l *lab) trustedRoot(changes ...func(*authorities)) []byte {
	l.tb.Helper()
	a := &authorities{
		issuers:    []root.CertificateAuthority{l.authority},
		timestamps: l.TimestampingAuthorities(),
		certLogs: map[string]*root.TransparencyLog{"": {
			BaseURL: "https://ctlog.example.com", ID: logID(l.tb, l.certLogKey.Public()), ValidityPeriodStart: time.Now().Add(-5 * time.Hour),
			HashFunc: crypto.SHA256, PublicKey: l.certLogKey.Public(), SignatureHashFunc: crypto.SHA256,
		}},
		logs: map[string]*root.TransparencyLog{},
	}
	for id, log := range l.RekorLogs() {
		raw := *log
		raw.ID = logID(l.tb, raw.PublicKey)
		a.logs[id] = &raw
	}
	for _, change := range changes {
		change(a)
	}
	trusted, err := root.NewTrustedRoot(root.TrustedRootMediaType01, a.issuers, a.certLogs, a.timestamps, a.logs)
	must(l.tb, err)
	file, err := trusted.MarshalJSON()
	must(l.tb, err)
	return file
}

type authorities struct {
	issuers        []root.CertificateAuthority
	timestamps     []root.TimestampingAuthority
	certLogs, logs map[string]*root.TransparencyLog
}

func withoutCertLogs(a *authorities)   { a.certLogs = nil }
func withoutLogs(a *authorities)       { a.logs = nil }
func withoutTimestamps(a *authorities) { a.timestamps = nil }
func withoutIssuers(a *authorities)    { a.issuers = nil }

// signer is who signs without a key of its own: a certificate for ten minutes, and when it was used.
type signer struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	// logged is when the transparency log has seen the signature.
	logged time.Time
}

// certify issues a certificate, with the proof that it is in the certificate log.
func (l *lab) certify(subject, issuer string, from time.Time) signer {
	l.tb.Helper()
	key := newKey(l.tb)
	address, err := url.Parse(subject)
	must(l.tb, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(42), URIs: []*url.URL{address}, NotBefore: from, NotAfter: from.Add(10 * time.Minute),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		ExtraExtensions: []pkix.Extension{
			{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 1}, Value: []byte(issuer)},
			{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2}, Value: l.certLogProofs(nil)},
		},
	}
	draft := l.issue(template, key.Public())
	template.ExtraExtensions[1].Value = l.certLogProofs(l.logCertificate(draft, from))
	return signer{certificate: l.issue(template, key.Public()), key: key, logged: from.Add(time.Minute)}
}

func (l *lab) issue(template *x509.Certificate, public crypto.PublicKey) *x509.Certificate {
	l.tb.Helper()
	raw, err := x509.CreateCertificate(rand.Reader, template, l.authority.Intermediates[0], public, l.authorityKey)
	must(l.tb, err)
	certificate, err := x509.ParseCertificate(raw)
	must(l.tb, err)
	return certificate
}

// logCertificate signs what the certificate log signs: the certificate without the proof.
func (l *lab) logCertificate(draft *x509.Certificate, at time.Time) []byte {
	l.tb.Helper()
	var chain []*ctx509.Certificate
	for _, certificate := range []*x509.Certificate{draft, l.authority.Intermediates[0]} {
		parsed, err := ctx509.ParseCertificate(certificate.Raw)
		must(l.tb, err)
		chain = append(chain, parsed)
	}
	proof := ct.SignedCertificateTimestamp{SCTVersion: ct.V1, Timestamp: uint64(at.UnixMilli())}
	copy(proof.LogID.KeyID[:], logID(l.tb, l.certLogKey.Public()))
	leaf, err := ct.MerkleTreeLeafForEmbeddedSCT(chain, proof.Timestamp)
	must(l.tb, err)
	input, err := ct.SerializeSCTSignatureInput(proof, ct.LogEntry{Leaf: *leaf})
	must(l.tb, err)
	signed, err := cttls.CreateSignature(*l.certLogKey, cttls.SHA256, input)
	must(l.tb, err)
	proof.Signature = ct.DigitallySigned(signed)
	raw, err := cttls.Marshal(proof)
	must(l.tb, err)
	return raw
}

// certLogProofs is the value of the certificate extension.
func (l *lab) certLogProofs(proof []byte) []byte {
	l.tb.Helper()
	if proof == nil {
		proof = []byte("draft")
	}
	list, err := cttls.Marshal(ctx509.SignedCertificateTimestampList{SCTList: []ctx509.SerializedSCT{{Val: proof}}})
	must(l.tb, err)
	value, err := asn1.Marshal(list)
	must(l.tb, err)
	return value
}

// legacy signs a payload the way cosign did before there were bundles.
func (l *lab) legacy(who signer, payload []byte) layer {
	l.tb.Helper()
	signed := signWith(l.tb, who.key, payload)
	sum := sha256.Sum256(payload)
	body := fmt.Sprintf(`{"apiVersion":"0.0.1","kind":"hashedrekord","spec":{"data":{"hash":{"algorithm":"sha256","value":"%x"}},"signature":{"content":%q,"publicKey":{"content":%q}}}}`,
		sum, b64(signed), b64(pemOf(who.certificate)))
	id, err := l.RekorLogID()
	must(l.tb, err)
	entry := tlog.RekorPayload{Body: b64([]byte(body)), IntegratedTime: who.logged.Unix(), LogIndex: 7, LogID: id}
	promise, err := l.RekorSignPayload(entry)
	must(l.tb, err)
	written, err := json.Marshal(map[string]any{"SignedEntryTimestamp": promise, "Payload": entry})
	must(l.tb, err)
	timestamp, err := l.TimestampResponse(signed)
	must(l.tb, err)
	stamped, err := json.Marshal(map[string]any{"SignedRFC3161Timestamp": timestamp})
	must(l.tb, err)
	return layer{payload: payload, annotations: map[string]string{
		signatureAnnotation: b64(signed), certificateAnnotation: string(pemOf(who.certificate)), logAnnotation: string(written), timestampAnnotation: string(stamped),
	}}
}

// bundle signs a statement the way cosign does today.
func (l *lab) bundle(who signer, statement []byte) map[string]any {
	l.tb.Helper()
	const statementType = "application/vnd.in-toto+json"
	signed := signWith(l.tb, who.key, envelopeContent(statementType, statement))
	payloadSum := sha256.Sum256(statement)
	body := fmt.Sprintf(`{"apiVersion":"0.0.1","kind":"dsse","spec":{"envelopeHash":{"algorithm":"sha256","value":"%x"},"payloadHash":{"algorithm":"sha256","value":"%x"},"signatures":[{"signature":%q,"verifier":%q}]}}`,
		sha256.Sum256([]byte("the envelope")), payloadSum, b64(signed), b64(pemOf(who.certificate)))
	timestamp, err := l.TimestampResponse(signed)
	must(l.tb, err)
	return map[string]any{
		"mediaType": bundleMediaType,
		"verificationMaterial": map[string]any{
			"certificate":               map[string]any{"rawBytes": who.certificate.Raw},
			"tlogEntries":               []any{l.entry("dsse", []byte(body), who.logged)},
			"timestampVerificationData": map[string]any{"rfc3161Timestamps": []any{map[string]any{"signedTimestamp": timestamp}}},
		},
		"dsseEnvelope": envelope(statementType, statement, signed),
	}
}

// entry is an entry of the transparency log with promise and proof.
func (l *lab) entry(kind string, body []byte, at time.Time) map[string]any {
	l.tb.Helper()
	id, err := l.RekorLogID()
	must(l.tb, err)
	raw, err := hex.DecodeString(id)
	must(l.tb, err)
	promise, err := l.RekorSignPayload(tlog.RekorPayload{Body: b64(body), IntegratedTime: at.Unix(), LogIndex: 9, LogID: id})
	must(l.tb, err)
	proof, err := l.GetInclusionProof(body)
	must(l.tb, err)
	rootHash, err := hex.DecodeString(*proof.RootHash)
	must(l.tb, err)
	return map[string]any{
		"logIndex": "9", "logId": map[string]any{"keyId": raw}, "kindVersion": map[string]any{"kind": kind, "version": "0.0.1"},
		"integratedTime": fmt.Sprint(at.Unix()), "inclusionPromise": map[string]any{"signedEntryTimestamp": promise},
		"inclusionProof": map[string]any{
			"logIndex": fmt.Sprint(*proof.LogIndex), "rootHash": rootHash, "treeSize": fmt.Sprint(*proof.TreeSize), "checkpoint": map[string]any{"envelope": *proof.Checkpoint},
		},
		"canonicalizedBody": body,
	}
}

// legacyByKey and bundleByKey sign with a key: no certificate, no log.
func legacyByKey(tb testing.TB, key crypto.Signer, payload []byte) layer {
	tb.Helper()
	return layer{payload: payload, annotations: map[string]string{signatureAnnotation: b64(signWith(tb, key, payload))}}
}

func bundleByKey(tb testing.TB, key crypto.Signer, statement []byte) map[string]any {
	tb.Helper()
	const statementType = "application/vnd.in-toto+json"
	return map[string]any{
		"mediaType":            bundleMediaType,
		"verificationMaterial": map[string]any{"publicKey": map[string]any{"hint": "any"}},
		"dsseEnvelope":         envelope(statementType, statement, signWith(tb, key, envelopeContent(statementType, statement))),
	}
}

func envelope(kind string, content, signed []byte) map[string]any {
	return map[string]any{"payload": content, "payloadType": kind, "signatures": []any{map[string]any{"sig": signed}}}
}

// envelopeContent is what the signature of an envelope is made over.
func envelopeContent(kind string, content []byte) []byte {
	return fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(kind), kind, len(content), content)
}

func newKey(tb testing.TB) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(tb, err)
	return key
}

// signWith hashes with SHA-256, which cosign takes by default for all keys that need a hash but P-384 and P-521.
func signWith(tb testing.TB, key crypto.Signer, content []byte) []byte {
	tb.Helper()
	sum := sha256.Sum256(content)
	signed, err := key.Sign(rand.Reader, sum[:], crypto.SHA256)
	must(tb, err)
	return signed
}

func pemOf(certificate *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw})
}

func publicPEM(tb testing.TB, key crypto.PublicKey) []byte {
	tb.Helper()
	raw, err := x509.MarshalPKIXPublicKey(key)
	must(tb, err)
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: raw})
}

func logID(tb testing.TB, key crypto.PublicKey) []byte {
	tb.Helper()
	raw, err := x509.MarshalPKIXPublicKey(key)
	must(tb, err)
	sum := sha256.Sum256(raw)
	return sum[:]
}

func b64(raw []byte) string { return base64.StdEncoding.EncodeToString(raw) }

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// bundleOfNewLog signs a statement that is logged in the second version of the transparency log, which knows no times: the timestamp has to be there.
func (l *lab) bundleOfNewLog(subject string, statement []byte, changes ...func(*protobundle.VerificationMaterial)) json.RawMessage {
	l.tb.Helper()
	entity, err := l.AttestHashedRekordV2(subject, goodIssuer, statement)
	must(l.tb, err)
	content, err := entity.VerificationContent()
	must(l.tb, err)
	signed, err := entity.SignatureContent()
	must(l.tb, err)
	entries, err := entity.TlogEntries()
	must(l.tb, err)
	timestamps, err := entity.Timestamps()
	must(l.tb, err)
	material := &protobundle.VerificationMaterial{
		Content:                   &protobundle.VerificationMaterial_Certificate{Certificate: &protocommon.X509Certificate{RawBytes: content.Certificate().Raw}},
		TlogEntries:               []*protorekor.TransparencyLogEntry{entries[0].TransparencyLogEntry()},
		TimestampVerificationData: &protobundle.TimestampVerificationData{Rfc3161Timestamps: []*protocommon.RFC3161SignedTimestamp{{SignedTimestamp: timestamps[0]}}},
	}
	for _, change := range changes {
		change(material)
	}
	raw, err := protojson.Marshal(&protobundle.Bundle{MediaType: bundleMediaType, VerificationMaterial: material, Content: &protobundle.Bundle_DsseEnvelope{
		DsseEnvelope: &protodsse.Envelope{
			Payload: statement, PayloadType: signed.EnvelopeContent().RawEnvelope().PayloadType, Signatures: []*protodsse.Signature{{Sig: signed.Signature()}},
		},
	}})
	must(l.tb, err)
	return raw
}

// ofVirtualCA trusts the certificates of the library's own test authority, which has no certificate log.
func (l *lab) ofVirtualCA(a *authorities) {
	a.issuers, a.certLogs = l.FulcioCertificateAuthorities(), nil
}
