package artifact

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
)

// withoutReferrers is a registry of the time before there was an API for what refers to an artifact.
func withoutReferrers(inner http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/referrers/") {
			http.NotFound(w, r)
			return
		}
		inner.ServeHTTP(w, r)
	})
}

// From a registry to verified files: both halves of the room together, with real signatures.
func TestStoreOpensWhatIsSigned(t *testing.T) {
	lab := newLab(t)
	key := newKey(t)
	who := lab.certify(goodSubject, goodIssuer, time.Now().Add(-time.Minute))
	byKey := VerifyOptions{Keys: map[string][]byte{"cosign.pub": publicPEM(t, key.Public())}}
	byIdentity := VerifyOptions{Identities: []Identity{goodIdentity}, TrustedRoot: lab.trustedRoot()}
	for name, c := range map[string]struct {
		how     listing
		sign    func(a *signedArtifact)
		options VerifyOptions
		want    Verification
	}{
		"legacy, key":             {byAPI, func(a *signedArtifact) { a.attach(legacyByKey(t, key, a.payload())) }, byKey, Verification{Key: "cosign.pub"}},
		"legacy, identity":        {byTag, func(a *signedArtifact) { a.attach(lab.legacy(who, a.payload())) }, byIdentity, Verification{Issuer: goodIssuer, Subject: goodSubject}},
		"bundle by API, key":      {byAPI, func(a *signedArtifact) { a.refer(bundleByKey(t, key, a.statement()), nil) }, byKey, Verification{Key: "cosign.pub"}},
		"bundle by tag, key":      {byTag, func(a *signedArtifact) { a.refer(bundleByKey(t, key, a.statement()), nil) }, byKey, Verification{Key: "cosign.pub"}},
		"bundle by API, identity": {byAPI, func(a *signedArtifact) { a.refer(lab.bundle(who, a.statement()), nil) }, byIdentity, Verification{Issuer: goodIssuer, Subject: goodSubject}},
		"bundle by tag, identity": {byTag, func(a *signedArtifact) { a.refer(lab.bundle(who, a.statement()), nil) }, byIdentity, Verification{Issuer: goodIssuer, Subject: goodSubject}},
		"hundreds of signatures":  {byAPI, func(a *signedArtifact) { a.attach(append(manyLayers(t, a, 300), legacyByKey(t, key, a.payload()))...) }, byKey, Verification{Key: "cosign.pub"}},
		"not signed":              {byAPI, func(*signedArtifact) {}, byKey, Verification{}},
		"signed with another key": {byTag, func(a *signedArtifact) { a.refer(bundleByKey(t, newKey(t), a.statement()), nil) }, byKey, Verification{}},
		"attested to be vulnerable": {byAPI, func(a *signedArtifact) {
			a.refer(bundleByKey(t, key, statementOf(a.digest(), "https://cosign.sigstore.dev/attestation/vuln/v1")), nil)
		}, byKey, Verification{}},
	} {
		t.Run(name, func(t *testing.T) {
			var layers []func(http.Handler) http.Handler
			if c.how == byTag {
				layers = append(layers, withoutReferrers)
			}
			h := newHub(t, layers...)
			must(t, h.backdoor.SetReferrersCapability(bool(c.how)))
			digest := h.publish(t, "latest", release(t, "v2.9.4"))
			subject, err := h.backdoor.Resolve(t.Context(), digest)
			must(t, err)
			c.sign(&signedArtifact{Repository: h.backdoor, t: t, subject: subject})
			verifier, err := NewVerifier(c.options)
			must(t, err)

			dir := t.TempDir()
			catalog, err := newStore(t, dir).Open(t.Context(), h.source(t, "latest"), digest, verifier)
			if c.want == (Verification{}) {
				if refused := new(VerificationError); !errors.As(err, &refused) {
					t.Errorf("error is %v, want one about the signature", err)
				}
				if left := leftovers(t, dir); len(left) != 0 {
					t.Errorf("unpacked %q", left)
				}
				return
			}
			must(t, err)
			defer catalog.Close()
			if catalog.Verification == nil || *catalog.Verification != c.want {
				t.Errorf("verified by %+v, want %+v", catalog.Verification, c.want)
			}
		})
	}
}

func TestSignaturesThatNobodyCanCheckAreNotCalledWrong(t *testing.T) {
	lab := newLab(t)
	h := newHub(t)
	digest := h.publish(t, "latest", release(t, "v2.9.4"))
	subject, err := h.backdoor.Resolve(t.Context(), digest)
	must(t, err)
	signed := &signedArtifact{Repository: h.backdoor, t: t, subject: subject}
	signed.attach(lab.legacy(lab.certify(goodSubject, goodIssuer, time.Now().Add(-time.Minute)), signed.payload()))
	authorities := publish(t, lab.trustedRoot(), time.Now().AddDate(0, 0, 7))
	verifier, err := newVerifier(VerifyOptions{Identities: []Identity{goodIdentity}}, authorities.mirror)
	must(t, err)
	files := authorities.files
	authorities.files = nil

	dir := t.TempDir()
	store := newStore(t, dir)
	_, err = store.Open(t.Context(), h.source(t, "latest"), digest, verifier)
	unchecked, refused := new(UncheckedError), new(VerificationError)
	if !errors.As(err, &unchecked) || errors.As(err, &refused) || !strings.Contains(err.Error(), authorities.url) {
		t.Errorf("error is %v, want one about the authorities and none about the signature", err)
	}
	if left := leftovers(t, dir); len(left) != 0 {
		t.Errorf("unpacked %q", left)
	}

	authorities.files = files
	catalog, err := store.Open(t.Context(), h.source(t, "latest"), digest, verifier)
	must(t, err)
	must(t, catalog.Close())
}

// manyLayers are signatures of somebody else.
func manyLayers(t *testing.T, a *signedArtifact, n int) []layer {
	t.Helper()
	stranger := newKey(t)
	var layers []layer
	for range n {
		layers = append(layers, legacyByKey(t, stranger, a.payload()))
	}
	return layers
}
