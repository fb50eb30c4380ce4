package artifact

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
)

const (
	maxDepth = 16
	maxPath  = 1024
)

// unpack writes the distribution in a gzipped tar archive into an empty folder. Everything outside of its two folders is skipped.
//
// A refused archive leaves files behind: the caller throws the folder away.
func unpack(ctx context.Context, archive io.Reader, root *os.Root, limits Limits) error {
	plain, err := gzip.NewReader(archive)
	if err != nil {
		return fmt.Errorf("unpacking: the archive is not compressed with gzip: %w", err)
	}
	u := unpacker{root: root, limits: limits, left: limits.Unpacked, folders: map[string]bool{}, buffer: make([]byte, 64<<10)}
	reader := tar.NewReader(&bounded{reader: plain, left: limits.Unpacked, limit: limits.Unpacked})
	for range limits.Entries + 1 {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("unpacking: %w", err)
		}
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("unpacking: %w", err)
		}
		if err := u.entry(header, reader); err != nil {
			return fmt.Errorf("unpacking %q: %w", shorten(header.Name), err)
		}
	}
	return fmt.Errorf("unpacking: the archive has more than %d entries", limits.Entries)
}

type unpacker struct {
	root    *os.Root
	limits  Limits
	left    int64
	folders map[string]bool
	buffer  []byte
}

func (u *unpacker) entry(header *tar.Header, content io.Reader) error {
	if header.Typeflag == tar.TypeXGlobalHeader { // says things about the archive, and has a name of its own
		return nil
	}
	name, err := localPath(header.Name)
	if err != nil {
		return err
	}
	if top, _, _ := strings.Cut(name, "/"); top != releasesDir && top != imagesDir {
		return nil
	}
	switch header.Typeflag {
	case tar.TypeDir:
		return u.folder(name)
	case tar.TypeReg:
		return u.file(name, header.Size, content)
	default:
		return errors.New("only files and folders are allowed, no links and no devices")
	}
}

// localPath allows paths that stay below the folder and mean the same on every system.
func localPath(name string) (string, error) {
	local := strings.TrimSuffix(strings.TrimPrefix(name, "./"), "/")
	if local == "" {
		local = "."
	}
	if len(local) > maxPath || strings.Count(local, "/") >= maxDepth {
		return "", fmt.Errorf("the path has more than %d characters or %d folders", maxPath, maxDepth)
	}
	if !fs.ValidPath(local) || strings.ContainsAny(local, "\\\x00") {
		return "", errors.New("the path must be relative, without .. and empty parts")
	}
	return local, nil
}

func (u *unpacker) folder(name string) error {
	if u.folders[name] {
		return nil
	}
	u.folders[name] = true
	return u.root.MkdirAll(name, 0o700)
}

func (u *unpacker) file(name string, size int64, content io.Reader) error {
	if size > u.limits.File {
		return fmt.Errorf("the file has %d bytes, at most %d are allowed", size, u.limits.File)
	}
	// A sparse file takes more room on disk than in the archive.
	u.left -= size
	if u.left < 0 {
		return errTooLarge(u.limits.Unpacked)
	}
	if err := u.folder(path.Dir(name)); err != nil {
		return err
	}
	file, err := u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return errors.New("it is in the archive twice")
	}
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{file}, content, u.buffer) // the file alone would bring a buffer of its own
	return errors.Join(err, file.Close())
}

// bounded fails when more is read than expected, where an [io.LimitedReader] would seem to be at its end.
type bounded struct {
	reader io.Reader
	left   int64
	limit  int64
}

// Read reads at most what is left.
func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.reader.Read(p)
	b.left -= int64(n)
	if b.left < 0 {
		return 0, errTooLarge(b.limit)
	}
	return n, err
}

func errTooLarge(limit int64) error {
	return fmt.Errorf("the archive has more than %d bytes without compression", limit)
}
