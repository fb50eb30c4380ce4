package snapshot

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// tiny limits make hostile snapshots cheap.
func tiny() limits { return limits{plain: 64 << 10, line: 4 << 10, objects: 20} }

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func source(name string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "GitRepository",
		"metadata": map[string]any{"name": name, "namespace": "apps", "labels": map[string]any{"team": "a"}},
		"spec":     map[string]any{"url": "https://example.com/a.git", "interval": "1m", "timeout": int64(60)},
	}}
}

func written(tb testing.TB, header Header, objects ...*unstructured.Unstructured) []byte {
	tb.Helper()
	var out bytes.Buffer
	w, err := newWriter(&out, header, defaultLimits())
	if err != nil {
		tb.Fatal(err)
	}
	for _, obj := range objects {
		if err := w.add(obj); err != nil {
			tb.Fatal(err)
		}
	}
	if _, err := w.close(); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

func zipped(lines ...string) []byte {
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	for _, line := range lines {
		_, _ = io.WriteString(zip, line+"\n")
	}
	_ = zip.Close()
	return out.Bytes()
}

func unzipped(tb testing.TB, snapshot []byte) []string {
	tb.Helper()
	plain, err := gzip.NewReader(bytes.NewReader(snapshot))
	if err != nil {
		tb.Fatal(err)
	}
	text, err := io.ReadAll(plain)
	if err != nil {
		tb.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

// readAll returns what a snapshot holds.
func readAll(snapshot []byte, limits limits) (*Reader, []*unstructured.Unstructured, error) {
	reader, err := newReader(bytes.NewReader(snapshot), limits)
	if err != nil {
		return nil, nil, err
	}
	var objects []*unstructured.Unstructured
	for {
		obj, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return reader, objects, nil
		}
		if err != nil {
			return reader, objects, err
		}
		objects = append(objects, obj)
	}
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	header := Header{Created: noon, Operator: "flux-operator/1.0.0", Flux: "v2.8.8", Upgrade: "v2.9.4"}
	want := []*unstructured.Unstructured{source("a"), source("b")}
	reader, got, err := readAll(written(t, header, want...), tiny())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
	header.Format = Format
	if diff := cmp.Diff(header, reader.Header()); diff != "" {
		t.Errorf("header (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]int{"GitRepository.source.toolkit.fluxcd.io": 2}, reader.Summary().Kinds); diff != "" {
		t.Errorf("kinds (-want +got):\n%s", diff)
	}
}

func TestSameObjectsSameBytes(t *testing.T) {
	first, second := written(t, Header{Created: noon}, source("a"), source("b")), written(t, Header{Created: noon}, source("a"), source("b"))
	if !bytes.Equal(first, second) {
		t.Error("the same objects make different bytes")
	}
	later := unzipped(t, written(t, Header{Created: noon.Add(time.Hour)}, source("a"), source("b")))
	if diff := cmp.Diff(unzipped(t, first)[1:], later[1:]); diff != "" {
		t.Errorf("another time changes more than the header (-want +got):\n%s", diff)
	}
}

// TestHostileSnapshots: what was cut, changed, blown up or made of something else is refused, with a reason.
func TestHostileSnapshots(t *testing.T) {
	good := unzipped(t, written(t, Header{Created: noon}, source("a")))
	header, object, summary := good[0], good[1], good[2]
	with := func(field, value string) string { return strings.Replace(object, field, value, 1) }
	many := []string{header}
	for range tiny().objects + 1 {
		many = append(many, object)
	}
	long := strings.Repeat("x", int(tiny().line))
	filler := make([]string, 0, 30)
	for range 19 {
		filler = append(filler, with("1m", strings.Repeat("m", 3700)))
	}
	for _, tt := range []struct {
		reason   string
		snapshot []byte
		want     string
	}{
		{"nothing", nil, "not compressed"},
		{"no gzip", []byte("apiVersion: v1\n"), "not compressed"},
		{"an empty stream", zipped(), "end is missing"},
		{"no header", zipped(object, summary), "does not begin with a header"},
		{"another format", zipped(strings.Replace(header, "/v1", "/v2", 1), object, summary), `its format is "fluxcd.controlplane.io/snapshot/v2"`},
		{"a header that talks to terminals", zipped(strings.Replace(header, `"created"`, `"flux":"\u001b[2J","created"`, 1), object, summary), "is none"},
		{"no end", zipped(header, object), "end is missing"},
		{"a stream that was cut", written(t, Header{}, source("a"))[:80], "end is missing"},
		{"an object too few", zipped(header, summary), "it was changed"},
		{"an object too many", zipped(header, object, object, summary), "it was changed"},
		{"another content", zipped(header, with("example.com", "example.org"), summary), "it was changed"},
		{"more behind the end", zipped(header, object, summary, object), "behind its end"},
		{"another stream behind the end", append(zipped(good...), zipped(object)...), "behind its end"},
		{"too many objects", zipped(many...), "more than 20 objects"},
		{"a long line", zipped(header, long), "a line has more than"},
		{"too much", zipped(append([]string{header}, filler...)...), "without compression"},
		{"no object", zipped(header, `[]`), "object 1"},
		{"no kind", zipped(header, `{"apiVersion":"source.toolkit.fluxcd.io/v1"}`), "object 1"},
		{"somebody else's kind", zipped(header, `{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRoleBinding","metadata":{"name":"a"}}`), "which is not Flux's"},
		{"a Secret", zipped(header, `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"a"}}`), "which is not Flux's"},
		{"a group that looks like Flux's", zipped(header, `{"apiVersion":"toolkit.fluxcd.io.example.com/v1","kind":"A","metadata":{"name":"a"}}`), "which is not Flux's"},
		{"a name that is a path", zipped(header, with(`"name":"a"`, `"name":"../../secrets/a"`)), "malformed"},
		{"a namespace that is a path", zipped(header, with(`"namespace":"apps"`, `"namespace":"a/b"`)), "malformed"},
		{"no name", zipped(header, with(`"name":"a"`, `"name":""`)), "malformed"},
		{"a kind that is a path", zipped(header, with("GitRepository", "Git/Repository")), "malformed"},
		{"a status", zipped(header, with(`"spec"`, `"status":{},"spec"`)), "status"},
		{"an owner", zipped(header, with(`"name":"a"`, `"name":"a","ownerReferences":[]`)), `metadata."ownerReferences"`},
		{"a finalizer", zipped(header, with(`"name":"a"`, `"name":"a","finalizers":["a/b"]`)), `metadata."finalizers"`},
	} {
		_, _, err := readAll(tt.snapshot, tiny())
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.reason, err, tt.want)
		}
	}
}

// TestWritingKeepsToTheLimits: what could not be read is not written.
func TestWritingKeepsToTheLimits(t *testing.T) {
	for reason, tt := range map[string]struct {
		limits limits
		want   string
	}{
		"objects":  {limits{plain: 1 << 20, line: 1 << 20, objects: 2}, "more than 2 objects"},
		"a line":   {limits{plain: 1 << 20, line: 180, objects: 9}, `saving GitRepository/apps/a: it has`},
		"together": {limits{plain: 500, line: 1 << 20, objects: 9}, "more than 500 bytes"},
	} {
		w, err := newWriter(io.Discard, Header{}, tt.limits)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if err = w.add(source("a")); err != nil {
				break
			}
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", reason, err, tt.want)
		}
	}
}

func TestContent(t *testing.T) {
	live := source("a")
	live.SetUID("1")
	live.SetResourceVersion("7")
	live.SetGeneration(3)
	live.SetFinalizers([]string{"finalizers.fluxcd.io"})
	live.SetAnnotations(map[string]string{
		"kubectl.kubernetes.io/last-applied-configuration": "{}", "reconcile.fluxcd.io/requestedAt": "1", "reconcile.fluxcd.io/forceAt": "1", "note": "kept",
	})
	live.Object["status"] = map[string]any{"observedGeneration": int64(3)}
	live.Object["data"] = map[string]any{"other": "field"}
	want := source("a")
	want.SetAnnotations(map[string]string{"note": "kept"})
	want.Object["data"] = map[string]any{"other": "field"}
	if diff := cmp.Diff(want, content(live)); diff != "" {
		t.Errorf("content (-want +got):\n%s", diff)
	}

	other := source("a")
	other.Object["spec"] = map[string]any{"url": "https://example.com/b.git"}
	setContent(live, other)
	if diff := cmp.Diff(other, content(live)); diff != "" {
		t.Errorf("content of another (-want +got):\n%s", diff)
	}
	if live.GetUID() != "1" || live.GetAnnotations()["reconcile.fluxcd.io/requestedAt"] != "1" || live.Object["status"] == nil {
		t.Errorf("what is not content was touched: %v", live)
	}
}

func TestOrder(t *testing.T) {
	var kinds []kind
	for _, name := range []string{
		"ResourceSet.fluxcd.controlplane.io", "Kustomization.kustomize.toolkit.fluxcd.io", "HelmRelease.helm.toolkit.fluxcd.io",
		"GitRepository.source.toolkit.fluxcd.io", "FluxInstance.fluxcd.controlplane.io", "Bucket.source.toolkit.fluxcd.io",
	} {
		k, group, _ := strings.Cut(name, ".")
		kinds = append(kinds, kind{})
		kinds[len(kinds)-1].Kind, kinds[len(kinds)-1].Group = k, group
	}
	sortKinds(kinds)
	var got []string
	for _, k := range kinds {
		got = append(got, k.Kind)
	}
	if diff := cmp.Diff([]string{"FluxInstance", "Bucket", "GitRepository", "HelmRelease", "Kustomization", "ResourceSet"}, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

// FuzzReader: whatever is read, nothing panics, the limits hold, and what is accepted is written and read the same.
func FuzzReader(f *testing.F) {
	good := unzipped(f, written(f, Header{Created: noon}, source("a")))
	f.Add(strings.Join(good, "\n") + "\n")
	f.Add(good[0] + "\n" + strings.Repeat(good[1]+"\n", 30))
	f.Add(good[0] + "\n" + `{"summary":null}` + "\n")
	f.Fuzz(func(t *testing.T, text string) {
		reader, objects, err := readAll(zipped(strings.TrimSuffix(text, "\n")), tiny())
		if len(objects) > tiny().objects {
			t.Fatalf("%d objects were read", len(objects))
		}
		for _, obj := range objects {
			if !isFlux(obj.GroupVersionKind().Group) || obj.GetName() == "" {
				t.Fatalf("%v was read", obj)
			}
		}
		if err != nil {
			return
		}
		_, again, err := readAll(written(t, reader.Header(), objects...), defaultLimits())
		if diff := cmp.Diff(objects, again); err != nil || diff != "" {
			t.Fatalf("written and read once more: %v (-want +got):\n%s", err, diff)
		}
	})
}

func TestChunks(t *testing.T) {
	for _, size := range []int{0, 1, chunkSize - 1, chunkSize, chunkSize + 1, 3 * chunkSize} {
		var saved []byte
		var sizes []int
		c := &chunks{sum: discardHash{}, save: func(number int, content []byte) error {
			if number != len(sizes) {
				return fmt.Errorf("chunk %d is called %d", len(sizes), number)
			}
			saved, sizes = append(saved, content...), append(sizes, len(content))
			return nil
		}}
		want := bytes.Repeat([]byte("0123456789"), size/10+1)[:size]
		for rest := want; len(rest) > 0; {
			n := min(7777, len(rest))
			if _, err := c.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := c.flush(); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(saved, want) || c.size != size || c.number != (size+chunkSize-1)/chunkSize {
			t.Errorf("%d bytes became %d in %v", size, len(saved), sizes)
		}
	}
	c := &chunks{sum: discardHash{}, save: func(int, []byte) error { return nil }}
	_, err := c.Write(make([]byte, (maxChunks+1)*chunkSize))
	if !errors.Is(err, errTooLarge) {
		t.Errorf("more chunks than are allowed: %v", err)
	}
}

type discardHash struct{}

func (discardHash) Write(p []byte) (int, error) { return len(p), nil }
func (discardHash) Sum(b []byte) []byte         { return b }
func (discardHash) Reset()                      {}
func (discardHash) Size() int                   { return 0 }
func (discardHash) BlockSize() int              { return 1 }
