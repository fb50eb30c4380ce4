package image_test

import (
	"archive/tar"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/flux-autopilot/flux-operator/test/testbed/image"
)

// file is what a test wants to know of one entry of a layer.
type file struct {
	Mode    int64
	Size    int64
	Content string
}

// filesOf lists a layer; contents above a kilobyte are left out. Owners and times are the same everywhere, so they are
// checked here.
func filesOf(t *testing.T, layer v1.Layer) map[string]file {
	t.Helper()
	rc, err := layer.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	files := map[string]file{}
	reader := tar.NewReader(rc)
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.Uid != 0 || header.Gid != 0 || !header.ModTime.Equal(time.Unix(0, 0)) {
			t.Errorf("%s: owner %d:%d, time %s", header.Name, header.Uid, header.Gid, header.ModTime)
		}
		f := file{Mode: header.Mode, Size: header.Size}
		if header.Size < 1024 {
			content, err := io.ReadAll(reader)
			if err != nil {
				t.Fatal(err)
			}
			f.Content = string(content)
		}
		if _, twice := files[header.Name]; twice {
			t.Errorf("%s is in the layer twice", header.Name)
		}
		files[header.Name] = f
	}
}

func layersOf(t *testing.T, img v1.Image) []map[string]file {
	t.Helper()
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	var all []map[string]file
	for _, layer := range layers {
		all = append(all, filesOf(t, layer))
	}
	return all
}

func mustImage(t *testing.T, binary image.Binary, opts image.Options) v1.Image {
	t.Helper()
	img, err := image.FromBinary(binary, opts)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(img); err != nil {
		t.Errorf("validating image: %v", err)
	}
	return img
}

func digestOf(t *testing.T, thing interface{ Digest() (v1.Hash, error) }) string {
	t.Helper()
	digest, err := thing.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest.String()
}

func TestLayers(t *testing.T) {
	binary := pauseBinary(t, "manager", machineAMD64)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, []byte("PEM"), 0o600); err != nil {
		t.Fatal(err)
	}
	layers := layersOf(t, mustImage(t, image.Binary{Path: binary}, image.Options{
		CABundle: ca,
		Dirs:     map[string]fs.FileMode{"/cache": 0o1777, "/sticky": fs.ModeSticky | 0o777},
		Files: map[string]fs.FS{
			"/data":     fstest.MapFS{"flux/v1/a.yaml": {Data: []byte("a"), Mode: 0o600}, "run.sh": {Data: []byte("b"), Mode: 0o700}},
			"/data/sub": fstest.MapFS{"c": {Data: []byte("c"), Mode: 0o666}},
		},
	}))
	if len(layers) != 3 {
		t.Fatalf("%d layers, want base, files, binary", len(layers))
	}

	names := map[string]int64{}
	for name, f := range layers[0] {
		names[name] = f.Mode
	}
	wantBase := map[string]int64{
		"tmp/": 0o1777, "cache/": 0o1777, "sticky/": 0o1777, "etc/": 0o755, "etc/passwd": 0o644, "etc/group": 0o644,
		"etc/ssl/": 0o755, "etc/ssl/certs/": 0o755, "etc/ssl/certs/ca-certificates.crt": 0o644,
		"usr/": 0o755, "usr/local/": 0o755, "usr/local/bin/": 0o755,
	}
	if diff := cmp.Diff(wantBase, names); diff != "" {
		t.Errorf("base (-want +got):\n%s", diff)
	}
	if got := layers[0]["etc/ssl/certs/ca-certificates.crt"].Content; got != "PEM" {
		t.Errorf("certificates %q", got)
	}
	if got := layers[0]["etc/passwd"].Content; !strings.Contains(got, "nonroot:x:65532:65532:") {
		t.Errorf("passwd %q", got)
	}

	wantFiles := map[string]file{
		"data/": {Mode: 0o755}, "data/flux/": {Mode: 0o755}, "data/flux/v1/": {Mode: 0o755}, "data/sub/": {Mode: 0o755},
		"data/flux/v1/a.yaml": {Mode: 0o644, Size: 1, Content: "a"},
		"data/run.sh":         {Mode: 0o755, Size: 1, Content: "b"},
		"data/sub/c":          {Mode: 0o644, Size: 1, Content: "c"},
	}
	if diff := cmp.Diff(wantFiles, layers[1]); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}

	info, err := os.Stat(binary)
	if err != nil {
		t.Fatal(err)
	}
	wantBinary := map[string]file{"usr/local/bin/manager": {Mode: 0o755, Size: info.Size()}}
	if diff := cmp.Diff(wantBinary, layers[2]); diff != "" {
		t.Errorf("binary (-want +got):\n%s", diff)
	}
}

func TestConfiguration(t *testing.T) {
	cases := map[string]struct {
		binary  image.Binary
		machine uint16
		opts    image.Options
		want    v1.Config
		arch    string
	}{
		"Defaults": {
			machine: machineAMD64, arch: "amd64",
			want: v1.Config{
				User: "65532:65532", Entrypoint: []string{"/usr/local/bin/app"}, WorkingDir: "/",
				Env: []string{"PATH=/usr/local/bin:/usr/bin:/bin"},
			},
		},
		"Everything": {
			machine: machineARM64, arch: "arm64",
			binary: image.Binary{Entrypoint: "/opt/run", Args: []string{"--verbose"}},
			opts: image.Options{
				User: "65534:65534", Env: []string{"A=1", "PATH=/opt"}, Labels: map[string]string{"l": "v"},
				Platform: v1.Platform{OS: "linux", Architecture: "arm64"},
			},
			want: v1.Config{
				User: "65534:65534", Entrypoint: []string{"/opt/run"}, Cmd: []string{"--verbose"}, WorkingDir: "/",
				Env: []string{"A=1", "PATH=/opt"}, Labels: map[string]string{"l": "v"},
			},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			tc.binary.Path = pauseBinary(t, "app", tc.machine)
			config, err := mustImage(t, tc.binary, tc.opts).ConfigFile()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, config.Config); diff != "" {
				t.Errorf("configuration (-want +got):\n%s", diff)
			}
			if got := config.Platform().String(); got != "linux/"+tc.arch {
				t.Errorf("platform %s, want linux/%s", got, tc.arch)
			}
			if !config.Created.Equal(time.Unix(0, 0)) {
				t.Errorf("created %s", config.Created)
			}
		})
	}
}

func TestSameInputGivesSameDigest(t *testing.T) {
	digests := map[string]bool{}
	for _, mode := range []os.FileMode{0o600, 0o644} {
		dir := t.TempDir()
		for _, name := range []string{"b", "a"} {
			path := filepath.Join(dir, name)
			if err := os.WriteFile(path, []byte(name), mode); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(path, time.Now(), time.Unix(int64(mode), 0)); err != nil {
				t.Fatal(err)
			}
		}
		img := mustImage(t, image.Binary{Path: pauseBinary(t, "app", machineAMD64)}, image.Options{
			Files:  map[string]fs.FS{"/data": os.DirFS(dir), "/more": os.DirFS(dir)},
			Labels: map[string]string{"a": "1", "b": "2", "c": "3"},
		})
		digests[digestOf(t, img)] = true
	}
	if len(digests) != 1 {
		t.Errorf("digests differ: %v", digests)
	}
}

func TestOtherBinaryChangesOnlyItsLayer(t *testing.T) {
	opts := image.Options{Files: map[string]fs.FS{"/data": fstest.MapFS{"a": {Data: []byte("a")}}}}
	one, err := mustImage(t, image.Binary{Path: pauseBinary(t, "app", machineAMD64)}, opts).Manifest()
	if err != nil {
		t.Fatal(err)
	}
	other, err := mustImage(t, image.Binary{Path: pauseBinary(t, "app", machineARM64)}, opts).Manifest()
	if err != nil {
		t.Fatal(err)
	}
	for i := range one.Layers {
		same, last := one.Layers[i].Digest == other.Layers[i].Digest, i == len(one.Layers)-1
		if same == last {
			t.Errorf("layer %d of %d: same digest is %t", i, len(one.Layers), same)
		}
	}
}

func TestFromBinaryRefuses(t *testing.T) {
	good := pauseBinary(t, "app", machineAMD64)
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	linked := t.TempDir()
	if err := os.Symlink(text, filepath.Join(linked, "link")); err != nil {
		t.Fatal(err)
	}
	twice := fstest.MapFS{"app": {Data: []byte("x")}}

	cases := map[string]struct {
		binary image.Binary
		opts   image.Options
		says   string
	}{
		"Absent":             {binary: image.Binary{Path: good + "-absent"}, says: "no such file"},
		"NotELF":             {binary: image.Binary{Path: text}, says: "reading binary"},
		"Dynamic":            {binary: image.Binary{Path: dynamicBinary(t)}, says: "dynamically linked"},
		"OtherMachine":       {binary: image.Binary{Path: pauseBinary(t, "app", machineS390)}, says: "EM_S390"},
		"OtherPlatform":      {binary: image.Binary{Path: good}, opts: image.Options{Platform: v1.Platform{OS: "linux", Architecture: "arm64"}}, says: "linux/amd64, wanted linux/arm64"},
		"RelativeEntrypoint": {binary: image.Binary{Path: good, Entrypoint: "app"}, says: `"app"`},
		"RootEntrypoint":     {binary: image.Binary{Path: good, Entrypoint: "/"}, says: "entrypoint"},
		"RelativeFiles":      {binary: image.Binary{Path: good}, opts: image.Options{Files: map[string]fs.FS{"data": twice}}, says: `"data"`},
		"RelativeDir":        {binary: image.Binary{Path: good}, opts: image.Options{Dirs: map[string]fs.FileMode{"data": 0o755}}, says: `"data"`},
		"AbsentFiles":        {binary: image.Binary{Path: good}, opts: image.Options{Files: map[string]fs.FS{"/data": os.DirFS(good + "-absent")}}, says: `"/data"`},
		"AbsentCertificates": {binary: image.Binary{Path: good}, opts: image.Options{CABundle: text + "-absent"}, says: "no such file"},
		"Symlink":            {binary: image.Binary{Path: good}, opts: image.Options{Files: map[string]fs.FS{"/data": os.DirFS(linked)}}, says: `"link"`},
		"FileOverBinary":     {binary: image.Binary{Path: good}, opts: image.Options{Files: map[string]fs.FS{"/usr/local/bin": twice}}, says: "/usr/local/bin/app"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := image.FromBinary(tc.binary, tc.opts)
			if err == nil {
				t.Fatal("an image was made")
			}
			if !strings.Contains(err.Error(), tc.says) {
				t.Errorf("error %q does not say %q", err, tc.says)
			}
		})
	}
}
