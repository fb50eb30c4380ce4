package artifact

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/registry"
)

// word is a verifier that trusts signatures which consist of it.
type word string

func (w word) ID() string { return string(w) }

func (w word) Verify(ctx context.Context, target oras.ReadOnlyGraphTarget, subject ocispec.Descriptor) (Verification, error) {
	found, err := registry.Referrers(ctx, target, subject, bundleMediaType)
	if err != nil {
		return Verification{}, err
	}
	if tagged, err := target.Resolve(ctx, signatureTag(subject.Digest)); err == nil {
		found = append(found, tagged)
	}
	for _, signature := range found {
		parts, err := content.Successors(ctx, target, signature)
		if err != nil {
			return Verification{}, err
		}
		for _, part := range parts {
			if text, err := content.FetchAll(ctx, target, part); err == nil && string(text) == string(w) {
				return Verification{Key: string(w)}, nil
			}
		}
	}
	return Verification{}, fmt.Errorf("%d signatures, none of %s", len(found), w)
}

// signTag signs as older versions of cosign do, signReferrer as newer ones.
func signTag(t *testing.T, h *hub, subject ocispec.Descriptor, text string) {
	t.Helper()
	h.tag(t, signatureTag(subject.Digest), ocispec.MediaTypeImageManifest, image(h.push(t, ocispec.MediaTypeImageConfig, []byte("{}")), h.push(t, "application/signature", []byte(text))))
}

func signReferrer(t *testing.T, h *hub, subject ocispec.Descriptor, text string) {
	t.Helper()
	manifest := image(h.push(t, ocispec.MediaTypeEmptyJSON, []byte("{}")), h.push(t, bundleMediaType, []byte(text)))
	manifest.ArtifactType, manifest.Subject = bundleMediaType, &subject
	h.tag(t, "any-"+text, ocispec.MediaTypeImageManifest, manifest)
}

// signed publishes a release and signs it.
func signed(t *testing.T, h *hub, sign func(*testing.T, *hub, ocispec.Descriptor, string), text string) string {
	t.Helper()
	digest := h.publish(t, "latest", release(t, "v2.9.4"))
	subject, err := h.backdoor.Resolve(t.Context(), digest)
	if err != nil {
		t.Fatal(err)
	}
	sign(t, h, subject, text)
	return digest
}

func formats() map[string]func(*testing.T, *hub, ocispec.Descriptor, string) {
	return map[string]func(*testing.T, *hub, ocispec.Descriptor, string){"tag": signTag, "referrer": signReferrer}
}

func TestVerification(t *testing.T) {
	for format, sign := range formats() {
		h := newHub(t)
		digest := signed(t, h, sign, "good")
		dir, source := t.TempDir(), h.source(t, "latest")
		store := newStore(t, dir)
		catalog := use(t, store, source, digest, word("good"))
		if catalog.Verification == nil || catalog.Verification.Key != "good" {
			t.Errorf("%s: verified by %v", format, catalog.Verification)
		}
		h.asked()
		use(t, store, source, digest, word("good"))
		if requests, _ := h.asked(); len(requests) != 0 {
			t.Errorf("%s: %v to open it again", format, requests)
		}
		h.CloseClientConnections()
		h.Close()
		if again := use(t, newStore(t, dir), source, digest, word("good")); again.Verification == nil || again.Verification.Key != "good" {
			t.Errorf("%s: verified by %v after a restart without registry", format, again.Verification)
		}
		if _, err := newStore(t, dir).Open(t.Context(), source, digest, word("other")); err == nil {
			t.Errorf("%s: verified by another key without registry", format)
		}
	}
}

func TestUnverifiedIsNeverUnpacked(t *testing.T) {
	for reason, publish := range map[string]func(h *hub) string{
		"unsigned":          func(h *hub) string { return h.publish(t, "latest", release(t, "v2.9.4")) },
		"signed by another": func(h *hub) string { return signed(t, h, signTag, "evil") },
		"signed by others":  func(h *hub) string { return signed(t, h, signReferrer, "evil") },
		"another is signed": func(h *hub) string {
			signed(t, h, signTag, "good")
			return h.publish(t, "latest", release(t, "v2.9.5"))
		},
	} {
		h := newHub(t)
		digest := publish(h)
		h.asked()
		dir := t.TempDir()
		_, err := newStore(t, dir).Open(t.Context(), h.source(t, "latest"), digest, word("good"))
		if refused := new(VerificationError); !errors.As(err, &refused) || refused.Digest != digest || !strings.Contains(err.Error(), "none of good") {
			t.Errorf("%s: %v", reason, err)
		}
		if left := leftovers(t, dir); len(left) != 0 {
			t.Errorf("%s: unpacked %q", reason, left)
		}
		manifest, err := h.backdoor.Resolve(t.Context(), digest)
		if err != nil {
			t.Fatal(err)
		}
		layers, err := content.Successors(t.Context(), h.backdoor, manifest)
		if err != nil {
			t.Fatal(err)
		}
		requests, _ := h.asked()
		if slices.Contains(requests, "GET /v2/"+hubRepository+"/blobs/"+layers[1].Digest.String()) {
			t.Errorf("%s: the layer was fetched before the artifact was trusted", reason)
		}
	}
}

func TestVerificationIsAskedForEachVerifier(t *testing.T) {
	h := newHub(t)
	digest := signed(t, h, signTag, "good")
	store, source := newStore(t, t.TempDir()), h.source(t, "latest")
	use(t, store, source, digest, nil)
	if _, err := store.Open(t.Context(), source, digest, word("other")); err == nil {
		t.Error("what was opened without a verifier, or by another, passes")
	}
	if catalog := use(t, store, source, digest, word("good")); catalog.Verification == nil {
		t.Error("not verified")
	}
	if catalog := use(t, store, source, digest, nil); catalog.Verification != nil {
		t.Error("verified, though nobody asked for it")
	}
}

func TestSignedLater(t *testing.T) {
	for format, sign := range formats() {
		h := newHub(t)
		digest := signed(t, h, sign, "first")
		dir, source := t.TempDir(), h.source(t, "latest")
		store := newStore(t, dir)
		use(t, store, source, digest, word("first"))
		if _, err := store.Open(t.Context(), source, digest, word("second")); err == nil {
			t.Errorf("%s: trusted before it was signed", format)
		}
		signed(t, h, sign, "second")
		use(t, store, source, digest, word("second"))
		use(t, newStore(t, dir), source, digest, word("second"))
	}
}

func TestSignatureOfAnIndex(t *testing.T) {
	for format, sign := range formats() {
		h := newHub(t)
		inner := h.publish(t, "inner", release(t, "v2.9.4"))
		manifest, err := h.backdoor.Resolve(t.Context(), inner)
		if err != nil {
			t.Fatal(err)
		}
		index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{manifest}}
		subject := h.tag(t, "latest", ocispec.MediaTypeImageIndex, index)
		store := newStore(t, t.TempDir())
		if _, err := store.Open(t.Context(), h.source(t, "latest"), subject.Digest.String(), word("good")); err == nil {
			t.Errorf("%s: trusted before it was signed", format)
		}
		sign(t, h, subject, "good")
		use(t, store, h.source(t, "latest"), subject.Digest.String(), word("good"))
	}
}

func TestTamperedSignatureIsFetchedAgain(t *testing.T) {
	for format, sign := range formats() {
		h := newHub(t)
		digest := signed(t, h, sign, "good")
		dir := t.TempDir()
		use(t, newStore(t, dir), h.source(t, "latest"), digest, word("good"))
		paths, err := filepath.Glob(filepath.Join(folderOf(dir, digest), "blobs/sha256/*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			if err := replace(path, []byte("evil")); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := newStore(t, dir).Open(t.Context(), h.source(t, "latest"), digest, word("evil")); err == nil {
			t.Errorf("%s: trusted what was written to the cache", format)
		}
		use(t, newStore(t, dir), h.source(t, "latest"), digest, word("good"))
	}
}

// A registry without the referrers API lists them below a tag.
func TestReferrersByTag(t *testing.T) {
	h := newHub(t, on("/referrers/", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }))
	digest := h.publish(t, "latest", release(t, "v2.9.4"))
	subject, err := h.backdoor.Resolve(t.Context(), digest)
	if err != nil {
		t.Fatal(err)
	}
	signReferrer(t, h, subject, "good")
	signature, err := h.backdoor.Resolve(t.Context(), "any-good")
	if err != nil {
		t.Fatal(err)
	}
	signature.ArtifactType = bundleMediaType
	h.tag(t, strings.Replace(digest, ":", "-", 1), ocispec.MediaTypeImageIndex,
		ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{signature}})
	use(t, newStore(t, t.TempDir()), h.source(t, "latest"), digest, word("good"))
}

func TestOtherReferrersAreNotFetched(t *testing.T) {
	h := newHub(t)
	digest := signed(t, h, signReferrer, "good")
	subject, err := h.backdoor.Resolve(t.Context(), digest)
	if err != nil {
		t.Fatal(err)
	}
	bill := h.push(t, "application/spdx+json", []byte("a bill of materials"))
	manifest := image(h.push(t, "application/spdx+json", []byte("{}")), bill) // the registry takes the type from there
	manifest.Subject = &subject
	h.tag(t, "bill", ocispec.MediaTypeImageManifest, manifest)
	large := h.push(t, bundleMediaType, make([]byte, maxSignature+1))
	manifest.Config, manifest.Layers = h.push(t, bundleMediaType, []byte("{}")), []ocispec.Descriptor{large}
	h.tag(t, "large", ocispec.MediaTypeImageManifest, manifest)
	manifest.Layers = nil
	manifest.Config.Annotations = map[string]string{"comment": strings.Repeat("a", maxSignature)}
	wordy := h.tag(t, "wordy", ocispec.MediaTypeImageManifest, manifest)
	h.asked()
	use(t, newStore(t, t.TempDir()), h.source(t, "latest"), digest, word("good"))
	requests, _ := h.asked()
	for _, unwanted := range []ocispec.Descriptor{bill, large, wordy} {
		if slices.ContainsFunc(requests, func(r string) bool { return strings.HasSuffix(r, unwanted.Digest.String()) }) {
			t.Errorf("fetched %s of %d bytes", unwanted.MediaType, unwanted.Size)
		}
	}
}

func TestSignaturesOfABrokenRegistry(t *testing.T) {
	for _, path := range []string{"/referrers/", ".sig"} {
		h := newHub(t, on(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "600")
			w.WriteHeader(http.StatusServiceUnavailable)
		}))
		digest := h.publish(t, "latest", release(t, "v2.9.4"))
		_, err := newStore(t, t.TempDir()).Open(t.Context(), h.source(t, "latest"), digest, word("good"))
		refused, untrusted := new(RegistryError), new(VerificationError)
		if !errors.As(err, &refused) || errors.As(err, &untrusted) {
			t.Errorf("%s: %v, want what the registry answered", path, err)
		}
	}
}
