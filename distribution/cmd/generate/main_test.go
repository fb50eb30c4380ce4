package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flux-autopilot/flux-operator/distribution"
)

func TestParse(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", "/cache")
	got, err := parse([]string{"--releases", "2.9.4,2.9.2", "--controller-gen", "a", "--controller-gen", "b"}, &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"2.9.4", "2.9.2"}, got.releases); diff != "" {
		t.Errorf("releases (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"a", "b"}, got.generators); diff != "" {
		t.Errorf("generators (-want +got):\n%s", diff)
	}
	if want := filepath.Join("/cache", "flux-operator", "crds"); got.cache != want {
		t.Errorf("cache = %q, want %q", got.cache, want)
	}
	if _, err := parse([]string{"stray"}, &bytes.Buffer{}); err == nil {
		t.Error("a stray argument is no error")
	}
	var help bytes.Buffer
	if _, err := parse([]string{"--help"}, &help); !errors.Is(err, flag.ErrHelp) || !strings.Contains(help.String(), "-out") {
		t.Errorf("--help: %v\n%s", err, help.String())
	}
}

func TestChoose(t *testing.T) {
	catalog := distribution.Catalog{Releases: []distribution.Release{{Version: "2.8.8"}, {Version: "2.9.2"}, {Version: "2.9.4"}}}
	tests := map[string]struct {
		versions []string
		want     []string
	}{
		"all":                {nil, []string{"2.8.8", "2.9.2", "2.9.4"}},
		"catalog order":      {[]string{"v2.9.4", " 2.8.8"}, []string{"2.8.8", "2.9.4"}},
		"named twice":        {[]string{"2.9.2", "v2.9.2"}, []string{"2.9.2"}},
		"not in the catalog": {[]string{"2.9.2", "1.0.0"}, nil},
	}
	for name, test := range tests {
		releases, err := choose(catalog, test.versions)
		if (err != nil) != (test.want == nil) {
			t.Errorf("%s: error %v", name, err)
		}
		var got []string
		for _, release := range releases {
			got = append(got, release.Version)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestSyncMakesFoldersExact(t *testing.T) {
	out := t.TempDir()
	write(t, filepath.Join(out, "flux", "v1.0.0", "old.yaml"), "old")
	write(t, filepath.Join(out, "flux-images", "VERSION"), "v1.0.0\n")
	write(t, filepath.Join(out, "NOTES"), "not ours")

	files := map[string][]byte{"flux/v2.0.0/new.yaml": []byte("new"), "flux-images/VERSION": []byte("v2.0.0\n")}
	for _, want := range []int{2, 0} {
		got, err := sync(out, files)
		if err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("sync() wrote %d files, want %d", got, want)
		}
	}
	for path, content := range files {
		got, err := os.ReadFile(filepath.Join(out, path))
		if err != nil || !bytes.Equal(got, content) {
			t.Errorf("%s: %q, %v", path, got, err)
		}
	}
	if _, err := os.Stat(filepath.Join(out, "flux", "v1.0.0")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the old release is still there: %v", err)
	}
	if _, err := os.Stat(filepath.Join(out, "NOTES")); err != nil {
		t.Errorf("a file of somebody else is gone: %v", err)
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// small is a release with one component.
func small() distribution.Release {
	return distribution.Release{
		Version:       "2.0.0",
		ControllerGen: distribution.DefaultControllerGen,
		Components:    []distribution.Component{{Name: "source-controller", Version: "v1.0.0", APIVersion: "v1.0.0"}},
	}
}

// modules returns a folder with a module for the small release.
func modules(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	write(t, filepath.Join(root, "flux-apis-2.0.0", "go.mod"), "module example.com/apis\n\ngo 1.26.0\n")
	write(t, filepath.Join(root, "flux-apis-2.0.0", "go.sum"), "")
	write(t, filepath.Join(root, "flux-apis-2.0.0", "apis.go"), "package apis\n")
	return root
}

// script stands in for controller-gen: it runs the lines with the output folder in $dir.
func script(t *testing.T, lines string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "generator")
	write(t, path, "#!/bin/sh\nfor a in \"$@\"; do case $a in output:crd:dir=*) dir=${a#output:crd:dir=} ;; esac; done\n"+lines+"\n")
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFillStoresWholeEntries(t *testing.T) {
	var messages bytes.Buffer
	source := crdSource{modules: modules(t), cache: t.TempDir(), messages: &messages}
	generator := script(t, `printf 'kind: CustomResourceDefinition\napiVersion: v1\nmetadata: {name: b}\n' > $dir/b.yaml
printf 'kind: CustomResourceDefinition\napiVersion: v1\nmetadata: {name: a}\n' > $dir/a.yaml`)
	entry := filepath.Join(source.cache, "key")
	// The second run finds that another one was faster.
	for range 2 {
		err := source.fill(context.Background(), small(), generator, entry)
		if err != nil {
			t.Fatal(err)
		}
	}
	crds, err := read(entry, small())
	if err != nil {
		t.Fatal(err)
	}
	if got := len(crds["source-controller"]); got != 2 {
		t.Errorf("%d CRDs, want 2", got)
	}
	if !strings.Contains(messages.String(), "source-controller (1/1)") {
		t.Errorf("no progress in %q", messages.String())
	}
	expectEntries(t, source.cache, 1)
}

func TestFillLeavesNothingAfterAFailure(t *testing.T) {
	source := crdSource{modules: modules(t), cache: t.TempDir(), messages: &bytes.Buffer{}}
	generator := script(t, "echo no such module; exit 3")
	err := source.fill(context.Background(), small(), generator, filepath.Join(source.cache, "key"))
	if err == nil || !strings.Contains(err.Error(), "no such module") {
		t.Errorf("error %v does not say what the generator said", err)
	}
	expectEntries(t, source.cache, 0)
}

func expectEntries(t *testing.T, folder string, want int) {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != want {
		t.Errorf("%d entries in the cache, want %d", len(entries), want)
	}
}

func TestEntryCoversWhatCRDsDependOn(t *testing.T) {
	source := crdSource{modules: modules(t), cache: "/cache", toolchain: "go1.26.8"}
	entry := func(source crdSource, release distribution.Release) string {
		t.Helper()
		entry, err := source.entry(release)
		if err != nil {
			t.Fatal(err)
		}
		return entry
	}
	first := entry(source, small())
	if again := entry(source, small()); again != first {
		t.Errorf("the entry of the same input changed from %s to %s", first, again)
	}
	otherTool := small()
	otherTool.ControllerGen = "v0.12.0"
	if entry(source, otherTool) == first {
		t.Error("the entry does not depend on the version of controller-gen")
	}
	otherGo := source
	otherGo.toolchain = "go1.26.9"
	if entry(otherGo, small()) == first {
		t.Error("the entry does not depend on the version of Go")
	}
	write(t, filepath.Join(source.module(small()), "go.sum"), "changed\n")
	if entry(source, small()) == first {
		t.Error("the entry does not depend on go.sum")
	}
	source.modules = filepath.Join(source.modules, "absent")
	if _, err := source.entry(small()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing module: %v", err)
	}
}

func TestOnlyMissingGeneratorsAreListed(t *testing.T) {
	source := crdSource{modules: modules(t), cache: t.TempDir(), toolchain: "go1.26.8"}
	old := small()
	old.ControllerGen = "v0.12.0"
	releases := []distribution.Release{old, small(), small()}
	expect := func(want ...string) {
		t.Helper()
		got, err := source.missingGenerators(releases)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("missing generators (-want +got):\n%s", diff)
		}
	}
	fill := func(release distribution.Release) {
		t.Helper()
		entry, err := source.entry(release)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(entry, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	expect("controller-gen@0.12", "controller-gen")
	fill(small())
	expect("controller-gen@0.12")
	fill(old)
	expect()
	source.modules = t.TempDir()
	if _, err := source.missingGenerators(releases); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing module: %v", err)
	}
}

// What the catalog asks for must be what the Makefile can build.
func TestGeneratorsOfTheCatalogArePinned(t *testing.T) {
	catalog, err := distribution.Load()
	if err != nil {
		t.Fatal(err)
	}
	for _, release := range catalog.Releases {
		family := strings.ReplaceAll(toolName(release.ControllerGen), "@", "-")
		content, err := os.ReadFile(filepath.Join("..", "..", "..", "tools", family, "go.mod"))
		if err != nil {
			t.Errorf("Flux %s: %v", release.Version, err)
			continue
		}
		if want := "sigs.k8s.io/controller-tools " + release.ControllerGen; !strings.Contains(string(content), want) {
			t.Errorf("Flux %s: %s does not require %s", release.Version, family, want)
		}
	}
}

func TestFindGeneratorRefusesOtherPrograms(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	build, ok := debug.ReadBuildInfo()
	if !ok {
		t.Fatal("the test has no build information")
	}
	_, err = findGenerator([]string{self}, "v0.23.0")
	if err == nil || !strings.Contains(err.Error(), build.Main.Path) {
		t.Errorf("error %v does not name %s", err, build.Main.Path)
	}
	if _, err := findGenerator([]string{filepath.Join(t.TempDir(), "absent")}, "v0.23.0"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an absent program: %v", err)
	}
	if _, err := findGenerator([]string{script(t, "")}, "v0.23.0"); err == nil {
		t.Error("a program without a version is no error")
	}
}
