package image_test

import (
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// Offsets in a 64-bit ELF header.
const (
	machineOffset       = 18
	programHeaderOffset = 32

	machineAMD64, machineARM64, machineS390 = 62, 183, 22
	segmentInterpreter                      = 3
)

var buildPause = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "pause")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "pause")
	cmd := exec.Command("go", "build", "-o", file, "../cmd/pause")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, err
	}
	return os.ReadFile(file)
})

// pauseBinary is a real static program that claims to be for some machine: building it for each would compile the
// standard library again.
func pauseBinary(t *testing.T, name string, machine uint16) string {
	t.Helper()
	return writeBinary(t, name, func(elf []byte) {
		binary.LittleEndian.PutUint16(elf[machineOffset:], machine)
	})
}

// dynamicBinary is the same program that claims to need a dynamic linker.
func dynamicBinary(t *testing.T) string {
	t.Helper()
	return writeBinary(t, "dynamic", func(elf []byte) {
		segments := binary.LittleEndian.Uint64(elf[programHeaderOffset:])
		binary.LittleEndian.PutUint32(elf[segments:], segmentInterpreter)
	})
}

func writeBinary(t *testing.T, name string, change func([]byte)) string {
	t.Helper()
	built, err := buildPause()
	if err != nil {
		t.Fatalf("building pause: %v", err)
	}
	elf := append([]byte(nil), built...)
	change(elf)
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, elf, 0o755); err != nil {
		t.Fatal(err)
	}
	return file
}
