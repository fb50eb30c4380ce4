package registry

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"sync"
)

const (
	// maxManifestBytes is the size up to which the OCI distribution specification asks registries to accept manifests.
	maxManifestBytes = 4 << 20
	// uploadPattern names unfinished files, the blob handler's and ours.
	uploadPattern = "upload-*"
)

// record is one manifest on disk, as it was pushed: by tag or by digest.
type record struct {
	Path      string `json:"path"`
	MediaType string `json:"mediaType"`
	Manifest  []byte `json:"manifest"`
}

// manifestStore writes manifests to disk before they are acknowledged and tells them to a fresh registry at the
// next start, because the registry itself keeps them in memory only.
type manifestStore struct {
	dir   string
	inner http.Handler
	// mu keeps disk and memory in the same order when one tag is pushed twice at the same time.
	mu sync.Mutex
}

func newManifestStore(ctx context.Context, dir string, inner http.Handler) (*manifestStore, error) {
	s := &manifestStore{dir: dir, inner: inner}
	records, err := s.load()
	if err != nil {
		return nil, err
	}
	return s, s.replay(ctx, records)
}

// ServeHTTP keeps what a successful manifest upload or deletion changes; everything else passes untouched.
func (s *manifestStore) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	changes := r.Method == http.MethodPut || r.Method == http.MethodDelete
	if !changes || path.Base(path.Dir(r.URL.Path)) != "manifests" {
		s.inner.ServeHTTP(w, r)
		return
	}

	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxManifestBytes))
	if err != nil {
		http.Error(w, "reading manifest: "+err.Error(), http.StatusBadRequest)
		return
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	answer := s.ask(r, body)
	if answer.status < http.StatusMultipleChoices {
		if err := s.keep(r, body); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
	}
	answer.writeTo(w)
}

// ask lets the registry handle the request and holds its answer back.
func (s *manifestStore) ask(r *http.Request, body []byte) *heldAnswer {
	r = r.Clone(r.Context())
	r.Body = io.NopCloser(bytes.NewReader(body))
	answer := &heldAnswer{header: http.Header{}, status: http.StatusOK}
	s.inner.ServeHTTP(answer, r)
	return answer
}

func (s *manifestStore) keep(r *http.Request, body []byte) error {
	if r.Method == http.MethodDelete {
		if err := os.Remove(s.file(r.URL.Path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing manifest: %w", err)
		}
		return nil
	}

	// A tag that moves on must leave its old manifest reachable by digest, so the digest is kept as well as the tag.
	for _, name := range []string{r.URL.Path, digestPath(r.URL.Path, body)} {
		if err := s.write(record{Path: name, MediaType: r.Header.Get("Content-Type"), Manifest: body}); err != nil {
			return fmt.Errorf("writing manifest %q: %w", name, err)
		}
	}
	return nil
}

// digestPath is the path of the same manifest by its digest.
func digestPath(name string, manifest []byte) string {
	sum := sha256.Sum256(manifest)
	return path.Dir(name) + "/sha256:" + hex.EncodeToString(sum[:])
}

// file is a name that no repository or tag can turn into a path of its own.
func (s *manifestStore) file(name string) string {
	sum := sha256.Sum256([]byte(name))
	return filepath.Join(s.dir, hex.EncodeToString(sum[:])+".json")
}

func (s *manifestStore) write(r record) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(s.dir, uploadPattern)
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	if err := errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), s.file(r.Path))
}

func (s *manifestStore) load() ([]record, error) {
	files, err := filepath.Glob(filepath.Join(s.dir, "*.json"))
	if err != nil {
		return nil, fmt.Errorf("listing manifests in %q: %w", s.dir, err)
	}
	records := make([]record, 0, len(files))
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading manifest: %w", err)
		}
		var r record
		if err := json.Unmarshal(data, &r); err != nil {
			return nil, fmt.Errorf("decoding manifest file %q: %w", file, err)
		}
		records = append(records, r)
	}
	return records, nil
}

// replay tells the registry every manifest. An index is refused before the manifests it names are there, so what was
// refused is tried again as long as a round makes progress.
func (s *manifestStore) replay(ctx context.Context, records []record) error {
	for len(records) > 0 {
		var refused []record
		for _, record := range records {
			accepted, err := s.put(ctx, record)
			if err != nil {
				return err
			}
			if !accepted {
				refused = append(refused, record)
			}
		}
		if len(refused) == len(records) {
			return fmt.Errorf("loading manifest %q: refused, %d like it", refused[0].Path, len(refused)-1)
		}
		records = refused
	}
	return nil
}

func (s *manifestStore) put(ctx context.Context, r record) (accepted bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, r.Path, nil)
	if err != nil {
		return false, fmt.Errorf("loading manifest %q: %w", r.Path, err)
	}
	req.Header.Set("Content-Type", r.MediaType)
	return s.ask(req, r.Manifest).status < http.StatusMultipleChoices, nil
}

// heldAnswer is a response that is sent only when it has become true on disk.
type heldAnswer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *heldAnswer) Header() http.Header         { return a.header }
func (a *heldAnswer) WriteHeader(status int)      { a.status = status }
func (a *heldAnswer) Write(p []byte) (int, error) { return a.body.Write(p) }

func (a *heldAnswer) writeTo(w http.ResponseWriter) {
	maps.Copy(w.Header(), a.header)
	w.WriteHeader(a.status)
	_, _ = a.body.WriteTo(w)
}
