package artifact

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestResolve(t *testing.T) {
	h := newHub(t)
	want := h.publish(t, "latest", release(t, "v2.9.4"))
	h.asked()

	source := h.source(t, "latest")
	for range 2 {
		got, err := source.Resolve(t.Context())
		if err != nil || got != want {
			t.Fatalf("resolved to %q, %v, want %q", got, err, want)
		}
		requests, sent := h.asked()
		if !slices.Equal(requests, []string{"HEAD /v2/flux/distribution/manifests/latest"}) || sent != 0 {
			t.Errorf("%d bytes for %v", sent, requests)
		}
	}
}

func TestResolveFollowsTheTag(t *testing.T) {
	h := newHub(t)
	source := h.source(t, "latest")
	for _, version := range []string{"v2.9.3", "v2.9.4"} {
		want := h.publish(t, "latest", release(t, version))
		if got, err := source.Resolve(t.Context()); err != nil || got != want {
			t.Errorf("%s: resolved to %q, %v, want %q", version, got, err, want)
		}
	}
}

func TestResolveIndex(t *testing.T) {
	h := newHub(t)
	h.publish(t, "amd64", release(t, "v2.9.4"))
	index := h.tag(t, "latest", ocispec.MediaTypeImageIndex, ocispec.Index{MediaType: ocispec.MediaTypeImageIndex})
	if got, err := h.source(t, "latest").Resolve(t.Context()); err != nil || got != index.Digest.String() {
		t.Errorf("resolved to %q, %v, want the digest of the index, %q", got, err, index.Digest)
	}
}

func TestResolveDigestWithoutRequest(t *testing.T) {
	h := newHub(t)
	ref := h.ref("latest")
	ref.Digest = someDigest
	got, err := reach(t, ref, Access{PlainHTTP: true}).Resolve(t.Context())
	if requests, _ := h.asked(); err != nil || got != someDigest || len(requests) != 0 {
		t.Errorf("resolved to %q, %v, with %v", got, err, requests)
	}
}

func TestResolveWithoutHead(t *testing.T) {
	for reason, quirk := range map[string]func(http.ResponseWriter){
		"405":       func(w http.ResponseWriter) { w.WriteHeader(http.StatusMethodNotAllowed) },
		"501":       func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotImplemented) },
		"no digest": func(w http.ResponseWriter) { w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest) },
		"no type":   func(w http.ResponseWriter) { w.Header().Set("Content-Type", "") },
	} {
		h := newHub(t, func(inner http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodHead {
					quirk(w)
					return
				}
				inner.ServeHTTP(w, r)
			})
		})
		want := h.publish(t, "latest", release(t, "v2.9.4"))
		got, err := h.source(t, "latest").Resolve(t.Context())
		requests, _ := h.asked()
		if err != nil || got != want || len(requests) != 2 {
			t.Errorf("%s: resolved to %q, %v, want %q after two requests, not %v", reason, got, err, want, requests)
		}
	}
}

func TestResolveFails(t *testing.T) {
	answer := func(status int) func(http.Handler) http.Handler {
		return func(http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
		}
	}
	for _, tt := range []struct {
		reason string
		layers []func(http.Handler) http.Handler
		want   string
	}{
		{"an unknown tag", nil, "not found"},
		{"forbidden", []func(http.Handler) http.Handler{answer(http.StatusForbidden)}, "403"},
		{"unauthorized", []func(http.Handler) http.Handler{answer(http.StatusUnauthorized)}, "401"},
		{"a teapot", []func(http.Handler) http.Handler{answer(http.StatusTeapot)}, "418"},
	} {
		h := newHub(t, tt.layers...)
		_, err := h.source(t, "absent").Resolve(t.Context())
		requests, _ := h.asked()
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), h.ref("absent").String()) {
			t.Errorf("%s: %v, want an error with %q and the reference", tt.reason, err, tt.want)
		}
		if len(requests) != 1 {
			t.Errorf("%s: %v, want one request", tt.reason, requests)
		}
		if refused := new(RegistryError); errors.As(err, &refused) {
			t.Errorf("%s: %v passes for one that goes away by itself", tt.reason, err)
		}
	}
}

func TestResolveRefusesOtherDigests(t *testing.T) {
	h := newHub(t, func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
			w.Header().Set("Content-Length", "2")
			w.Header().Set("Docker-Content-Digest", "sha512:"+strings.Repeat("a", 128))
		})
	})
	if got, err := h.source(t, "latest").Resolve(t.Context()); err == nil {
		t.Errorf("resolved to %q", got)
	}
}
