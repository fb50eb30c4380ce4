package main

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// sync makes the folders flux and flux-images of out hold exactly the files and returns how many it wrote. Files that
// are right already stay untouched, so that others may read them meanwhile.
func sync(out string, files map[string][]byte) (int, error) {
	for _, folder := range []string{"flux", "flux-images"} {
		if err := removeOthers(out, folder, files); err != nil {
			return 0, err
		}
	}
	written := 0
	for path, content := range files {
		target := filepath.Join(out, filepath.FromSlash(path))
		if present, err := os.ReadFile(target); err == nil && bytes.Equal(present, content) {
			continue
		}
		if err := replace(target, content); err != nil {
			return written, err
		}
		written++
	}
	return written, nil
}

// removeOthers deletes the files of a folder that are not wanted, and folders that are empty after that.
func removeOthers(out, folder string, files map[string][]byte) error {
	var folders []string
	err := filepath.WalkDir(filepath.Join(out, folder), func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			folders = append(folders, path)
			return nil
		}
		relative, err := filepath.Rel(out, path)
		if err != nil {
			return err
		}
		if _, ok := files[filepath.ToSlash(relative)]; ok {
			return nil
		}
		return os.Remove(path)
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	// Children come after their parents in the list.
	for _, folder := range slices.Backward(folders) {
		entries, err := os.ReadDir(folder)
		if err != nil {
			return err
		}
		if len(entries) > 0 {
			continue
		}
		if err := os.Remove(folder); err != nil {
			return err
		}
	}
	return nil
}

// replace writes a file in one step: a reader sees the old content or the new.
func replace(target string, content []byte) error {
	folder := filepath.Dir(target)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	temporary, err := os.CreateTemp(folder, ".new-*")
	if err != nil {
		return err
	}
	_, err = temporary.Write(content)
	err = errors.Join(err, temporary.Chmod(0o644), temporary.Close())
	if err == nil {
		err = os.Rename(temporary.Name(), target)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temporary.Name()))
	}
	return nil
}
