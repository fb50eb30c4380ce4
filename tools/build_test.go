package tools

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestCatalogIsPinned(t *testing.T) {
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	for name, bin := range catalog() {
		mod, err := os.ReadFile(filepath.Join(root, "tools", bin.family, "go.mod"))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if _, err := required(mod, bin.module); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(filepath.Join(root, "tools", bin.family, "go.sum")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRequired(t *testing.T) {
	mod := "module m\n\nrequire example.org/one v1.2.3\n\nrequire (\n\texample.org/two v0.1.0 // indirect\n)\nreplace example.org/three => example.org/four v4.0.0\n"
	for _, tc := range []struct {
		reason, module, want string
	}{
		{"a single line", "example.org/one", "v1.2.3"},
		{"a block with a comment", "example.org/two", "v0.1.0"},
		{"a replacement is not a requirement", "example.org/three", ""},
		{"not there", "example.org/on", ""},
	} {
		got, err := required([]byte(mod), tc.module)
		if got != tc.want || (err == nil) != (tc.want != "") {
			t.Errorf("%s: got %q, %v; want %q", tc.reason, got, err, tc.want)
		}
	}
}

func TestStamps(t *testing.T) {
	args := flags(catalog()["kubelet"], "v1.36.3")
	link := args[len(args)-1]
	for _, want := range []string{
		"-X k8s.io/component-base/version.gitVersion=v1.36.3", "-X k8s.io/client-go/pkg/version.gitMajor=1",
		"-X k8s.io/client-go/pkg/version.gitMinor=36",
	} {
		if !strings.Contains(link, want) {
			t.Errorf("%q is missing in %q", want, link)
		}
	}
}

func TestKeyFollowsEveryInput(t *testing.T) {
	ctx := context.Background()
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	b, err := newBuilder(ctx)
	if err != nil {
		t.Fatal(err)
	}
	first, err := b.plan("kwok")
	if err != nil {
		t.Fatal(err)
	}
	again, err := b.plan("kwok")
	if err != nil || again.path != first.path {
		t.Errorf("the same inputs gave %q and %q (%v)", first.path, again.path, err)
	}
	b.toolchain = "go0.0.0"
	other, err := b.plan("kwok")
	if err != nil || other.path == first.path {
		t.Errorf("another Go version gave the same path %q (%v)", other.path, err)
	}
}

func TestVersionedNames(t *testing.T) {
	for _, minor := range KubernetesVersions() {
		if name := Versioned("kubelet", minor); !slices.Contains(Names(), name) {
			t.Errorf("%q is not in the catalog", name)
		}
	}
	if got := Versioned("kubelet", ""); got != "kubelet" {
		t.Errorf("the default minor is called %q", got)
	}
}

func TestBuildRefusesUnknownNames(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	if _, err := Build(context.Background(), "no-such-tool"); err == nil || !strings.Contains(err.Error(), `"no-such-tool"`) {
		t.Errorf("got %v", err)
	}
}

func TestLockExcludesUntilReleased(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := lock(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*lockPoll)
	defer cancel()
	if _, err := lock(ctx, path); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a held lock was given away: %v", err)
	}
	unlock()
	ctx, cancel = context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	again, err := lock(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	again()
}
