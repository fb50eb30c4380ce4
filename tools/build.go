package tools

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Build makes sure that the named programs exist as static binaries for this machine and returns their paths by name.
// A finished build is reused; a missing one is compiled, one at a time, with a line on stderr when it starts and ends.
// It fails when a name is unknown, when the working directory is outside this project, or when the compiler fails.
func Build(ctx context.Context, names ...string) (map[string]string, error) {
	b, err := newBuilder(ctx)
	if err != nil {
		return nil, err
	}
	jobs := make([]job, 0, len(names))
	for _, name := range names {
		j, err := b.plan(name)
		if err != nil {
			return nil, err
		}
		jobs = append(jobs, j)
	}
	paths := make(map[string]string, len(jobs))
	for i, j := range jobs {
		j.position = fmt.Sprintf("%d of %d", i+1, len(jobs))
		if err := b.ensure(ctx, j); err != nil {
			return nil, fmt.Errorf("building %q: %w", j.name, err)
		}
		paths[j.name] = j.path
	}
	return paths, nil
}

// job is one binary to be had.
type job struct {
	name     string
	dir      string
	pkg      string
	args     []string
	path     string
	position string
}

// builder holds what all jobs of one call share.
type builder struct {
	tools     string
	cache     string
	toolchain string
	progress  io.Writer
}

func newBuilder(ctx context.Context) (*builder, error) {
	root, err := Root()
	if err != nil {
		return nil, err
	}
	cache, err := CacheDir("tools")
	if err != nil {
		return nil, err
	}
	out, err := goCommand(ctx, root, "env", "GOVERSION", "GOOS", "GOARCH").Output()
	if err != nil {
		return nil, fmt.Errorf("asking go for its version: %w", err)
	}
	return &builder{tools: filepath.Join(root, "tools"), cache: cache, toolchain: string(out), progress: os.Stderr}, nil
}

// plan computes where the binary lives: its folder carries a digest of everything that decides its bytes.
func (b *builder) plan(name string) (job, error) {
	bin, err := find(name)
	if err != nil {
		return job{}, err
	}
	dir := filepath.Join(b.tools, bin.family)
	mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		return job{}, fmt.Errorf("reading the versions of tool %q: %w", name, err)
	}
	sum, err := os.ReadFile(filepath.Join(dir, "go.sum"))
	if err != nil {
		return job{}, fmt.Errorf("reading the checksums of tool %q: %w", name, err)
	}
	version, err := required(mod, bin.module)
	if err != nil {
		return job{}, fmt.Errorf("planning tool %q: %w", name, err)
	}
	base, _, _ := strings.Cut(name, "@")
	args := flags(bin, version)
	key := digest(mod, sum, []byte(b.toolchain), []byte(bin.pkg), []byte(strings.Join(args, "\x00")))
	return job{
		name: name, dir: dir, pkg: bin.pkg, args: args,
		path: filepath.Join(b.cache, base+"-"+key, base),
	}, nil
}

// flags returns the arguments of go build that make the binary the same on every machine.
func flags(bin binary, version string) []string {
	link := []string{"-s", "-w"}
	for _, stamp := range bin.stamps {
		link = append(link, "-X "+expand(stamp, version))
	}
	args := []string{"-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags=" + strings.Join(link, " ")}
	if len(bin.tags) > 0 {
		args = append(args, "-tags="+strings.Join(bin.tags, ","))
	}
	return args
}

// digest is short on purpose: it names a folder, it does not protect anything.
func digest(parts ...[]byte) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d\n", len(p))
		h.Write(p)
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}

// required returns the version that go.mod content requires of a module.
func required(mod []byte, module string) (string, error) {
	for line := range strings.Lines(string(mod)) {
		fields := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		if len(fields) >= 2 && fields[0] == module && strings.HasPrefix(fields[1], "v") {
			return fields[1], nil
		}
	}
	return "", fmt.Errorf("finding the version of %q: go.mod does not require it", module)
}

// ensure builds the job unless its binary exists. The lock is held across the build, so that a second process waits and then finds it.
func (b *builder) ensure(ctx context.Context, j job) error {
	if built(j.path) {
		return nil
	}
	unlock, err := lock(ctx, filepath.Dir(j.path)+".lock")
	if err != nil {
		return err
	}
	defer unlock()
	if built(j.path) {
		return nil
	}
	start := time.Now()
	fmt.Fprintf(b.progress, "tools: building %s (%s)\n", j.name, j.position)
	if err := compile(ctx, j); err != nil {
		return err
	}
	fmt.Fprintf(b.progress, "tools: built %s (%s) in %.0f s\n", j.name, j.position, time.Since(start).Seconds())
	return nil
}

// compile writes beside the final place and renames, so that an interrupted build leaves nothing that looks finished.
func compile(ctx context.Context, j job) error {
	dir := filepath.Dir(j.path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making the folder of the binary: %w", err)
	}
	unfinished := j.path + ".part"
	defer os.Remove(unfinished)
	args := append([]string{"build"}, j.args...)
	cmd := goCommand(ctx, j.dir, append(args, "-o", unfinished, j.pkg)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("running go build: %w: %s", errors.Join(err, ctx.Err()), tail(stderr.String(), 2000))
	}
	if err := os.Rename(unfinished, j.path); err != nil {
		return fmt.Errorf("keeping the built binary: %w", err)
	}
	return nil
}

// goCommand runs go without what a caller's environment could change about the result.
func goCommand(ctx context.Context, dir string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off", "GOTOOLCHAIN=local")
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

func built(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

func tail(s string, limit int) string {
	s = strings.TrimSpace(s)
	if len(s) > limit {
		return "…" + s[len(s)-limit:]
	}
	return s
}
