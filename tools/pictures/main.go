// Command pictures draws Grafana dashboards with recorded data as SVG files: pictures <folder of data> <folder of pictures>.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "pictures:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return errors.New("want two arguments: the folder of the data, and that of the pictures")
	}
	files, err := filepath.Glob(filepath.Join(args[0], "*.json"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("finding data in %q: found %d: %w", args[0], len(files), err)
	}
	if err := os.MkdirAll(args[1], 0o755); err != nil {
		return err
	}
	for _, file := range files {
		picture, err := drawn(file)
		if err != nil {
			return fmt.Errorf("drawing %q: %w", file, err)
		}
		name := strings.TrimSuffix(filepath.Base(file), ".json") + ".svg"
		if err := os.WriteFile(filepath.Join(args[1], name), picture, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// drawn reads a dashboard and draws it.
func drawn(file string) ([]byte, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	d := &dashboard{}
	if err := json.Unmarshal(data, d); err != nil {
		return nil, err
	}
	picture, err := d.draw()
	if err != nil {
		return nil, err
	}
	// What the picture is of, for the test that tells whether it is the dashboard of today; and fonts that people have.
	end := bytes.IndexByte(picture, '>') + 1
	about := fmt.Sprintf("\n<title>%s</title>\n<metadata>%s</metadata>\n", d.Title, d.Digest)
	picture = append(picture[:end:end], append([]byte(about), picture[end:]...)...)
	picture = bytes.ReplaceAll(picture, []byte("\nL "), []byte("L")) // half of a picture are lines, which need no line of their own
	return bytes.ReplaceAll(picture, []byte("'Roboto Medium',sans-serif"), []byte("Inter,Roboto,Helvetica,Arial,sans-serif")), nil
}
