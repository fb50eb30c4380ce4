package artifact

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/registry/remote"
)

const hubRepository = "flux/distribution"

// hub is a registry on loopback that records what it is asked.
type hub struct {
	*httptest.Server
	// backdoor is the same registry without anything in between.
	backdoor *remote.Repository

	mu       sync.Mutex
	requests []string
	sent     int64
}

// newHub starts a registry. Requests pass through the layers from the first to the last.
func newHub(tb testing.TB, layers ...func(http.Handler) http.Handler) *hub {
	tb.Helper()
	h := newIdleHub(tb, layers...)
	h.Start()
	return h
}

// newIdleHub leaves it to the test to start the server, with TLS for example.
func newIdleHub(tb testing.TB, layers ...func(http.Handler) http.Handler) *hub {
	tb.Helper()
	inner := ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)), ggcr.WithReferrersSupport(true))
	back := httptest.NewServer(inner)
	tb.Cleanup(back.Close)
	repository, err := remote.NewRepository(strings.TrimPrefix(back.URL, "http://") + "/" + hubRepository)
	if err != nil {
		tb.Fatal(err)
	}
	repository.PlainHTTP = true
	repository.MaxMetadataBytes = 64 << 20
	h := &hub{backdoor: repository}
	handler := inner
	for i := range layers {
		handler = layers[len(layers)-1-i](handler)
	}
	h.Server = httptest.NewUnstartedServer(h.record(handler))
	h.Config.ErrorLog = log.New(io.Discard, "", 0)
	tb.Cleanup(func() {
		h.CloseClientConnections()
		h.Close()
	})
	return h
}

func (h *hub) record(inner http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		h.requests = append(h.requests, r.Method+" "+r.URL.Path)
		h.mu.Unlock()
		inner.ServeHTTP(&counter{w, h}, r)
	})
}

type counter struct {
	http.ResponseWriter
	hub *hub
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.hub.mu.Lock()
	c.hub.sent += int64(n)
	c.hub.mu.Unlock()
	return n, err
}

func (c *counter) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// asked returns the requests since it was called last, and the bytes that were sent in answers.
func (h *hub) asked() ([]string, int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	requests, sent := h.requests, h.sent
	h.requests, h.sent = nil, 0
	return requests, sent
}

func (h *hub) host() string {
	_, host, _ := strings.Cut(h.URL, "://")
	return host
}

func (h *hub) ref(tag string) Reference {
	return Reference{Registry: h.host(), Repository: hubRepository, Tag: tag}
}

func (h *hub) source(t *testing.T, tag string) *Source {
	t.Helper()
	return reach(t, h.ref(tag), Access{PlainHTTP: true})
}

func reach(tb testing.TB, ref Reference, access Access) *Source {
	tb.Helper()
	source, err := NewSource(ref, access)
	if err != nil {
		tb.Fatal(err)
	}
	return source
}

// push stores content that may be anything, and returns its descriptor.
func (h *hub) push(t *testing.T, mediaType string, data []byte) ocispec.Descriptor {
	t.Helper()
	desc := content.NewDescriptorFromBytes(mediaType, data)
	if err := h.backdoor.Push(t.Context(), desc, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	return desc
}

// tag stores a manifest under a tag, and returns its descriptor.
func (h *hub) tag(t *testing.T, tag, mediaType string, manifest any) ocispec.Descriptor {
	t.Helper()
	data := asJSON(t, manifest)
	desc := content.NewDescriptorFromBytes(mediaType, data)
	if err := h.backdoor.PushReference(t.Context(), desc, bytes.NewReader(data), tag); err != nil {
		t.Fatal(err)
	}
	return desc
}

// publish stores an archive as Flux does, and returns the digest of the artifact.
func (h *hub) publish(t *testing.T, tag string, data []byte) string {
	t.Helper()
	return h.tag(t, tag, ocispec.MediaTypeImageManifest, image(h.push(t, fluxConfigType, []byte("{}")), h.push(t, contentLayer, data))).Digest.String()
}

func image(config ocispec.Descriptor, layers ...ocispec.Descriptor) ocispec.Manifest {
	return ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: config, Layers: layers}
}

func asJSON(t *testing.T, value any) []byte {
	t.Helper()
	data, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// file is an entry of an archive: a file with its own name as content unless said otherwise.
func file(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeReg} }

// tarball packs entries in the order given. Files hold their own name, followed by zeroes up to their size.
func tarball(tb testing.TB, entries ...tar.Header) []byte {
	tb.Helper()
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	archive := tar.NewWriter(zip)
	for _, header := range entries {
		if header.Typeflag == tar.TypeReg {
			header.Mode = 0o644
			header.Size = max(header.Size, int64(len(header.Name)))
		}
		if err := archive.WriteHeader(&header); err != nil {
			tb.Fatal(err)
		}
		if header.Typeflag == tar.TypeReg {
			text := io.MultiReader(strings.NewReader(header.Name), zeroes{})
			if _, err := io.CopyN(archive, text, header.Size); err != nil {
				tb.Fatal(err)
			}
		}
	}
	if err := archive.Close(); err != nil {
		tb.Fatal(err)
	}
	if err := zip.Close(); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

type zeroes struct{}

func (zeroes) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// release is a distribution with one release.
func release(tb testing.TB, version string) []byte {
	tb.Helper()
	return tarball(tb, file("flux/"+version+"/rbac.yaml"), file("flux-images/VERSION"), file("flux-vex/v2.9.json"))
}

func newStore(tb testing.TB, dir string) *Store {
	tb.Helper()
	store, err := NewStore(dir, DefaultLimits())
	if err != nil {
		tb.Fatal(err)
	}
	return store
}

// digestOf is the digest of something that nobody has.
func digestOf(text string) string { return digest.FromString(text).String() }

// use opens an artifact and closes it when the test is over.
func use(t *testing.T, store *Store, source *Source, name string, verifier Verifier) *Catalog {
	t.Helper()
	catalog, err := store.Open(t.Context(), source, name, verifier)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = catalog.Close() })
	return catalog
}
