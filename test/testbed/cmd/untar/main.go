// Command untar unpacks a compressed archive, which is all that operator-sdk scorecard asks of the tar in its image.
package main

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
)

// limit bounds what is unpacked; a bundle is far below it.
const limit = 64 << 20

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "untar:", err)
		os.Exit(1)
	}
}

// run takes "tar xvzf FILE -C FOLDER".
func run(args []string) error {
	if len(args) != 5 || args[0] != "tar" || args[1] != "xvzf" || args[3] != "-C" {
		return errors.New("reading arguments: want tar xvzf FILE -C FOLDER")
	}
	file, err := os.Open(args[2])
	if err != nil {
		return err
	}
	defer file.Close()
	plain, err := gzip.NewReader(file)
	if err != nil {
		return fmt.Errorf("reading %q: %w", args[2], err)
	}
	root, err := os.OpenRoot(args[4])
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }() // it was only a place
	return unpack(tar.NewReader(io.LimitReader(plain, limit)), root)
}

func unpack(from *tar.Reader, root *os.Root) error {
	for {
		header, err := from.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := write(header, from, root); err != nil {
			return fmt.Errorf("unpacking %q: %w", header.Name, err)
		}
	}
}

func write(header *tar.Header, content io.Reader, root *os.Root) error {
	if header.Typeflag == tar.TypeDir {
		return root.MkdirAll(header.Name, 0o755)
	}
	if err := root.MkdirAll(path.Dir(header.Name), 0o755); err != nil {
		return err
	}
	file, err := root.Create(header.Name)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, content)
	return errors.Join(err, file.Close())
}
