package artifact

import (
	"archive/tar"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// A file, or all of them, must never be in memory.
func TestMemoryDoesNotGrowWithTheArtifact(t *testing.T) {
	const size = 16 << 20
	entries := []tar.Header{file("flux/v2.9.4/rbac.yaml"), file("flux-images/VERSION")}
	for i := range 8 {
		large := file(fmt.Sprintf("flux/v2.9.4/%d.yaml", i))
		large.Size = size
		entries = append(entries, large)
	}
	h := newHub(t)
	digest := h.publish(t, "latest", tarball(t, entries...))
	store, source := newStore(t, t.TempDir()), h.source(t, "latest")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	use(t, store, source, digest, nil)
	runtime.ReadMemStats(&after)
	// Everything that was allocated on the way is more than what was held at any time.
	if allocated := after.TotalAlloc - before.TotalAlloc; allocated > size {
		t.Errorf("allocated %d bytes for 8 files of %d", allocated, size)
	}
}

// distributionFiles writes as much text, in as many files, as thirty releases of Flux have.
func distributionFiles(tb testing.TB) string {
	tb.Helper()
	dir := tb.TempDir()
	random := rand.New(rand.NewPCG(1, 2))
	var words []string
	for range 400 {
		words = append(words, strings.Repeat(string(rune('a'+random.IntN(26))), 1+random.IntN(12)))
	}
	write := func(name string, size int) {
		var text strings.Builder
		for text.Len() < size {
			fmt.Fprintf(&text, "%s%s: %s %d\n", strings.Repeat("  ", random.IntN(8)), words[random.IntN(len(words))], words[random.IntN(len(words))], random.IntN(1000))
		}
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			tb.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	for release := range 30 {
		for component := range 9 {
			write(fmt.Sprintf("flux/v2.9.%d/%d.yaml", release, component), 55<<10)
		}
		write(fmt.Sprintf("flux-images/v2.9.%d/upstream-alpine.yaml", release), 5<<10)
	}
	return dir
}

// Compare with BenchmarkCopy: what getting the same files costs when they only have to be copied.
func BenchmarkOpen(b *testing.B) {
	h := newHub(b)
	digest, err := Push(b.Context(), distributionFiles(b), h.ref("latest"), Access{PlainHTTP: true}, nil)
	if err != nil {
		b.Fatal(err)
	}
	source := reach(b, h.ref("latest"), Access{PlainHTTP: true})
	for name, again := range map[string]bool{"pulled": false, "cached": true} {
		b.Run(name, func(b *testing.B) {
			dir := b.TempDir()
			for b.Loop() {
				if !again {
					dir = b.TempDir()
				}
				catalog, err := newStore(b, dir).Open(b.Context(), source, digest, nil)
				if err != nil {
					b.Fatal(err)
				}
				_ = catalog.Close()
			}
		})
	}
}

func BenchmarkCopy(b *testing.B) {
	from := distributionFiles(b)
	for b.Loop() {
		if err := os.CopyFS(b.TempDir(), os.DirFS(from)); err != nil {
			b.Fatal(err)
		}
	}
}
