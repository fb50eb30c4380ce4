package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// source says where a FluxInstance and the releases for it are read from.
type source struct {
	file, namespace string

	origin origin
}

// bind gives the command the flags of a source.
func (s *source) bind(cmd *cobra.Command) {
	s.bindOptional(cmd)
	cmd.Flags().Lookup("filename").Usage += " (required)"
	must(cmd.MarkFlagRequired("filename"))
}

// bindOptional is bind for a command that knows what to do without a file.
func (s *source) bindOptional(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVarP(&s.file, "filename", "f", "", "file with the FluxInstance, - for standard input")
	flags.StringVar(&s.origin.address, "distribution", cmp.Or(os.Getenv("DISTRIBUTION_DIR"), "dist/distribution"),
		"folder with the releases, flux/<version>/ and flux-images/<version>/, or oci:// address of an artifact that holds them; $DISTRIBUTION_DIR sets the default")
	s.origin.bind(cmd)
	flags.StringVarP(&s.namespace, "namespace", "n", v1.DefaultNamespace, "namespace of the instance where the file names none")
	must(cmd.MarkFlagFilename("filename", "yaml", "yml", "json"))
	must(cmd.MarkFlagDirname("distribution"))
}

// must is for what only fails when a flag was misspelt in this package.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// open reads the instance and opens the distribution, which the caller closes.
func (s *source) open(ctx context.Context, in io.Reader) (*v1.FluxInstance, *catalog, error) {
	content, err := readFile(s.file, in)
	if err != nil {
		return nil, nil, err
	}
	instance, err := readInstance(ctx, content, s.namespace)
	if err != nil {
		return nil, nil, fmt.Errorf("reading %q: %w", s.file, err)
	}
	opened, err := s.origin.open(ctx)
	return instance, opened, err
}

// maxFile is more than the API server takes for one object.
const maxFile = 4 << 20

// readFile reads a file, or the standard input where its name is -.
func readFile(name string, in io.Reader) ([]byte, error) {
	if name != "-" {
		return readNamed(name)
	}
	return readBounded(name, in, maxFile)
}

func readNamed(name string) ([]byte, error) {
	file, err := os.Open(name) //nolint:gosec // whoever runs the command names the file
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return readBounded(name, file, maxFile)
}

func readBounded(name string, in io.Reader, limit int64) ([]byte, error) {
	content, err := io.ReadAll(io.LimitReader(in, limit+1))
	if err != nil {
		return nil, fmt.Errorf("reading %q: %w", name, err)
	}
	if int64(len(content)) > limit {
		return nil, fmt.Errorf("reading %q: it is larger than %d bytes", name, limit)
	}
	return content, nil
}
