package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/flux-autopilot/flux-operator/test/testbed/registry"
)

func pause(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "pause")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", path, "../../../cmd/pause")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building pause: %v\n%s", err, out)
	}
	return path
}

func mkimage(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := command()
	cmd.SetArgs(args)
	cmd.SetOut(&stdout)
	cmd.SetErr(&stderr)
	err := cmd.ExecuteContext(t.Context())
	return strings.TrimSpace(stdout.String()), err
}

func TestMkimage(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	s, err := registry.Serve(t.Context(), registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	data := filepath.Join(dir, "with:colon")
	if err := os.MkdirAll(data, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(data, "a.yaml"), []byte("a: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ref, archive, folder := s.Addr+"/app:v1", filepath.Join(dir, "app.tar"), filepath.Join(dir, "layout")
	args := []string{
		"--binary", pause(t, dir), "--entrypoint", "/manager", "--arg", "--serve", "--add", data + ":/data", "--env", "A=b=c",
		"--label", "org.opencontainers.image.version=1.2.3", "--ref", ref, "--push",
	}
	first, err := mkimage(t, append(args, "--out", archive)...)
	if err != nil {
		t.Fatal(err)
	}
	second, err := mkimage(t, append(args, "--out", folder)...)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(first, second); diff != "" {
		t.Errorf("the second run made another image:\n%s", diff)
	}

	// The printed name must be one that can be pulled as it stands.
	printed, err := name.NewDigest(first)
	if err != nil {
		t.Fatal(err)
	}
	pulled, err := remote.Image(printed)
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := tarball.ImageFromPath(archive, nil)
	if err != nil {
		t.Fatal(err)
	}
	root, err := layout.FromPath(folder)
	if err != nil {
		t.Fatal(err)
	}
	hash, err := v1.NewHash(printed.DigestStr())
	if err != nil {
		t.Fatal(err)
	}
	stored, err := root.Image(hash)
	if err != nil {
		t.Fatal(err)
	}
	want := v1.Config{
		Entrypoint: []string{"/manager"}, Cmd: []string{"--serve"}, User: "65532:65532", WorkingDir: "/",
		Env:    []string{"PATH=/usr/local/bin:/usr/bin:/bin", "A=b=c"},
		Labels: map[string]string{"org.opencontainers.image.version": "1.2.3"},
	}
	for name, img := range map[string]v1.Image{"registry": pulled, "archive": loaded, "layout": stored} {
		config, err := img.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, config.Config); diff != "" {
			t.Errorf("configuration in the %s (-want +got):\n%s", name, diff)
		}
	}
}

func TestMkimageLikeADockerfile(t *testing.T) {
	dir := t.TempDir()
	dockerfile := filepath.Join(dir, "Dockerfile")
	text := "FROM scratch\nARG VERSION\nLABEL version=${VERSION} name=app\nENV A=b\nUSER 1000\nENTRYPOINT [\"/manager\"]\nCMD [\"--serve\"]\n"
	if err := os.WriteFile(dockerfile, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	archive := filepath.Join(dir, "app.tar")
	args := []string{
		"--dockerfile", dockerfile, "--build-arg", "VERSION=v1", "--label", "name=other", "--binary", pause(t, dir), "--ref", "localhost/app:v1", "--out", archive,
	}
	if _, err := mkimage(t, args...); err != nil {
		t.Fatal(err)
	}
	loaded, err := tarball.ImageFromPath(archive, nil)
	if err != nil {
		t.Fatal(err)
	}
	config, err := loaded.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	want := v1.Config{
		Entrypoint: []string{"/manager"}, Cmd: []string{"--serve"}, User: "1000", WorkingDir: "/",
		Env:    []string{"PATH=/usr/local/bin:/usr/bin:/bin", "A=b"},
		Labels: map[string]string{"version": "v1", "name": "other"},
	}
	if diff := cmp.Diff(want, config.Config); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
}

func TestMkimageRefuses(t *testing.T) {
	dir := t.TempDir()
	binary := pause(t, dir)
	base := []string{"--binary", binary, "--ref", "localhost/app:v1"}
	cases := map[string]struct {
		args []string
		says string
	}{
		"NoBinary":     {args: []string{"--ref", "localhost/app:v1", "--push"}, says: "binary"},
		"NoTarget":     {args: base, says: "out push"},
		"BadLabel":     {args: append(base, "--push", "--label", "x"), says: `--label "x"`},
		"BadEnv":       {args: append(base, "--push", "--env", "=x"), says: `--env "=x"`},
		"BadAdd":       {args: append(base, "--push", "--add", dir), says: "want FOLDER:/PATH"},
		"AddFile":      {args: append(base, "--push", "--add", binary+":/x"), says: "one folder for each path"},
		"AddTwice":     {args: append(base, "--push", "--add", dir+":/x", "--add", dir+":/x"), says: "one folder for each path"},
		"AddAbsent":    {args: append(base, "--push", "--add", dir+"/absent:/x"), says: "no such file"},
		"SamePlatform": {args: append(base, "--push", "--binary", binary), says: "two are for linux/"},
		"Argument":     {args: append(base, "--push", "stray"), says: "stray"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := mkimage(t, tc.args...)
			if err == nil {
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), tc.says) {
				t.Errorf("error %q does not say %q", err, tc.says)
			}
		})
	}
}
