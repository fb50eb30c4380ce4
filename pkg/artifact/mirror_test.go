package artifact_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	imagev1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/flux-autopilot/flux-operator/pkg/artifact"
)

// testRegistry is a registry that counts, and refuses when it is told to.
type testRegistry struct {
	addr   string
	server *httptest.Server
	// uploads are the blobs that were taken, mounts the requests to take one over, writes all requests that may change something.
	uploads, mounts, writes atomic.Int64
	// refuse has requests that change something refused from the n-th on, counted down.
	refuse atomic.Int64
	// spoil changes what blobs hold; deny refuses writes to paths with this end.
	spoil atomic.Bool
	deny  atomic.Value
	// mount answers requests to take over a blob; nil has them answered as by a registry that does not know them.
	mount http.HandlerFunc
}

func newRegistry(t *testing.T, options ...ggcr.Option) *testRegistry {
	t.Helper()
	options = append([]ggcr.Option{ggcr.Logger(log.New(io.Discard, "", 0)), ggcr.WithReferrersSupport(true)}, options...)
	r := &testRegistry{}
	r.refuse.Store(math.MaxInt64)
	r.deny.Store("")
	inner := ggcr.New(options...)
	r.start(t, http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) { r.serve(inner, w, request) }))
	return r
}

func (r *testRegistry) start(t *testing.T, handler http.Handler) {
	t.Helper()
	r.server = httptest.NewServer(handler)
	t.Cleanup(r.server.Close)
	r.addr = strings.TrimPrefix(r.server.URL, "http://")
}

// restart keeps what is stored and changes the address. Requests whose client has given up, also those that are sent and not yet read, are
// over when it returns.
func (r *testRegistry) restart(t *testing.T) {
	t.Helper()
	r.server.Close()
	r.start(t, r.server.Config.Handler)
}

func (r *testRegistry) serve(inner http.Handler, w http.ResponseWriter, request *http.Request) {
	reads := request.Method == http.MethodGet || request.Method == http.MethodHead
	deny := r.deny.Load().(string)
	switch {
	case reads && r.spoil.Load() && request.Method == http.MethodGet && strings.Contains(request.URL.Path, "/blobs/"):
		answer := httptest.NewRecorder()
		inner.ServeHTTP(answer, request)
		body := answer.Body.Bytes()
		body[len(body)-1]++
		w.Header().Set("Content-Length", answer.Header().Get("Content-Length"))
		_, _ = w.Write(body)
		return
	case reads:
	case r.refuse.Add(-1) < 0, deny != "" && strings.HasSuffix(request.URL.Path, deny):
		http.Error(w, `{"errors":[{"code":"DENIED","message":"refused by the test"}]}`, http.StatusForbidden)
		return
	default:
		r.writes.Add(1)
		w = &counted{w, r, request}
		if r.mount != nil && request.URL.Query().Has("mount") {
			r.mount(w, request)
			return
		}
	}
	inner.ServeHTTP(w, request)
}

// counted counts a request by what it was answered with.
type counted struct {
	http.ResponseWriter
	registry *testRegistry
	request  *http.Request
}

func (c *counted) WriteHeader(status int) {
	c.ResponseWriter.WriteHeader(status)
	if !strings.Contains(c.request.URL.Path, "/blobs/") {
		return
	}
	if c.request.URL.Query().Has("mount") {
		c.registry.mounts.Add(1)
	}
	if c.request.Method == http.MethodPut && status == http.StatusCreated {
		c.registry.uploads.Add(1)
	}
}

func (r *testRegistry) access() artifact.Access { return artifact.Access{PlainHTTP: true} }

func (r *testRegistry) ref(t *testing.T, path string) artifact.Reference {
	t.Helper()
	ref, err := artifact.ParseReference("oci://" + r.addr + "/" + path)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// name is the same for the library that the tests make images with.
func (r *testRegistry) name(t *testing.T, path string) name.Reference {
	t.Helper()
	ref, err := name.ParseReference(r.addr + "/" + path)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// published is an image with everything that can belong to one.
type published struct {
	index imagev1.ImageIndex
	root  imagev1.Hash
	// child is the first image of the index.
	child imagev1.Hash
	// bundle refers to the index, sbom to the child, and statement to the sbom.
	bundle, sbom, statement imagev1.Hash
	// tags are signatures of the older format.
	tags map[string]imagev1.Hash
	// blobs counts everything.
	blobs int
}

// publish writes an index of two images, and what belongs to it.
func publish(t *testing.T, r *testRegistry, repository string) published {
	t.Helper()
	index, err := random.Index(3000, 2, 2)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(r.name(t, repository+":v1"), index); err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	root, child := describe(t, index), manifest.Manifests[0]
	p := published{index: index, root: root.Digest, child: child.Digest, tags: map[string]imagev1.Hash{}}
	bundle := write(t, r, repository, "", &root)
	sbom := write(t, r, repository, "", &child)
	statement := write(t, r, repository, "", &sbom)
	p.bundle, p.sbom, p.statement = bundle.Digest, sbom.Digest, statement.Digest
	for _, tag := range []string{legacyTag(root.Digest, ".sig"), legacyTag(child.Digest, ".att"), legacyTag(child.Digest, ".sbom")} {
		p.tags[tag] = write(t, r, repository, tag, nil).Digest
	}
	p.blobs = 1 + 2*(1+1+2) + 6*(1+1+1) // index, images with configuration and layers, attachments with configuration and layer
	return p
}

// write publishes a small image, by its digest where there is no tag.
func write(t *testing.T, r *testRegistry, repository, tag string, subject *imagev1.Descriptor) imagev1.Descriptor {
	t.Helper()
	image, err := random.Image(500, 1)
	if err != nil {
		t.Fatal(err)
	}
	image = mutate.MediaType(image, types.OCIManifestSchema1)
	if subject != nil {
		image = mutate.Subject(image, *subject).(imagev1.Image)
	}
	described := describe(t, image)
	path := repository + ":" + tag
	if tag == "" {
		path = repository + "@" + described.Digest.String()
	}
	if err := remote.Write(r.name(t, path), image); err != nil {
		t.Fatal(err)
	}
	return described
}

func describe(t *testing.T, thing partial.Describable) imagev1.Descriptor {
	t.Helper()
	described, err := partial.Descriptor(thing)
	if err != nil {
		t.Fatal(err)
	}
	return *described
}

func legacyTag(digest imagev1.Hash, end string) string { return "sha256-" + digest.Hex + end }

// check fails the test unless everything is in the repository.
func (p published) check(t *testing.T, r *testRegistry, repository string) {
	t.Helper()
	index, err := remote.Index(r.name(t, repository+":v1"))
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(index); err != nil {
		t.Errorf("the copy is damaged: %v", err)
	}
	if got := describe(t, index).Digest; got != p.root {
		t.Errorf("the digest was %s and is %s", p.root, got)
	}
	for subject, referrer := range map[imagev1.Hash]imagev1.Hash{p.root: p.bundle, p.child: p.sbom, p.sbom: p.statement} {
		if diff := cmp.Diff([]string{referrer.String()}, referrers(t, r, repository, subject)); diff != "" {
			t.Errorf("what refers to %s (-want +got):\n%s", subject, diff)
		}
		if image, err := remote.Image(r.name(t, repository+"@"+referrer.String())); err != nil || validate.Image(image) != nil {
			t.Errorf("what refers to %s cannot be read: %v", subject, err)
		}
	}
	for tag, want := range p.tags {
		image, err := remote.Image(r.name(t, repository+":"+tag))
		if err != nil || describe(t, image).Digest != want || validate.Image(image) != nil {
			t.Errorf("tag %s is wrong or missing: %v", tag, err)
		}
	}
}

// referrers are the digests of what refers to a manifest.
func referrers(t *testing.T, r *testRegistry, repository string, subject imagev1.Hash) []string {
	t.Helper()
	lister, err := r.access().Repository(r.ref(t, repository))
	if err != nil {
		t.Fatal(err)
	}
	found, err := lister.Predecessors(t.Context(), ocispec.Descriptor{Digest: digest.Digest(subject.String()), MediaType: ocispec.MediaTypeImageIndex})
	if err != nil {
		t.Fatal(err)
	}
	var digests []string
	for _, one := range found {
		digests = append(digests, one.Digest.String())
	}
	return digests
}

func plain() *artifact.Mirror {
	return &artifact.Mirror{Source: artifact.Access{PlainHTTP: true}, Destination: artifact.Access{PlainHTTP: true}}
}

func plan(t *testing.T, m *artifact.Mirror, from, to artifact.Reference) *artifact.Plan {
	t.Helper()
	planned, err := m.Plan(t.Context(), from, to)
	if err != nil {
		t.Fatal(err)
	}
	return planned
}

func TestMirrorCopiesWhatBelongsTogether(t *testing.T) {
	for name, options := range map[string][]ggcr.Option{
		"Referrers":   nil,
		"NoReferrers": {ggcr.WithReferrersSupport(false)}, // an index with a tag stands for them
	} {
		t.Run(name, func(t *testing.T) {
			source, target := newRegistry(t), newRegistry(t, options...)
			p := publish(t, source, "fluxcd/source-controller")
			var arrived artifact.Amount
			var mu sync.Mutex
			m := plain()
			m.Progress = func(a artifact.Amount) {
				mu.Lock()
				defer mu.Unlock()
				arrived.Blobs += a.Blobs
				arrived.Bytes += a.Bytes
			}
			from, to := source.ref(t, "fluxcd/source-controller:v1"), target.ref(t, "mirror/source-controller:v1")
			planned := plan(t, m, from, to)
			if planned.Digest != p.root.String() || planned.Attached != 6 || planned.Total.Blobs != p.blobs || planned.Missing != planned.Total {
				t.Errorf("planned are %+v, published %d blobs", planned, p.blobs)
			}
			if n := target.writes.Load(); n != 0 {
				t.Errorf("planning made %d requests that change something", n)
			}
			if err := m.Copy(t.Context(), planned); err != nil {
				t.Fatal(err)
			}
			p.check(t, target, "mirror/source-controller")
			if diff := cmp.Diff(planned.Total, arrived); diff != "" {
				t.Errorf("progress (-planned +told):\n%s", diff)
			}

			again := plan(t, m, from, to)
			if again.Missing != (artifact.Amount{}) || again.Total != planned.Total {
				t.Errorf("after the copy, missing are %+v", again.Missing)
			}
			target.writes.Store(0)
			if err := m.Copy(t.Context(), again); err != nil || target.writes.Load() != 0 {
				t.Errorf("copying again gives %v and %d requests that change something", err, target.writes.Load())
			}
		})
	}
}

// TestMirrorGoesOn: wherever a copy ends, the next one uploads only the rest and leaves nothing out.
func TestMirrorGoesOn(t *testing.T) {
	for name, options := range map[string][]ggcr.Option{"Referrers": nil, "NoReferrers": {ggcr.WithReferrersSupport(false)}} {
		t.Run(name, func(t *testing.T) {
			source := newRegistry(t)
			p := publish(t, source, "app")
			layers := int64(p.blobs - 1 - 2 - 6) // without the manifests
			from := source.ref(t, "app:v1")
			for writes := int64(0); ; writes += 3 {
				target := newRegistry(t, options...)
				target.refuse.Store(writes)
				m := plain()
				err := m.Copy(t.Context(), plan(t, m, from, target.ref(t, "copy:v1")))
				if err == nil {
					if writes < 2*layers {
						t.Errorf("%d writes were enough for %d layers", writes, layers)
					}
					return
				}
				target.restart(t)
				before := target.uploads.Load()
				target.refuse.Store(math.MaxInt64)
				if err := m.Copy(t.Context(), plan(t, m, from, target.ref(t, "copy:v1"))); err != nil {
					t.Fatalf("after %d writes: %v", writes, err)
				}
				p.check(t, target, "copy")
				if all := target.uploads.Load(); all != layers {
					t.Errorf("after %d writes: %d uploads of %d layers, %d of them in the first run", writes, all, layers, before)
				}
			}
		})
	}
}

// TestMirrorStops: the end of the context ends a copy, which goes on later.
func TestMirrorStops(t *testing.T) {
	source, target := newRegistry(t), newRegistry(t)
	p := publish(t, source, "app")
	ctx, cancel := context.WithCancel(t.Context())
	m := plain()
	m.Concurrency = 1
	m.Progress = func(artifact.Amount) { cancel() }
	planned := plan(t, m, source.ref(t, "app:v1"), target.ref(t, "copy:v1"))
	if err := m.Copy(ctx, planned); !errors.Is(err, context.Canceled) {
		t.Fatalf("the end of the context gives %v", err)
	}
	m.Progress = nil
	if err := m.Copy(t.Context(), planned); err != nil {
		t.Fatal(err)
	}
	p.check(t, target, "copy")
}

// TestMirrorRefusesOtherContent: a source that sends something else than the digest says leaves no trace at the destination.
func TestMirrorRefusesOtherContent(t *testing.T) {
	source, target := newRegistry(t), newRegistry(t)
	publish(t, source, "app")
	m := plain()
	planned := plan(t, m, source.ref(t, "app:v1"), target.ref(t, "copy:v1"))
	source.spoil.Store(true)
	err := m.Copy(t.Context(), planned)
	if err == nil || !strings.Contains(err.Error(), "something else") || !strings.Contains(err.Error(), "sha256:") {
		t.Errorf("other content gives %v", err)
	}
	if n := target.uploads.Load(); n != 0 {
		t.Errorf("%d uploads reached the registry", n)
	}
	if again := plan(t, m, planned.From, planned.To); again.Missing != planned.Total {
		t.Errorf("at the destination are %+v of %+v", again.Missing, planned.Total)
	}
}

// TestMirrorKeepsTheTagForTheEnd: whoever watches the destination never sees an artifact without its signatures.
func TestMirrorKeepsTheTagForTheEnd(t *testing.T) {
	source, target := newRegistry(t), newRegistry(t)
	p := publish(t, source, "app")
	target.deny.Store("/manifests/" + p.bundle.String())
	m := plain()
	if err := m.Copy(t.Context(), plan(t, m, source.ref(t, "app:v1"), target.ref(t, "copy:v1"))); err == nil {
		t.Fatal("a refused signature is no error")
	}
	if _, err := remote.Head(target.name(t, "copy:v1")); err == nil {
		t.Error("the tag is there before the signature")
	}
}

// TestMirrorKeepsOwnSignatures: what was signed at the destination stays signed, and signatures that come later are copied.
func TestMirrorKeepsOwnSignatures(t *testing.T) {
	source, target := newRegistry(t), newRegistry(t)
	p := publish(t, source, "app")
	from, to := source.ref(t, "app:v1"), target.ref(t, "copy:v1")
	m := plain()
	if err := m.Copy(t.Context(), plan(t, m, from, to)); err != nil {
		t.Fatal(err)
	}
	tag := legacyTag(p.root, ".sig")
	signed, err := remote.Image(source.name(t, "app:"+tag))
	if err != nil {
		t.Fatal(err)
	}
	layer, err := random.Layer(100, types.OCILayer)
	if err != nil {
		t.Fatal(err)
	}
	twice, err := mutate.AppendLayers(signed, layer)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(source.name(t, "app:"+tag), twice); err != nil {
		t.Fatal(err)
	}
	if err := m.Copy(t.Context(), plan(t, m, from, to)); err != nil {
		t.Fatal(err)
	}
	if got, err := remote.Image(target.name(t, "copy:"+tag)); err != nil || describe(t, got).Digest != describe(t, twice).Digest {
		t.Errorf("a later signature does not arrive: %v", err)
	}

	own := write(t, target, "copy", tag, nil)
	planned := plan(t, m, from, to)
	if err := m.Copy(t.Context(), planned); err != nil {
		t.Fatal(err)
	}
	if got, err := remote.Image(target.name(t, "copy:"+tag)); err != nil || describe(t, got).Digest != own.Digest {
		t.Errorf("the destination's own signature is gone: %v", err)
	}
	if diff := cmp.Diff([]string{tag}, planned.Kept); diff != "" {
		t.Errorf("kept tags (-want +got):\n%s", diff)
	}
}

// TestMirrorMovesTags: a release that was built again takes over the tag.
func TestMirrorMovesTags(t *testing.T) {
	source, target := newRegistry(t), newRegistry(t)
	for range 2 {
		image := write(t, source, "app", "v1", nil)
		m := plain()
		if err := m.Copy(t.Context(), plan(t, m, source.ref(t, "app:v1"), target.ref(t, "copy:v1"))); err != nil {
			t.Fatal(err)
		}
		if got, err := remote.Image(target.name(t, "copy:v1")); err != nil || describe(t, got).Digest != image.Digest {
			t.Errorf("the tag stands for something else: %v", err)
		}
	}
}

// repositoryBlobs keeps apart what is in which repository, and takes blobs over from one into another.
type repositoryBlobs struct {
	mu    sync.Mutex
	blobs map[string][]byte
}

func blobKey(repository, digest string) string {
	return strings.TrimSuffix(repository, "/blobs") + "@" + digest
}

func (b *repositoryBlobs) get(key string) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if content, found := b.blobs[key]; found {
		return content, nil
	}
	return nil, ggcr.ErrNotFound
}

func (b *repositoryBlobs) put(key string, content []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.blobs[key] = content
}

func (b *repositoryBlobs) Get(_ context.Context, repository string, digest imagev1.Hash) (io.ReadCloser, error) {
	content, err := b.get(blobKey(repository, digest.String()))
	return io.NopCloser(bytes.NewReader(content)), err
}

func (b *repositoryBlobs) Stat(_ context.Context, repository string, digest imagev1.Hash) (int64, error) {
	content, err := b.get(blobKey(repository, digest.String()))
	return int64(len(content)), err
}

func (b *repositoryBlobs) Put(_ context.Context, repository string, digest imagev1.Hash, content io.ReadCloser) error {
	all, err := io.ReadAll(content)
	if err == nil {
		b.put(blobKey(repository, digest.String()), all)
	}
	return err
}

// mount answers a request to take a blob over.
func (b *repositoryBlobs) mount(w http.ResponseWriter, request *http.Request) {
	query := request.URL.Query()
	content, err := b.get(blobKey(query.Get("from"), query.Get("mount")))
	if err != nil {
		http.Error(w, `{"errors":[{"code":"BLOB_UNKNOWN"}]}`, http.StatusNotFound)
		return
	}
	repository := strings.TrimSuffix(strings.TrimPrefix(request.URL.Path, "/v2/"), "/blobs/uploads/")
	b.put(blobKey(repository, query.Get("mount")), content)
	w.Header().Set("Docker-Content-Digest", query.Get("mount"))
	w.WriteHeader(http.StatusCreated)
}

// TestMirrorMounts: what the registry has in another repository is not uploaded, where the registry agrees to that.
func TestMirrorMounts(t *testing.T) {
	blobs := &repositoryBlobs{blobs: map[string][]byte{}}
	server := newRegistry(t, ggcr.WithBlobHandler(blobs))
	p := publish(t, server, "app")
	layers := int64(p.blobs - 1 - 2 - 6)
	for name, tt := range map[string]struct {
		mount           http.HandlerFunc
		mounts, uploads int64
	}{
		"mounted":     {blobs.mount, layers, 0},
		"unsupported": {nil, layers, layers},
		"refused":     {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadRequest) }, layers, layers},
	} {
		server.mount = tt.mount
		server.uploads.Store(0)
		server.mounts.Store(0)
		m := plain()
		planned := plan(t, m, server.ref(t, "app@"+p.root.String()), server.ref(t, name+":v1"))
		if planned.Missing != planned.Total {
			t.Fatalf("%s: missing are %+v of %+v", name, planned.Missing, planned.Total)
		}
		var arrived artifact.Amount
		m.Concurrency = 1
		m.Progress = func(a artifact.Amount) { arrived.Blobs, arrived.Bytes = arrived.Blobs+a.Blobs, arrived.Bytes+a.Bytes }
		if err := m.Copy(t.Context(), planned); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		p.check(t, server, name)
		if mounts, uploads := server.mounts.Load(), server.uploads.Load(); mounts != tt.mounts || uploads != tt.uploads {
			t.Errorf("%s: %d mounts and %d uploads, want %d and %d", name, mounts, uploads, tt.mounts, tt.uploads)
		}
		if arrived != planned.Total {
			t.Errorf("%s: told are %+v of %+v", name, arrived, planned.Total)
		}
	}
}

// TestMirrorMountsWhatItCopied: layers that images share are uploaded once.
func TestMirrorMountsWhatItCopied(t *testing.T) {
	blobs := &repositoryBlobs{blobs: map[string][]byte{}}
	source, target := newRegistry(t), newRegistry(t, ggcr.WithBlobHandler(blobs))
	target.mount = blobs.mount
	p := publish(t, source, "app")
	if err := remote.WriteIndex(source.name(t, "other:v1"), p.index); err != nil {
		t.Fatal(err)
	}
	m := plain()
	for _, repository := range []string{"app", "other"} {
		target.uploads.Store(0)
		if err := m.Copy(t.Context(), plan(t, m, source.ref(t, repository+":v1"), target.ref(t, "copy/"+repository+":v1"))); err != nil {
			t.Fatal(err)
		}
	}
	if n := target.uploads.Load(); n != 0 {
		t.Errorf("%d shared layers were uploaded twice", n)
	}
}

func TestPlanFails(t *testing.T) {
	source, target := newRegistry(t), newRegistry(t)
	p := publish(t, source, "app")
	pinned := target.ref(t, "copy:v1")
	pinned.Digest = p.root.String()
	elsewhere := strings.Repeat("0", 64)
	for _, tt := range []struct {
		reason   string
		from, to artifact.Reference
		want     string
	}{
		{"no such tag", source.ref(t, "app:v2"), target.ref(t, "copy:v2"), "app:v2"},
		{"no such digest", source.ref(t, "app:v1@sha256:"+elsewhere), target.ref(t, "copy:v1"), elsewhere},
		{"a destination with a digest", source.ref(t, "app:v1"), pinned, "remove the digest"},
	} {
		if _, err := plain().Plan(t.Context(), tt.from, tt.to); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want an error with %q", tt.reason, err, tt.want)
		}
	}
}
