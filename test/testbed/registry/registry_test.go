package registry_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/flux-autopilot/flux-operator/test/testbed/registry"
)

func serve(t *testing.T, opts registry.Options) *registry.Server {
	t.Helper()
	s, err := registry.Serve(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, s) })
	return s
}

// stop has a context of its own: that of the test has ended by the time clean-ups run.
func stop(t *testing.T, s *registry.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Second)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		t.Errorf("closing registry: %v", err)
	}
}

func reference(t *testing.T, s *registry.Server, path string) name.Reference {
	t.Helper()
	ref, err := name.ParseReference(s.Addr + "/" + path)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func randomImage(t *testing.T) v1.Image {
	t.Helper()
	img, err := random.Image(2048, 3)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func digestOf(t *testing.T, thing interface{ Digest() (v1.Hash, error) }) string {
	t.Helper()
	digest, err := thing.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest.String()
}

// pull fetches the image whole and checks every layer against its digest.
func pull(t *testing.T, ref name.Reference, options ...remote.Option) string {
	t.Helper()
	img, err := remote.Image(ref, append(options, remote.WithContext(t.Context()))...)
	if err != nil {
		t.Fatalf("pulling %s: %v", ref, err)
	}
	if err := validate.Image(img); err != nil {
		t.Errorf("validating %s: %v", ref, err)
	}
	return digestOf(t, img)
}

func TestPushAndPull(t *testing.T) {
	donor := httptest.NewTLSServer(nil)
	defer donor.Close()
	secured := &authn.Basic{Username: "user", Password: "secret"}

	cases := map[string]struct {
		opts   registry.Options
		client []remote.Option
	}{
		"Memory": {},
		"Disk":   {opts: registry.Options{Dir: filepath.Join(t.TempDir(), "new")}},
		"TLSWithPassword": {
			opts:   registry.Options{TLS: donor.TLS, User: "user", Password: "secret"},
			client: []remote.Option{remote.WithTransport(donor.Client().Transport), remote.WithAuth(secured)},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			s := serve(t, tc.opts)
			ref, img := reference(t, s, "team/app:v1"), randomImage(t)
			if err := remote.Write(ref, img, append(tc.client, remote.WithContext(t.Context()))...); err != nil {
				t.Fatalf("pushing: %v", err)
			}
			if diff := cmp.Diff(digestOf(t, img), pull(t, ref, tc.client...)); diff != "" {
				t.Errorf("digest (-pushed +pulled):\n%s", diff)
			}
		})
	}
}

func TestWrongPasswordIsRefused(t *testing.T) {
	s := serve(t, registry.Options{User: "user", Password: "secret"})
	ref := reference(t, s, "app:v1")
	clients := map[string]authn.Authenticator{
		"WrongPassword": &authn.Basic{Username: "user", Password: "guess"},
		"Anonymous":     authn.Anonymous,
	}
	for name, auth := range clients {
		t.Run(name, func(t *testing.T) {
			for verb, err := range map[string]error{
				"push": remote.Write(ref, randomImage(t), remote.WithAuth(auth), remote.WithContext(t.Context())),
				"pull": pullError(t, ref, auth),
			} {
				var refusal *transport.Error
				if !errors.As(err, &refusal) || refusal.StatusCode != http.StatusUnauthorized {
					t.Errorf("%s: error %v, want status 401", verb, err)
				}
			}
		})
	}
	if n := s.Requests().Under(http.MethodPut, "/v2/app/manifests/"); n != 0 {
		t.Errorf("%d manifests were offered without a password", n)
	}
}

func pullError(t *testing.T, ref name.Reference, auth authn.Authenticator) error {
	t.Helper()
	_, err := remote.Image(ref, remote.WithAuth(auth), remote.WithContext(t.Context()))
	return err
}

func TestRestartKeepsImages(t *testing.T) {
	dir := t.TempDir()
	first := serve(t, registry.Options{Dir: dir})
	old, img := randomImage(t), randomImage(t)
	index, err := random.Index(1024, 2, 3)
	if err != nil {
		t.Fatal(err)
	}
	write := func(path string, img v1.Image) {
		if err := remote.Write(reference(t, first, path), img); err != nil {
			t.Fatalf("pushing %s: %v", path, err)
		}
	}
	write("app:moving", old)
	write("app:moving", img)
	write("app:deleted", img)
	if err := remote.WriteIndex(reference(t, first, "app:multi"), index); err != nil {
		t.Fatalf("pushing index: %v", err)
	}
	if err := remote.Delete(reference(t, first, "app:deleted")); err != nil {
		t.Fatalf("deleting tag: %v", err)
	}
	stop(t, first)
	leftover := filepath.Join(dir, "blobs", "upload-123")
	if err := os.WriteFile(leftover, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}

	second := serve(t, registry.Options{Dir: dir})
	if diff := cmp.Diff(digestOf(t, img), pull(t, reference(t, second, "app:moving"))); diff != "" {
		t.Errorf("moved tag (-pushed +pulled):\n%s", diff)
	}
	pull(t, reference(t, second, "app@"+digestOf(t, old)))
	pulled, err := remote.Index(reference(t, second, "app:multi"))
	if err != nil {
		t.Fatalf("pulling index: %v", err)
	}
	if err := validate.Index(pulled); err != nil {
		t.Errorf("validating index: %v", err)
	}
	tags, err := remote.List(reference(t, second, "app:multi").Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"moving", "multi"}, tags); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
	if _, err := os.Stat(leftover); !os.IsNotExist(err) {
		t.Errorf("unfinished upload is still there: %v", err)
	}
}

func TestRequestsAreCounted(t *testing.T) {
	s := serve(t, registry.Options{})
	ref := reference(t, s, "team/app:v1")
	if err := remote.Write(ref, randomImage(t)); err != nil {
		t.Fatal(err)
	}
	pull(t, ref)
	pull(t, ref)

	counts := s.Requests()
	got := map[string]int{
		"manifest reads":  counts.Under(http.MethodGet, "/v2/team/app/manifests/v1"),
		"manifest writes": counts.Under(http.MethodPut, "/v2/team/app/manifests/"),
		"uploads":         counts.Under(http.MethodPost, "/v2/team/app/blobs/uploads/"),
		"other":           counts.Under("", "/v2/nobody"),
	}
	// Three layers and the configuration.
	want := map[string]int{"manifest reads": 2, "manifest writes": 1, "uploads": 4, "other": 0}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	if all := counts.Under("", "/"); all < 7 {
		t.Errorf("%d requests in all", all)
	}
}

func TestDamagedManifestIsNamed(t *testing.T) {
	dir := t.TempDir()
	stop(t, serve(t, registry.Options{Dir: dir}))
	if err := os.WriteFile(filepath.Join(dir, "manifests", "bad.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := registry.Serve(t.Context(), registry.Options{Dir: dir}); err == nil {
		t.Error("a registry started on a damaged folder")
	}
}

func TestBrokenDownloadGoesOn(t *testing.T) {
	s := serve(t, registry.Options{Dir: t.TempDir()})
	ref, img := reference(t, s, "app:v1"), randomImage(t)
	if err := remote.Write(ref, img); err != nil {
		t.Fatal(err)
	}
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	size, err := layers[0].Size()
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + s.Addr + "/v2/app/blobs/" + digestOf(t, layers[0])
	for _, ranges := range []string{"bytes=5-", "bytes=0-999999", ""} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Range", ranges)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK || resp.ContentLength != size {
			t.Errorf("range %q: status %d, %d of %d bytes", ranges, resp.StatusCode, resp.ContentLength, size)
		}
	}
}
