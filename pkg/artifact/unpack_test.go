package artifact

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// tiny limits make hostile archives cheap.
func tiny() Limits {
	return Limits{Layer: 1 << 20, File: 64 << 10, Unpacked: 256 << 10, Entries: 100, Cache: 1 << 20}
}

func unpackInto(tb testing.TB, archive []byte, limits Limits) ([]string, error) {
	tb.Helper()
	dir := tb.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		tb.Fatal(err)
	}
	defer root.Close()
	failure := unpack(tb.Context(), bytes.NewReader(archive), root, limits)
	var files []string
	if err := fs.WalkDir(root.FS(), ".", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			files = append(files, path)
		}
		return err
	}); err != nil {
		tb.Fatal(err)
	}
	return files, failure
}

func TestUnpack(t *testing.T) {
	for reason, entries := range map[string][]tar.Header{
		"plain":             {file("flux/v1/a.yaml"), file("flux-images/VERSION")},
		"with folders":      {{Name: "flux/", Typeflag: tar.TypeDir}, {Name: "flux/v1", Typeflag: tar.TypeDir}, file("flux/v1/a.yaml"), {Name: "flux-images/", Typeflag: tar.TypeDir}, file("flux-images/VERSION")},
		"with dots":         {{Name: "./", Typeflag: tar.TypeDir}, file("./flux/v1/a.yaml"), file("./flux-images/VERSION")},
		"a folder twice":    {{Name: "flux/", Typeflag: tar.TypeDir}, {Name: "flux/", Typeflag: tar.TypeDir}, file("flux/v1/a.yaml"), file("flux-images/VERSION")},
		"more than is used": {file("flux-vex/v2.9.json"), file("README"), file("flux/v1/a.yaml"), file("flux-images/VERSION"), {Name: "bin/sh", Typeflag: tar.TypeSymlink, Linkname: "/bin/sh"}},
		"a pax header":      {{Name: "pax_global_header", Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "x"}}, file("flux/v1/a.yaml"), file("flux-images/VERSION")},
	} {
		files, err := unpackInto(t, tarball(t, entries...), tiny())
		slices.Sort(files)
		if diff := cmp.Diff([]string{"flux-images/VERSION", "flux/v1/a.yaml"}, files); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", reason, err, diff)
		}
	}
}

func TestUnpackRefuses(t *testing.T) {
	big := file("flux/v1/big")
	many := func(n int, size int64) (entries []tar.Header) {
		for i := range n {
			entry := file(fmt.Sprintf("flux/v1/%d", i))
			entry.Size = size
			entries = append(entries, entry)
		}
		return entries
	}
	link := func(kind byte, name, to string) tar.Header {
		return tar.Header{Name: name, Typeflag: kind, Linkname: to}
	}
	for _, tt := range []struct {
		reason  string
		entries []tar.Header
		want    string
	}{
		{"a path to the parent", []tar.Header{file("../evil")}, "relative"},
		{"a path to the parent from within", []tar.Header{file("flux/../../evil")}, "relative"},
		{"a path that leaves its folder and comes back", []tar.Header{file("flux/../flux/evil")}, "relative"},
		{"an absolute path", []tar.Header{file("/flux/evil")}, "relative"},
		{"a path to the parent in what is skipped", []tar.Header{file("other/../../evil")}, "relative"},
		{"an empty part", []tar.Header{file("flux//evil")}, "relative"},
		{"a backslash", []tar.Header{file(`flux\..\..\evil`)}, "relative"},
		{"a dot", []tar.Header{file("flux/./evil")}, "relative"},
		{"bytes that are no text", []tar.Header{{Name: "flux/\xff", Typeflag: tar.TypeReg, Format: tar.FormatGNU}}, "relative"},
		{"a deep path", []tar.Header{file("flux/" + strings.Repeat("a/", 20) + "evil")}, "folders"},
		{"a long path", []tar.Header{file("flux/" + strings.Repeat("a", 2000))}, "characters"},
		{"a link to a file outside", []tar.Header{link(tar.TypeSymlink, "flux/evil", "/etc/passwd")}, "no links"},
		{"a link to a file inside", []tar.Header{file("flux/a"), link(tar.TypeSymlink, "flux/evil", "a")}, "no links"},
		{"a link for a folder", []tar.Header{link(tar.TypeSymlink, "flux", "/etc"), file("flux/evil")}, "no links"},
		{"a hard link", []tar.Header{link(tar.TypeLink, "flux/evil", "/etc/passwd")}, "no links"},
		{"a character device", []tar.Header{{Name: "flux/evil", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}}, "no devices"},
		{"a block device", []tar.Header{{Name: "flux/evil", Typeflag: tar.TypeBlock}}, "no devices"},
		{"a pipe", []tar.Header{{Name: "flux/evil", Typeflag: tar.TypeFifo}}, "no devices"},
		{"a file twice", []tar.Header{file("flux/a"), file("flux/a")}, "twice"},
		{"a file twice by two names", []tar.Header{file("flux/a"), file("./flux/a")}, "twice"},
		{"a file and a folder of one name", []tar.Header{{Name: "flux/a", Typeflag: tar.TypeDir}, file("flux/a")}, "twice"},
		{"a folder where a file is", []tar.Header{file("flux/a"), file("flux/a/b")}, "flux/a/b"},
		{"a large file", []tar.Header{{Name: big.Name, Typeflag: tar.TypeReg, Size: 64<<10 + 1}}, "at most 65536"},
		{"many files", many(101, 0), "more than 100"},
		{"many large files", many(5, 60<<10), "more than 262144"},
		{"many large files that are skipped", []tar.Header{{Name: "other/a", Typeflag: tar.TypeReg, Size: 512 << 10}, file("flux/a")}, "more than 262144"},
	} {
		files, err := unpackInto(t, tarball(t, tt.entries...), tiny())
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want an error with %q", tt.reason, err, tt.want)
		}
		if slices.ContainsFunc(files, func(path string) bool { return strings.Contains(path, "evil") }) {
			t.Errorf("%s: left %q behind", tt.reason, files)
		}
	}
}

func TestUnpackAtTheLimits(t *testing.T) {
	limits := tiny()
	limits.Entries = 2
	exact := file("flux/v1/a")
	exact.Size = limits.File
	if files, err := unpackInto(t, tarball(t, exact, file("flux-images/VERSION")), limits); err != nil || len(files) != 2 {
		t.Errorf("%v, %v", files, err)
	}
}

func TestUnpackRefusesBrokenArchives(t *testing.T) {
	whole := tarball(t, file("flux/v1/a"), file("flux-images/VERSION"))
	plain := func(text string) []byte {
		var out bytes.Buffer
		zip := gzip.NewWriter(&out)
		_, _ = io.WriteString(zip, text)
		_ = zip.Close()
		return out.Bytes()
	}
	for reason, archive := range map[string][]byte{
		"empty":           nil,
		"no gzip":         []byte("flux"),
		"no tar":          plain(strings.Repeat("flux", 1000)),
		"cut":             whole[:len(whole)/2],
		"damaged":         append(bytes.Clone(whole[:40]), append([]byte("damage"), whole[46:]...)...),
		"a bomb":          plain(strings.Repeat("\x00", 1<<10) + strings.Repeat("a", 10<<20)),
		"a gzip of zeros": plain(strings.Repeat("\x00", 10<<20)),
	} {
		files, err := unpackInto(t, archive, tiny())
		// Two blocks of zeroes end an archive: what follows is not looked at, and an archive without files is no distribution.
		if err == nil && len(files) > 0 {
			t.Errorf("%s: unpacked %q", reason, files)
		}
	}
}

// sparse is an archive of files that are mostly holes, which the writer of the standard library refuses to write.
func sparse(t *testing.T, files int, size int64) []byte {
	t.Helper()
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	for i := range files {
		var records strings.Builder
		for _, record := range []string{"GNU.sparse.numblocks=1", "GNU.sparse.map=0,1", fmt.Sprintf("GNU.sparse.size=%d", size)} {
			fmt.Fprintf(&records, "%d %s\n", len(record)+4, record) // the length has two digits, and counts itself
		}
		_, _ = zip.Write(block("x", tar.TypeXHeader, records.Len()))
		_, _ = zip.Write(append([]byte(records.String()), make([]byte, 512-records.Len())...))
		_, _ = zip.Write(block(fmt.Sprintf("flux/v1/%d", i), tar.TypeReg, 1))
		_, _ = zip.Write(append([]byte("a"), make([]byte, 511)...))
	}
	_, _ = zip.Write(make([]byte, 1024))
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// block is a header of an archive.
func block(name string, kind byte, size int) []byte {
	header := make([]byte, 512)
	copy(header, name)
	copy(header[100:], "0000644\x00")
	copy(header[124:], fmt.Sprintf("%011o\x00", size))
	copy(header[136:], "00000000000\x00")
	copy(header[148:], "        ")
	header[156] = kind
	copy(header[257:], "ustar\x0000")
	sum := 0
	for _, b := range header {
		sum += int(b)
	}
	copy(header[148:], fmt.Sprintf("%06o\x00 ", sum))
	return header
}

func TestUnpackCountsHoles(t *testing.T) {
	limits := tiny()
	if files, err := unpackInto(t, sparse(t, 2, limits.File), limits); err != nil || len(files) != 2 {
		t.Errorf("within the limits: %q, %v", files, err)
	}
	if files, err := unpackInto(t, sparse(t, 2, limits.File+1), limits); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("a large hole: %q, %v", files, err)
	}
	if files, err := unpackInto(t, sparse(t, 5, limits.File), limits); err == nil || !strings.Contains(err.Error(), "more than 262144") {
		t.Errorf("many holes: %q, %v", files, err)
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add(tarball(f, file("flux/v1/a"), file("flux-images/VERSION")))
	f.Add(tarball(f, tar.Header{Name: "flux/evil", Typeflag: tar.TypeSymlink, Linkname: "/etc"}, file("flux/evil/passwd")))
	f.Add(tarball(f, file("../evil"), file("/evil")))
	f.Fuzz(func(t *testing.T, archive []byte) {
		// Most of what a fuzzer makes is no gzip any more: the archive below is as hostile.
		var zipped bytes.Buffer
		zip := gzip.NewWriter(&zipped)
		_, _ = zip.Write(archive)
		_ = zip.Close()
		for _, archive := range [][]byte{archive, zipped.Bytes()} {
			files, _ := unpackInto(t, archive, tiny())
			for _, path := range files {
				if !strings.HasPrefix(path, "flux/") && !strings.HasPrefix(path, "flux-images/") {
					t.Fatalf("unpacked %q", path)
				}
			}
		}
	})
}
