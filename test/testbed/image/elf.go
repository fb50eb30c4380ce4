package image

import (
	"debug/elf"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// architectures are those the project ships for, as Go and OCI call them.
var architectures = map[elf.Machine]string{
	elf.EM_X86_64:  "amd64",
	elf.EM_AARCH64: "arm64",
}

// platformOf reads the platform from the binary and refuses one that could not run in an empty image.
func platformOf(file string) (v1.Platform, error) {
	binary, err := elf.Open(file)
	if err != nil {
		return v1.Platform{}, fmt.Errorf("reading binary: %w", err)
	}
	defer binary.Close()

	architecture, ok := architectures[binary.Machine]
	if !ok {
		return v1.Platform{}, fmt.Errorf("reading binary: machine %s is not supported", binary.Machine)
	}
	for _, segment := range binary.Progs {
		if segment.Type == elf.PT_INTERP {
			return v1.Platform{}, fmt.Errorf("reading binary: it is dynamically linked, and the image has no linker; build with CGO_ENABLED=0")
		}
	}
	return v1.Platform{OS: "linux", Architecture: architecture}, nil
}
