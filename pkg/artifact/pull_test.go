package artifact

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
)

func TestLayerIsSelectedByType(t *testing.T) {
	h := newHub(t)
	config := h.push(t, fluxConfigType, []byte("{}"))
	flux := h.push(t, contentLayer, release(t, "v2.9.4"))
	plain := h.push(t, imageLayer, release(t, "v2.9.3"))
	other := h.push(t, "application/vnd.example.readme", []byte("readme"))
	twin := h.push(t, contentLayer, release(t, "v2.9.2"))
	for _, tt := range []struct {
		reason string
		layers []ocispec.Descriptor
		want   string
	}{
		{"the only one", []ocispec.Descriptor{flux}, "v2.9.4"},
		{"not the first one", []ocispec.Descriptor{other, plain, flux}, "v2.9.4"},
		{"not the last one", []ocispec.Descriptor{flux, other}, "v2.9.4"},
		{"a plain image", []ocispec.Descriptor{plain}, "v2.9.3"},
		{"a plain image with more", []ocispec.Descriptor{plain, other}, ""},
		{"two of them", []ocispec.Descriptor{flux, twin}, ""},
		{"something else", []ocispec.Descriptor{other}, ""},
		{"none", nil, ""},
	} {
		digest := h.tag(t, "latest", ocispec.MediaTypeImageManifest, image(config, tt.layers...)).Digest.String()
		h.asked()
		catalog, err := newStore(t, t.TempDir()).Open(t.Context(), h.source(t, "latest"), digest, nil)
		requests, _ := h.asked()
		if tt.want == "" {
			if err == nil || !strings.Contains(err.Error(), contentLayer) || len(requests) != 1 {
				t.Errorf("%s: %v after %v, want an error with the type that is needed after the manifest was fetched", tt.reason, err, requests)
			}
			continue
		}
		if err != nil || !slices.Equal(catalog.Versions, []string{tt.want}) || len(requests) != 2 {
			t.Errorf("%s: %v, want %s with two requests, not %v", tt.reason, err, tt.want, requests)
			continue
		}
		_ = catalog.Close()
	}
}

func TestIndex(t *testing.T) {
	h := newHub(t)
	config := h.push(t, fluxConfigType, []byte("{}"))
	manifest := func(version string, platform *ocispec.Platform) ocispec.Descriptor {
		d := h.tag(t, version, ocispec.MediaTypeImageManifest, image(config, h.push(t, contentLayer, release(t, version))))
		d.Platform = platform
		return d
	}
	here, there := &ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH}, &ocispec.Platform{OS: "linux", Architecture: "s390x"}
	empty := h.tag(t, "empty", ocispec.MediaTypeImageManifest, image(config))
	nested := h.tag(t, "nested", ocispec.MediaTypeImageIndex, ocispec.Index{MediaType: ocispec.MediaTypeImageIndex})
	attestation := manifest("v9.9.9", &ocispec.Platform{OS: "unknown", Architecture: "unknown"})
	for _, tt := range []struct {
		reason    string
		manifests []ocispec.Descriptor
		want      string
	}{
		{"one", []ocispec.Descriptor{manifest("v2.9.4", nil)}, "v2.9.4"},
		{"an empty platform", []ocispec.Descriptor{manifest("v2.9.4", &ocispec.Platform{})}, "v2.9.4"},
		{"for this platform", []ocispec.Descriptor{manifest("v2.9.3", there), manifest("v2.9.4", here)}, "v2.9.4"},
		{"for any platform, before this one", []ocispec.Descriptor{manifest("v2.9.3", here), manifest("v2.9.4", nil)}, "v2.9.4"},
		{"the first with content", []ocispec.Descriptor{empty, attestation, nested, manifest("v2.9.4", nil)}, "v2.9.4"},
		{"for another platform", []ocispec.Descriptor{manifest("v2.9.4", there)}, ""},
		{"without content", []ocispec.Descriptor{empty, nested}, ""},
		{"none", nil, ""},
		{"far too many", slices.Repeat([]ocispec.Descriptor{empty}, maxPlatforms+1), ""},
	} {
		index := h.tag(t, "latest", ocispec.MediaTypeImageIndex, ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: tt.manifests})
		source := h.source(t, "latest")
		digest, err := source.Resolve(t.Context())
		if err != nil || digest != index.Digest.String() {
			t.Fatalf("%s: resolved to %q, %v", tt.reason, digest, err)
		}
		dir := t.TempDir()
		catalog, err := newStore(t, dir).Open(t.Context(), source, digest, nil)
		if tt.want == "" {
			if err == nil || !strings.Contains(err.Error(), "index") {
				t.Errorf("%s: %v, want an error about the index", tt.reason, err)
			}
			continue
		}
		if err != nil || !slices.Equal(catalog.Versions, []string{tt.want}) || catalog.Digest != digest {
			t.Errorf("%s: %v, want %s", tt.reason, err, tt.want)
			continue
		}
		h.asked()
		use(t, newStore(t, dir), source, digest, nil) // after a restart
		if requests, _ := h.asked(); len(requests) != 0 {
			t.Errorf("%s: %v after a restart", tt.reason, requests)
		}
	}
}

func TestAmbiguousManifestsAreRefused(t *testing.T) {
	h := newHub(t)
	layer := h.push(t, contentLayer, release(t, "v2.9.4"))
	inner := h.tag(t, "inner", ocispec.MediaTypeImageManifest, image(layer, layer))
	for _, tt := range []struct {
		reason, mediaType string
		manifest          map[string]any
	}{
		{"both", ocispec.MediaTypeImageManifest, map[string]any{"config": layer, "layers": []any{layer}, "manifests": []any{inner}}},
		{"both, as an index", ocispec.MediaTypeImageIndex, map[string]any{"config": layer, "layers": []any{layer}, "manifests": []any{inner}}},
		{"says something else", ocispec.MediaTypeImageManifest, map[string]any{"mediaType": ocispec.MediaTypeImageIndex, "config": layer, "layers": []any{layer}}},
	} {
		tt.manifest["schemaVersion"] = 2
		digest := h.tag(t, "latest", tt.mediaType, tt.manifest).Digest.String()
		if _, err := newStore(t, t.TempDir()).Open(t.Context(), h.source(t, "latest"), digest, nil); err == nil || !strings.Contains(err.Error(), "type") {
			t.Errorf("%s: %v", tt.reason, err)
		}
	}
}

// on replaces the answers for paths that contain a part.
func on(part string, answer http.HandlerFunc) func(http.Handler) http.Handler {
	return func(inner http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, part) {
				answer(w, r)
				return
			}
			inner.ServeHTTP(w, r)
		})
	}
}

func TestHostileRegistries(t *testing.T) {
	archive := release(t, "v2.9.4")
	send := func(mediaType string, size int, body []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", mediaType)
			w.Header().Set("Content-Length", strconv.Itoa(size))
			_, _ = w.Write(body)
		}
	}
	endless := func(mediaType string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", mediaType)
			for r.Method == http.MethodGet && r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		}
	}
	other := tarball(t, file("flux/v6.6.6/rbac.yaml"), file("flux-images/VERSION"))
	swapped := append(other, make([]byte, max(0, len(archive)-len(other)))...)[:len(archive)]
	for _, tt := range []struct {
		reason, path string
		answer       http.HandlerFunc
		want         string
	}{
		{"another archive", "/blobs/", send("application/octet-stream", len(swapped), swapped), "mismatch"},
		{"a longer archive", "/blobs/", send("application/octet-stream", len(archive)+1, append(slices.Clone(archive), 0)), "Content-Length"},
		{"a cut archive", "/blobs/", send("application/octet-stream", len(archive), archive[:len(archive)/2]), "EOF"},
		{"an archive without end", "/blobs/", endless("application/octet-stream"), "trailing data"},
		{"another manifest", "/manifests/", send(ocispec.MediaTypeImageManifest, 2, []byte("{}")), "mismatch"},
		{"a manifest without end", "/manifests/", endless(ocispec.MediaTypeImageManifest), "Content-Length"},
		{"a manifest with another digest", "/manifests/", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Docker-Content-Digest", someDigest)
			send(ocispec.MediaTypeImageManifest, 2, []byte("{}"))(w, r)
		}, "mismatch"},
		{"another page", "/blobs/", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) }, "10 redirects"},
	} {
		h := newHub(t, on(tt.path, tt.answer))
		digest := h.publish(t, "latest", archive)
		dir := t.TempDir()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		_, err := newStore(t, dir).Open(ctx, h.source(t, "latest"), digest, nil)
		cancel()
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want an error with %q", tt.reason, err, tt.want)
		}
		if left := leftovers(t, dir); len(left) != 0 {
			t.Errorf("%s: left %q behind", tt.reason, left)
		}
	}
}

// leftovers are half downloaded files and unpacked trees.
func leftovers(t *testing.T, dir string) []string {
	t.Helper()
	var found []string
	for _, pattern := range []string{"*/ingest/*", treesDir + "/*"} {
		paths, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, paths...)
	}
	return found
}

func TestManifestsThatAreRefused(t *testing.T) {
	h := newHub(t)
	manifest := image(h.push(t, fluxConfigType, []byte("{}")), h.push(t, contentLayer, release(t, "v2.9.4")))
	stranger := h.tag(t, "stranger", "text/html", manifest)
	manifest.Annotations = map[string]string{"comment": strings.Repeat("a", maxManifest)}
	huge := h.tag(t, "huge", ocispec.MediaTypeImageManifest, manifest)
	index := h.tag(t, "index", ocispec.MediaTypeImageIndex, ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{huge, stranger}})
	for _, tt := range []struct {
		reason  string
		subject ocispec.Descriptor
		want    string
	}{
		{"of no known type", stranger, "no manifest"},
		{"huge", huge, "at most 4194304"},
		{"an index of those", index, "no manifest in the index"},
	} {
		_, err := newStore(t, t.TempDir()).Open(t.Context(), h.source(t, "latest"), tt.subject.Digest.String(), nil)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want an error with %q", tt.reason, err, tt.want)
		}
	}
}

func TestAfterAFailureItIsFetched(t *testing.T) {
	h := newHub(t, failing(1, http.StatusForbidden, nil))
	digest := h.publish(t, "latest", release(t, "v2.9.4"))
	store, source := newStore(t, t.TempDir()), h.source(t, "latest")
	if _, err := store.Open(t.Context(), source, digest, nil); err == nil {
		t.Error("opened what is forbidden")
	}
	use(t, store, source, digest, nil)
}

func TestOverloadedRegistry(t *testing.T) {
	h := newHub(t, on("/blobs/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "300")
		w.WriteHeader(http.StatusTooManyRequests)
	}))
	digest := h.publish(t, "latest", release(t, "v2.9.4"))
	_, err := newStore(t, t.TempDir()).Open(t.Context(), h.source(t, "latest"), digest, nil)
	if refused := new(RegistryError); !errors.As(err, &refused) || refused.RetryAfter != 5*time.Minute {
		t.Errorf("%v", err)
	}
}

func TestSlowRegistry(t *testing.T) {
	archive := release(t, "v2.9.4")
	h := newHub(t, on("/blobs/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(archive)))
		ticks := time.NewTicker(10 * time.Millisecond)
		defer ticks.Stop()
		for i := range archive {
			select {
			case <-r.Context().Done():
				return
			case <-ticks.C:
				_, _ = w.Write(archive[i : i+1])
				_ = http.NewResponseController(w).Flush()
			}
		}
	}))
	digest := h.publish(t, "latest", archive)
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := newStore(t, dir).Open(ctx, h.source(t, "latest"), digest, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	if left := leftovers(t, dir); len(left) != 0 {
		t.Errorf("left %q behind", left)
	}
}

func TestLargeLayersAreNotFetched(t *testing.T) {
	h := newHub(t)
	layer := h.push(t, contentLayer, release(t, "v2.9.4"))
	layer.Size = 64<<20 + 1
	digest := h.tag(t, "latest", ocispec.MediaTypeImageManifest, image(h.push(t, fluxConfigType, []byte("{}")), layer)).Digest.String()
	_, err := newStore(t, t.TempDir()).Open(t.Context(), h.source(t, "latest"), digest, nil)
	requests, _ := h.asked()
	if err == nil || !strings.Contains(err.Error(), fmt.Sprint(layer.Size)) || len(requests) != 1 {
		t.Errorf("%v after %v", err, requests)
	}
}

// What is on disk may be exchanged between the check and its use.
func TestArchiveIsHashedWhileItIsUnpacked(t *testing.T) {
	h := newHub(t)
	archive := release(t, "v2.9.4")
	digest := h.publish(t, "latest", archive)
	dir := t.TempDir()
	p, err := newPuller(t.Context(), dir, h.source(t, "latest").repository, DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	subject, err := p.subject(t.Context(), digest)
	if err != nil {
		t.Fatal(err)
	}
	layer, err := p.layer(t.Context(), subject)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.fetch(t.Context(), layer); err != nil {
		t.Fatal(err)
	}
	evil := tarball(t, file("flux/v6.6.6/evil"))
	evil = comment(t, evil, len(archive)-len(evil)) // as long as what it replaces
	if err := replace(filepath.Join(dir, "blobs/sha256", layer.Digest.Encoded()), evil); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := p.unpack(t.Context(), layer, root); !errors.Is(err, content.ErrMismatchedDigest) {
		t.Errorf("%v, want an error about the digest", err)
	}
}

// comment makes a compressed file longer, by as many bytes, without a change of its content.
func comment(t *testing.T, packed []byte, by int) []byte {
	t.Helper()
	if by < 2 {
		t.Fatalf("cannot add %d bytes", by)
	}
	const header, commented = 10, 1 << 4
	longer := slices.Concat(packed[:header], bytes.Repeat([]byte("a"), by-1), []byte{0}, packed[header:])
	longer[3] |= commented
	return longer
}
