package artifact

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestOpen(t *testing.T) {
	h := newHub(t)
	digest := h.publish(t, "latest", release(t, "v2.9.4"))
	catalog := use(t, newStore(t, t.TempDir()), h.source(t, "latest"), digest, nil)
	if diff := cmp.Diff([]string{"v2.9.4"}, catalog.Versions); diff != "" {
		t.Errorf("versions (-want +got):\n%s", diff)
	}
	if catalog.Digest != digest || catalog.Verification != nil {
		t.Errorf("digest %q, verification %v", catalog.Digest, catalog.Verification)
	}
	if text, err := fs.ReadFile(catalog.FS, "flux/v2.9.4/rbac.yaml"); err != nil || string(text) != "flux/v2.9.4/rbac.yaml" {
		t.Errorf("a file reads as %q, %v", text, err)
	}
	if _, err := fs.Stat(catalog.FS, "flux-vex"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what is not needed: %v", err)
	}
}

func TestUnchangedDownloadsNothing(t *testing.T) {
	h := newHub(t)
	digest := h.publish(t, "latest", release(t, "v2.9.4"))
	store, source := newStore(t, t.TempDir()), h.source(t, "latest")
	use(t, store, source, digest, nil)
	if requests, _ := h.asked(); len(requests) != 2 {
		t.Errorf("%v, want the manifest and the layer", requests)
	}
	use(t, store, source, digest, nil)
	if requests, _ := h.asked(); len(requests) != 0 {
		t.Errorf("%v, want nothing", requests)
	}
}

func TestCacheSurvivesRestart(t *testing.T) {
	h := newHub(t)
	digest := h.publish(t, "latest", release(t, "v2.9.4"))
	dir, source := t.TempDir(), h.source(t, "latest")
	use(t, newStore(t, dir), source, digest, nil)
	h.CloseClientConnections()
	h.Close()
	catalog := use(t, newStore(t, dir), source, digest, nil)
	if _, err := fs.ReadFile(catalog.FS, "flux/v2.9.4/rbac.yaml"); err != nil {
		t.Error(err)
	}
}

func TestRestartRemovesWhatWasUnpacked(t *testing.T) {
	h := newHub(t)
	digest := h.publish(t, "latest", release(t, "v2.9.4"))
	dir := t.TempDir()
	bystander := filepath.Join(dir, "lost+found")
	if err := os.MkdirAll(bystander, 0o700); err != nil {
		t.Fatal(err)
	}
	use(t, newStore(t, dir), h.source(t, "latest"), digest, nil)
	unpacked := filepath.Join(dir, treesDir, filepath.Base(folderOf(dir, digest)))
	if err := os.WriteFile(filepath.Join(unpacked, "flux/v2.9.4/rbac.yaml"), []byte("evil"), 0o600); err != nil {
		t.Fatal(err)
	}
	again := newStore(t, dir)
	if left := leftovers(t, dir); len(left) != 0 {
		t.Errorf("%q is left", left)
	}
	catalog := use(t, again, h.source(t, "latest"), digest, nil)
	if text, err := fs.ReadFile(catalog.FS, "flux/v2.9.4/rbac.yaml"); err != nil || string(text) == "evil" {
		t.Errorf("a file that was changed before the start reads as %q, %v", text, err)
	}
	if _, err := os.Stat(bystander); err != nil {
		t.Errorf("a folder that is no artifact: %v", err)
	}
}

func folderOf(dir, digest string) string {
	return filepath.Join(dir, strings.TrimPrefix(digest, "sha256:"))
}

func TestTamperedCacheIsFetchedAgain(t *testing.T) {
	h := newHub(t)
	digest := h.publish(t, "latest", release(t, "v2.9.4"))
	evil := tarball(t, file("flux/v6.6.6/rbac.yaml"), file("flux-images/VERSION"))
	blobs := func(dir string) []string {
		paths, err := filepath.Glob(filepath.Join(folderOf(dir, digest), "blobs/sha256/*"))
		if err != nil || len(paths) == 0 {
			t.Fatalf("%v, %v", paths, err)
		}
		return paths
	}
	layout := func(dir string) []string { return []string{folderOf(dir, digest)} }
	for _, tt := range []struct {
		reason string
		of     func(dir string) []string
		damage func(path string) error
	}{
		{"changed", blobs, func(path string) error { return replace(path, evil) }},
		{"emptied", blobs, func(path string) error { return replace(path, nil) }},
		{"removed", blobs, os.Remove},
		{"a folder", blobs, func(path string) error { return errors.Join(os.Remove(path), os.MkdirAll(path+"/x", 0o700)) }},
		{"no index", layout, func(path string) error { return os.Remove(path + "/index.json") }},
		{"a broken index", layout, func(path string) error { return replace(path+"/index.json", []byte("{")) }},
		{"an index of something else", layout, func(path string) error {
			return replace(path+"/index.json", []byte(`{"manifests":[{"mediaType":"x","digest":"`+someDigest+`","size":1}]}`))
		}},
		{"a file for the blobs", layout, func(path string) error {
			return errors.Join(os.RemoveAll(path+"/blobs/sha256"), os.WriteFile(path+"/blobs/sha256", nil, 0o600))
		}},
		{"a file for the layout", layout, func(path string) error { return errors.Join(os.RemoveAll(path), os.WriteFile(path, nil, 0o600)) }},
		{"no layout", layout, func(path string) error { return os.Remove(path + "/oci-layout") }},
		{"an empty layout", layout, func(path string) error { return errors.Join(os.RemoveAll(path), os.Mkdir(path, 0o700)) }},
	} {
		dir := t.TempDir()
		use(t, newStore(t, dir), h.source(t, "latest"), digest, nil)
		for _, path := range tt.of(dir) { // one after the other: what is intact must not hide what is not
			if err := tt.damage(path); err != nil {
				t.Fatal(err)
			}
			catalog, err := newStore(t, dir).Open(t.Context(), h.source(t, "latest"), digest, nil)
			if err != nil {
				t.Errorf("%s: %v", tt.reason, err)
				break
			}
			if diff := cmp.Diff([]string{"v2.9.4"}, catalog.Versions); diff != "" {
				t.Errorf("%s: versions (-want +got):\n%s", tt.reason, diff)
			}
			_ = catalog.Close()
		}
	}
}

// replace writes a file that may be read-only.
func replace(path string, data []byte) error {
	return errors.Join(os.Remove(path), os.WriteFile(path, data, 0o600))
}

func TestTamperedCacheWithoutRegistry(t *testing.T) {
	h := newHub(t)
	digest := h.publish(t, "latest", release(t, "v2.9.4"))
	dir, source := t.TempDir(), h.source(t, "latest")
	use(t, newStore(t, dir), source, digest, nil)
	paths, err := filepath.Glob(filepath.Join(folderOf(dir, digest), "blobs/sha256/*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		if err := replace(path, tarball(t, file("flux/v6.6.6/rbac.yaml"), file("flux-images/VERSION"))); err != nil {
			t.Fatal(err)
		}
	}
	h.CloseClientConnections()
	h.Close()
	if catalog, err := newStore(t, dir).Open(t.Context(), source, digest, nil); err == nil {
		t.Errorf("opened %v", catalog.Versions)
	}
}

func TestOpenTogetherFetchesOnce(t *testing.T) {
	h := newHub(t)
	digest := h.publish(t, "latest", release(t, "v2.9.4"))
	store, source := newStore(t, t.TempDir()), h.source(t, "latest")
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			catalog, err := store.Open(t.Context(), source, digest, nil)
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := fs.ReadFile(catalog.FS, "flux/v2.9.4/rbac.yaml"); err != nil {
				t.Error(err)
			}
			_ = catalog.Close()
		})
	}
	group.Wait()
	if requests, _ := h.asked(); len(requests) != 2 {
		t.Errorf("%v, want the manifest and the layer once", requests)
	}
}

func TestWhoWaitsHasADeadline(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	var once sync.Once
	h := newHub(t, func(inner http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			once.Do(func() { close(entered) })
			<-leave
			inner.ServeHTTP(w, r)
		})
	})
	digest := h.publish(t, "latest", release(t, "v2.9.4"))
	store, source := newStore(t, t.TempDir()), h.source(t, "latest")
	first := make(chan error)
	go func() {
		catalog, err := store.Open(t.Context(), source, digest, nil)
		if err == nil {
			err = catalog.Close()
		}
		first <- err
	}()
	<-entered
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := store.Open(ctx, source, digest, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("who waits: %v", err)
	}
	close(leave)
	if err := <-first; err != nil {
		t.Errorf("who fetches: %v", err)
	}
}

// kept lists which of the artifacts are on disk.
func kept(dir string, digests []string) (names []int) {
	for i, digest := range digests {
		if _, err := os.Stat(folderOf(dir, digest)); err == nil {
			names = append(names, i)
		}
	}
	return names
}

func TestEviction(t *testing.T) {
	h := newHub(t)
	dir := t.TempDir()
	limits := DefaultLimits()
	limits.Cache = 0 // nothing but what is in use
	store, err := NewStore(dir, limits)
	if err != nil {
		t.Fatal(err)
	}
	var digests []string
	open := func(i int) *Catalog {
		catalog, err := store.Open(t.Context(), h.source(t, "latest"), digests[i], nil)
		if err != nil {
			t.Fatal(err)
		}
		return catalog
	}
	for i := range 4 {
		digests = append(digests, h.publish(t, fmt.Sprint(i), release(t, fmt.Sprintf("v2.9.%d", i))))
	}
	check := func(want ...int) {
		t.Helper()
		if diff := cmp.Diff(want, kept(dir, digests)); diff != "" {
			t.Errorf("kept (-want +got):\n%s", diff)
		}
	}
	zero, again, one := open(0), open(0), open(1)
	check(0, 1)
	for range 2 { // closing twice does not count twice
		_ = zero.Close()
	}
	two := open(2)
	check(0, 1, 2)
	if _, err := fs.ReadFile(again.FS, "flux/v2.9.0/rbac.yaml"); err != nil {
		t.Errorf("what is in use: %v", err)
	}
	for _, unused := range []*Catalog{again, one, two} {
		_ = unused.Close()
	}
	three := open(3)
	check(3)
	if _, err := fs.ReadFile(three.FS, "flux/v2.9.3/rbac.yaml"); err != nil {
		t.Error(err)
	}
	zero = open(0) // fetched again
	check(0, 3)
	if _, err := fs.ReadFile(zero.FS, "flux/v2.9.0/rbac.yaml"); err != nil {
		t.Error(err)
	}
}

func TestEvictionRemovesTheLongestUnused(t *testing.T) {
	h := newHub(t)
	var digests []string
	for i := range 3 {
		digests = append(digests, h.publish(t, fmt.Sprint(i), release(t, fmt.Sprintf("v2.9.%d", i))))
	}
	for reason, tt := range map[string]struct {
		reopened []string
		kept     []int
	}{
		"as they were used before the restart": {nil, []int{0, 2}},
		"one was used since":                   {digests[1:2], []int{1, 2}},
	} {
		dir := t.TempDir()
		var size int64
		for i, digest := range digests[:2] {
			catalog := use(t, newStore(t, dir), h.source(t, "latest"), digest, nil)
			_ = catalog.Close()
			one, err := usage(folderOf(dir, digest))
			if err != nil {
				t.Fatal(err)
			}
			tree, err := usage(filepath.Join(dir, treesDir))
			if err != nil {
				t.Fatal(err)
			}
			size = max(size, one+tree)
			used := time.Now().Add(-time.Hour * time.Duration(i+1)) // 1 was used before 0
			if err := os.Chtimes(folderOf(dir, digest), used, used); err != nil {
				t.Fatal(err)
			}
		}
		limits := DefaultLimits()
		limits.Cache = 2*size + size/2
		store, err := NewStore(dir, limits) // after a restart
		if err != nil {
			t.Fatal(err)
		}
		for _, digest := range slices.Concat(tt.reopened, digests[2:]) {
			catalog := use(t, store, h.source(t, "latest"), digest, nil)
			_ = catalog.Close()
		}
		if diff := cmp.Diff(tt.kept, kept(dir, digests)); diff != "" {
			t.Errorf("%s: kept (-want +got):\n%s", reason, diff)
		}
	}
}

func TestUnpackedFilesCount(t *testing.T) {
	h := newHub(t)
	dir := t.TempDir()
	large := file("flux/v2.9.4/large.yaml") // next to nothing when it is packed
	large.Size = 1 << 20
	digests := []string{h.publish(t, "a", tarball(t, large, file("flux-images/VERSION"))), h.publish(t, "b", release(t, "v2.9.5"))}
	limits := DefaultLimits()
	limits.Cache = 1 << 20
	store, err := NewStore(dir, limits)
	if err != nil {
		t.Fatal(err)
	}
	for _, digest := range digests {
		catalog := use(t, store, h.source(t, "latest"), digest, nil)
		_ = catalog.Close()
	}
	if diff := cmp.Diff([]int{1}, kept(dir, digests)); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
}

func TestOpenFails(t *testing.T) {
	h := newHub(t)
	h.publish(t, "latest", release(t, "v2.9.4"))
	noRelease := h.publish(t, "empty", tarball(t, file("flux/README"), file("flux-images/VERSION")))
	noImages := h.publish(t, "images", tarball(t, file("flux/v2.9.4/rbac.yaml")))
	hostile := h.publish(t, "hostile", tarball(t, file("flux/v2.9.4/rbac.yaml"), file("../evil")))
	dir := t.TempDir()
	store := newStore(t, dir)
	for _, tt := range []struct{ reason, digest, want string }{
		{"no digest", "latest", "no digest"},
		{"a path for a digest", "sha256:../../" + strings.Repeat("a", 58), "no digest"},
		{"another algorithm", "sha512:" + strings.Repeat("a", 128), "no digest"},
		{"an unknown digest", digestOf("nothing"), "not found"},
		{"no release", noRelease, "no release"},
		{"no images", noImages, imagesDir},
		{"a hostile archive", hostile, "../evil"},
	} {
		_, err := store.Open(t.Context(), h.source(t, "latest"), tt.digest, nil)
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), h.ref("latest").String()) {
			t.Errorf("%s: %v, want an error with %q and the reference", tt.reason, err, tt.want)
		}
	}
	if trees, err := filepath.Glob(filepath.Join(dir, treesDir, "*")); err != nil || len(trees) != 0 {
		t.Errorf("unpacked %q, %v", trees, err)
	}
	if len(store.items) != 0 {
		t.Errorf("%d artifacts that cannot be opened are remembered", len(store.items))
	}
}

func TestNewStoreFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := NewStore(path, DefaultLimits()); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("%v, want an error with the path", err)
	}
}
