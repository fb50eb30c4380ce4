package image

import (
	"archive/tar"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	passwd = "root:x:0:0:root:/root:/sbin/nologin\n" +
		"nobody:x:65534:65534:nobody:/tmp:/sbin/nologin\n" +
		"nonroot:x:65532:65532:nonroot:/tmp:/sbin/nologin\n"
	group = "root:x:0:\nnobody:x:65534:\nnonroot:x:65532:\n"
	// certificates is where Go and OpenSSL programs look on Debian and Alpine.
	certificates = "/etc/ssl/certs/ca-certificates.crt"
)

// content opens the bytes of a file and says how many they are; it is called once for every pass over the layer.
type content func() (io.ReadCloser, int64, error)

// entry is one file or folder of a layer; a folder has no content. All belong to root.
type entry struct {
	path string
	mode fs.FileMode
	open content
}

// tree collects the entries of one layer after the other and knows what the layers below hold already.
type tree struct {
	seen    map[string]bool
	entries []entry
}

func newTree() *tree { return &tree{seen: map[string]bool{"/": true}} }

// take ends a layer.
func (t *tree) take() []entry {
	entries := t.entries
	t.entries = nil
	slices.SortFunc(entries, func(a, b entry) int { return cmp.Compare(a.path, b.path) })
	return entries
}

func (t *tree) addBase(binary Binary, opts Options) error {
	t.addDir("/tmp", 0o1777)
	for _, dir := range sortedKeys(opts.Dirs) {
		if !path.IsAbs(dir) {
			return fmt.Errorf("adding folder %q: want an absolute path", dir)
		}
		t.addDir(dir, tarMode(opts.Dirs[dir]))
	}
	t.addDir(path.Dir(binary.Entrypoint), 0o755)

	files := map[string]content{"/etc/passwd": memoryFile(passwd), "/etc/group": memoryFile(group)}
	if opts.CABundle != "" {
		files[certificates] = diskFile(opts.CABundle)
	}
	for _, name := range sortedKeys(files) {
		if err := t.addFile(name, 0o644, files[name]); err != nil {
			return err
		}
	}
	return nil
}

// addFiles adds everything in fsys below a folder of the image.
func (t *tree) addFiles(at string, fsys fs.FS) error {
	if !path.IsAbs(at) {
		return errors.New("want an absolute path")
	}
	return fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		target := path.Join(at, name)
		switch {
		case d.IsDir():
			t.addDir(target, 0o755)
			return nil
		case info.Mode().IsRegular():
			return t.addFile(target, plainMode(info.Mode()), fileIn(fsys, name))
		default:
			return fmt.Errorf("%q is neither a file nor a folder: %s", name, info.Mode().Type())
		}
	})
}

// addDir adds a folder and its parents; one that is there already keeps its mode.
func (t *tree) addDir(name string, mode fs.FileMode) {
	name = path.Clean(name)
	if t.seen[name] {
		return
	}
	t.addDir(path.Dir(name), 0o755)
	t.seen[name] = true
	t.entries = append(t.entries, entry{path: name, mode: mode})
}

func (t *tree) addFile(name string, mode fs.FileMode, open content) error {
	if t.seen[name] {
		return fmt.Errorf("adding %q: the image has it already", name)
	}
	t.addDir(path.Dir(name), 0o755)
	t.seen[name] = true
	t.entries = append(t.entries, entry{path: name, mode: mode, open: open})
	return nil
}

// plainMode keeps of a mode only whether the file can be run: the rest depends on the umask of who made it.
func plainMode(mode fs.FileMode) fs.FileMode {
	if mode&0o111 != 0 {
		return 0o755
	}
	return 0o644
}

// tarMode turns Go's sticky bit into that of tar; modes written in octal, like 0o1777, stay as they are.
func tarMode(mode fs.FileMode) fs.FileMode {
	if mode&fs.ModeSticky != 0 {
		mode |= 0o1000
	}
	return mode & 0o7777
}

func diskFile(name string) content {
	return func() (io.ReadCloser, int64, error) { return measured(os.Open(name)) }
}

func fileIn(fsys fs.FS, name string) content {
	return func() (io.ReadCloser, int64, error) { return measured(fsys.Open(name)) }
}

func memoryFile(text string) content {
	return func() (io.ReadCloser, int64, error) {
		return io.NopCloser(strings.NewReader(text)), int64(len(text)), nil
	}
}

func measured[F fs.File](file F, err error) (io.ReadCloser, int64, error) {
	if err != nil {
		return nil, 0, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, file.Close())
	}
	return file, info.Size(), nil
}

// layerOf makes a compressed layer whose bytes are produced as they are read, so that no binary is held in memory whole
// before it is compressed.
func layerOf(entries []entry, level int) (v1.Layer, error) {
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		reader, writer := io.Pipe()
		go func() { writer.CloseWithError(writeTar(writer, entries)) }()
		return reader, nil
	}, tarball.WithMediaType(types.OCILayer), tarball.WithCompressionLevel(level), tarball.WithCompressedCaching)
	// Only the layer itself is handed on: the descriptor it offers has an empty annotation map, which the manifest does
	// not have once it is read back.
	return struct{ v1.Layer }{layer}, err
}

func writeTar(w io.Writer, entries []entry) error {
	tw := tar.NewWriter(w)
	for _, e := range entries {
		if err := writeEntry(tw, e); err != nil {
			return fmt.Errorf("writing %q: %w", e.path, err)
		}
	}
	return tw.Close()
}

func writeEntry(tw *tar.Writer, e entry) error {
	header := &tar.Header{Name: strings.TrimPrefix(e.path, "/"), Mode: int64(e.mode), ModTime: epoch, Format: tar.FormatPAX}
	if e.open == nil {
		header.Typeflag, header.Name = tar.TypeDir, header.Name+"/"
		return tw.WriteHeader(header)
	}

	file, size, err := e.open()
	if err != nil {
		return err
	}
	defer file.Close()
	header.Typeflag, header.Size = tar.TypeReg, size
	if err := tw.WriteHeader(header); err != nil {
		return err
	}
	_, err = io.Copy(tw, file)
	return err
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
