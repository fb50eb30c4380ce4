package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	imagev1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"sigs.k8s.io/yaml"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/artifact"
	"github.com/flux-autopilot/flux-operator/test/testbed/registry"
)

// home gives the test a home of its own, without credentials and with an empty cache.
func home(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	t.Setenv("XDG_CACHE_HOME", filepath.Join(dir, "cache"))
	t.Setenv("DOCKER_CONFIG", filepath.Join(dir, "docker"))
	return dir
}

func serveRegistry(t *testing.T, options registry.Options) *registry.Server {
	t.Helper()
	server, err := registry.Serve(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Second)
		defer cancel()
		if err := server.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return server
}

// call runs a command and keeps apart what it prints and what it tells.
func call(t *testing.T, args ...string) (out, told string, err error) {
	t.Helper()
	root := newRootCommand()
	var stdout, stderr bytes.Buffer
	root.SetIn(strings.NewReader(good))
	root.SetOut(&stdout)
	root.SetErr(&stderr)
	root.SetArgs(args)
	err = root.ExecuteContext(t.Context())
	return stdout.String(), stderr.String(), err
}

// writes counts the requests that changed something.
func writes(server *registry.Server) int {
	counts := server.Requests()
	return counts.Under(http.MethodPut, "") + counts.Under(http.MethodPost, "") + counts.Under(http.MethodPatch, "")
}

func TestPush(t *testing.T) {
	home(t)
	server := serveRegistry(t, registry.Options{})
	address := "oci://" + server.Addr + "/flux/manifests:v1"
	out, _, err := call(t, "distro", "push", releases, address, "--insecure", "--source", "https://git", "--revision", "v1@sha1:abc", "-a", "team=a,b=c")
	if err != nil || !strings.HasPrefix(out, address+"@sha256:") {
		t.Fatalf("printed is %q, %v", out, err)
	}
	before := writes(server)
	text, _, err := call(t, "distro", "push", releases, address, "--insecure", "--source", "https://git", "--revision", "v1@sha1:abc", "-a", "team=a,b=c", "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	if n := writes(server); n != before {
		t.Errorf("pushing the same again made %d requests that may change something", n-before)
	}
	var got map[string]string
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	pinned := strings.TrimSpace(out)
	_, digest, _ := strings.Cut(pinned, "@")
	want := map[string]string{"artifact": pinned, "reference": strings.TrimPrefix(pinned, "oci://"), "digest": digest}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("output (-want +got):\n%s", diff)
	}
	ref, err := name.ParseReference(want["reference"])
	if err != nil {
		t.Fatal(err)
	}
	image, err := remote.Image(ref)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := image.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	annotations := map[string]string{"org.opencontainers.image.source": "https://git", "org.opencontainers.image.revision": "v1@sha1:abc", "team": "a,b=c"}
	if diff := cmp.Diff(annotations, manifest.Annotations); diff != "" {
		t.Errorf("annotations (-want +got):\n%s", diff)
	}
}

func TestPushFails(t *testing.T) {
	home(t)
	server := serveRegistry(t, registry.Options{})
	address := "oci://" + server.Addr + "/manifests"
	for _, tt := range []struct {
		reason string
		args   []string
		want   string
	}{
		{"no distribution", []string{t.TempDir(), address, "--insecure"}, "flux-images"},
		{"no address", []string{releases, server.Addr + "/manifests"}, "oci://"},
		{"an address with a digest", []string{releases, address + "@sha256:" + strings.Repeat("0", 64), "--insecure"}, "digest"},
		{"an annotation without value", []string{releases, address, "-a", "key"}, "--annotation"},
		{"no time", []string{releases, address, "--timeout", "0s"}, "--timeout"},
		{"an unknown format", []string{releases, address, "-o", "yaml"}, "--output"},
		{"no such authority", []string{releases, address, "--ca-file", "absent.pem"}, "--ca-file"},
		{"TLS that is not there", []string{releases, address}, "HTTP response to HTTPS"},
		{"one argument", []string{releases}, "2 arg"},
	} {
		if out, _, err := call(t, append([]string{"distro", "push"}, tt.args...)...); err == nil || out != "" || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %q, %v, want an error with %q", tt.reason, out, err, tt.want)
		}
	}
}

// TestBuildFromArtifact: an artifact gives the objects that its folder gives, and is fetched once.
func TestBuildFromArtifact(t *testing.T) {
	home(t)
	server := serveRegistry(t, registry.Options{})
	address := "oci://" + server.Addr + "/manifests:v1"
	if _, _, err := call(t, "distro", "push", releases, address, "--insecure"); err != nil {
		t.Fatal(err)
	}
	want, _, err := call(t, "build", "instance", "-f", "-", "--distribution", releases)
	if err != nil {
		t.Fatal(err)
	}
	var fetched int
	for i := range 3 {
		got, _, err := call(t, "build", "instance", "-f", "-", "--distribution", address, "--insecure")
		if err != nil || got != want {
			t.Fatalf("run %d gives other objects than the folder: %v", i, err)
		}
		blobs := server.Requests().Under(http.MethodGet, "/v2/manifests/blobs/")
		if i == 0 {
			fetched = blobs
		}
		if fetched == 0 || blobs != fetched {
			t.Errorf("run %d: %d requests for content after %d", i, blobs, fetched)
		}
	}
	// A second process must not disturb the first one.
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	base, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	unlock, ok := lock(filepath.Join(base, "flux-operator", "artifacts"))
	if !ok {
		t.Fatal("the lock is still taken")
	}
	defer unlock()
	if got, _, err := call(t, "build", "instance", "-f", "-", "--distribution", address, "--insecure"); err != nil || got != want {
		t.Errorf("beside another process: %v", err)
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("left over are %v, %v", left, err)
	}
}

func TestBuildFromArtifactFails(t *testing.T) {
	home(t)
	server := serveRegistry(t, registry.Options{})
	notKey := filepath.Join(t.TempDir(), "cosign.pub")
	if err := os.WriteFile(notKey, []byte("key"), 0o600); err != nil {
		t.Fatal(err)
	}
	absent := "oci://" + server.Addr + "/absent:v1"
	for _, tt := range []struct {
		reason string
		args   []string
		want   string
	}{
		{"no artifact", []string{absent, "--insecure"}, "absent:v1"},
		{"no address", []string{"oci://x y/z"}, "x y"},
		{"no such key", []string{absent, "--verify-key", "absent.pub"}, "--verify-key"},
		{"no key", []string{absent, "--verify-key", notKey}, "--verify-key"},
		{"a folder and a key", []string{releases, "--verify-key", notKey}, "--verify-key"},
	} {
		args := append([]string{"build", "instance", "-f", "-", "--distribution"}, tt.args...)
		if out, _, err := call(t, args...); err == nil || out != "" || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want an error with %q", tt.reason, err, tt.want)
		}
	}
}

// upstream is a registry with images, and a distribution that names them.
type upstream struct {
	*registry.Server
	dir string
	// digests of the images by component:tag.
	digests map[string]string
}

// controllers are those of each release; the second release has one new image.
var controllers = map[string]map[string]string{
	"v2.8.8": {"source-controller": "v1.8.1", "kustomize-controller": "v1.8.1"},
	"v2.9.4": {"source-controller": "v1.9.4", "kustomize-controller": "v1.8.1"},
}

func newUpstream(t *testing.T) *upstream {
	t.Helper()
	u := &upstream{Server: serveRegistry(t, registry.Options{}), dir: t.TempDir(), digests: map[string]string{}}
	for release, components := range controllers {
		var lines []string
		for component, tag := range components {
			lines = append(lines, fmt.Sprintf("- {name: %s/fluxcd/%s, newTag: %s, digest: %q}", u.Addr, component, tag, u.publish(t, component, tag)))
		}
		u.write(t, "flux/"+release+"/rbac.yaml", "kind: ClusterRole\n")
		u.write(t, "flux-images/"+release+"/upstream-alpine.yaml", "images:\n"+strings.Join(lines, "\n")+"\n")
	}
	u.write(t, "flux-images/v2.9.4/enterprise-alpine.yaml", "images:\n- {name: registry.invalid/alpine/source-controller, newTag: v1.9.4}\n")
	return u
}

func (u *upstream) write(t *testing.T, path, content string) {
	t.Helper()
	file := filepath.Join(u.dir, path)
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(content), 0o600)); err != nil {
		t.Fatal(err)
	}
}

// publish writes an image of two platforms, once.
func (u *upstream) publish(t *testing.T, component, tag string) string {
	t.Helper()
	if digest, found := u.digests[component+":"+tag]; found {
		return digest
	}
	index, err := random.Index(2000, 2, 2)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(reference(t, u.Addr+"/fluxcd/"+component+":"+tag), index); err != nil {
		t.Fatal(err)
	}
	digest, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	u.digests[component+":"+tag] = digest.String()
	return digest.String()
}

func reference(t *testing.T, text string) name.Reference {
	t.Helper()
	ref, err := name.ParseReference(text)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// holds fails the test unless the registry has that digest under the name, or nothing where the digest is empty.
func holds(t *testing.T, address, digest string) {
	t.Helper()
	found, err := remote.Head(reference(t, address))
	if err != nil {
		found = &imagev1.Descriptor{}
	}
	got := ""
	if err == nil {
		got = found.Digest.String()
	}
	if got != digest {
		t.Errorf("%s is %q, want %q", address, got, digest)
	}
}

// sign writes a signature of the older format of cosign, and returns the file with the public key.
func sign(t *testing.T, repository, digest string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	payload := fmt.Appendf(nil, `{"critical":{"identity":{"docker-reference":""},"image":{"docker-manifest-digest":%q},"type":"cosign container image signature"},"optional":null}`, digest)
	sum := sha256.Sum256(payload)
	signature, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	image, err := mutate.Append(empty.Image, mutate.Addendum{
		Layer:       static.NewLayer(payload, "application/vnd.dev.cosign.simplesigning.v1+json"),
		Annotations: map[string]string{"dev.cosignproject.cosign/signature": base64.StdEncoding.EncodeToString(signature)},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(reference(t, repository+":"+strings.Replace(digest, ":", "-", 1)+".sig"), image); err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "cosign.pub")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestMirror(t *testing.T) {
	home(t)
	from, to := newUpstream(t), serveRegistry(t, registry.Options{})
	out, _, err := call(t, "distro", "push", from.dir, "oci://"+from.Addr+"/flux/manifests:stable", "--insecure")
	if err != nil {
		t.Fatal(err)
	}
	_, digest, _ := strings.Cut(strings.TrimSpace(out), "@")
	key := sign(t, from.Addr+"/flux/manifests", digest)
	dest := to.Addr + "/mirror"
	args := []string{"distro", "mirror", "oci://" + dest + "/", "--artifact", "oci://" + from.Addr + "/flux/manifests:stable", "--source-insecure", "--dest-insecure", "--verify-key", key}

	planned, _, err := call(t, append(args, "--dry-run")...)
	if err != nil {
		t.Fatal(err)
	}
	if n := writes(to); n != 0 {
		t.Errorf("a dry run made %d requests that may change something", n)
	}
	for _, want := range []string{"source-controller:v1.9.4@" + from.digests["source-controller:v1.9.4"], "manifests:stable@" + digest + ", 1 attached", "in all, for Flux v2.9.4", " KiB"} {
		if !strings.Contains(planned, want) || strings.Contains(planned, "copied") {
			t.Errorf("%q is not in what is planned:\n%s", want, planned)
		}
	}

	out, told, err := call(t, args...)
	if err != nil {
		t.Fatal(err)
	}
	holds(t, dest+"/source-controller:v1.9.4", from.digests["source-controller:v1.9.4"])
	holds(t, dest+"/kustomize-controller:v1.8.1", from.digests["kustomize-controller:v1.8.1"])
	holds(t, dest+"/source-controller:v1.8.1", "") // only the newest release was asked for
	holds(t, dest+"/manifests:stable", digest)
	if !strings.Contains(told, "copying 1/3") || !strings.Contains(told, "copying 3/3 manifests:stable") || strings.Contains(told, "\x1b") {
		t.Errorf("told is %q", told)
	}
	lines, snippet, _ := strings.Cut(out, "\n\n")
	if strings.Count(lines, "copied ") != 3 {
		t.Errorf("printed is\n%s", lines)
	}
	instance := &v1.FluxInstance{}
	if err := yaml.UnmarshalStrict([]byte(snippet), instance); err != nil {
		t.Fatalf("%v in\n%s", err, snippet)
	}
	want := v1.Distribution{Version: "2.9.x", Registry: dest, Variant: "upstream-alpine", Artifact: "oci://" + dest + "/manifests:stable"}
	if diff := cmp.Diff(want, instance.Spec.Distribution); diff != "" {
		t.Errorf("the part of the FluxInstance (-want +got):\n%s", diff)
	}

	before := writes(to)
	out, _, err = call(t, args...)
	if err != nil || strings.Count(out, "unchanged ") != 3 || writes(to) != before {
		t.Errorf("again: %v, %d requests that may change something, printed is\n%s", err, writes(to)-before, out)
	}
	// The signature came along: the mirror passes the same check. What fails later is that these releases have no controllers.
	_, _, err = call(t, "build", "instance", "-f", "-", "--distribution", want.Artifact, "--insecure", "--verify-key", key)
	if err == nil || !strings.HasPrefix(err.Error(), "building ") {
		t.Errorf("with the artifact of the mirror: %v", err)
	}
}

func TestMirrorRefusesUnsigned(t *testing.T) {
	home(t)
	from, to := newUpstream(t), serveRegistry(t, registry.Options{})
	address := "oci://" + from.Addr + "/flux/manifests:stable"
	out, _, err := call(t, "distro", "push", from.dir, address, "--insecure")
	if err != nil {
		t.Fatal(err)
	}
	_, digest, _ := strings.Cut(strings.TrimSpace(out), "@")
	sign(t, from.Addr+"/flux/manifests", digest)
	other := sign(t, from.Addr+"/other", digest)
	_, _, err = call(t, "distro", "mirror", to.Addr, "--artifact", address, "--source-insecure", "--dest-insecure", "--verify-key", other)
	var refused *artifact.VerificationError
	if !errors.As(err, &refused) || writes(to) != 0 {
		t.Errorf("an artifact that another key signed gives %v and %d requests that may change something", err, writes(to))
	}
}

func TestMirrorFolder(t *testing.T) {
	home(t)
	from, to := newUpstream(t), serveRegistry(t, registry.Options{})
	out, _, err := call(t, "distro", "mirror", to.Addr, "--distribution", from.dir, "--source-insecure", "--dest-insecure",
		"--version", "2.8.x", "--version", "2.9.4", "--version", "v2.9.x", "--components", "source-controller", "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	var report mirrorReport
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatal(err)
	}
	packed, err := artifact.Pack(from.dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	want := map[string]string{
		"oci://" + to.Addr + "/source-controller:v1.8.1":       from.digests["source-controller:v1.8.1"],
		"oci://" + to.Addr + "/source-controller:v1.9.4":       from.digests["source-controller:v1.9.4"],
		"oci://" + to.Addr + "/flux-operator-manifests:latest": packed.Digest(),
	}
	got := map[string]string{}
	for _, c := range report.Copies {
		got[c.Destination] = c.Digest
		holds(t, strings.TrimPrefix(c.Destination, "oci://"), c.Digest)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("copies (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"v2.8.8", "v2.9.4"}, report.Releases); diff != "" {
		t.Errorf("releases (-want +got):\n%s", diff)
	}
	distribution := mirrored{Version: "2.8.x || 2.9.4 || v2.9.x", Registry: to.Addr, Variant: "upstream-alpine", Artifact: "oci://" + to.Addr + "/flux-operator-manifests:latest"}
	if diff := cmp.Diff(distribution, report.Distribution); diff != "" {
		t.Errorf("distribution (-want +got):\n%s", diff)
	}
	holds(t, to.Addr+"/kustomize-controller:v1.8.1", "")
}

// TestMirrorByTag: an image that the distribution has no digest of is copied, from the registry that is named, and warned of.
func TestMirrorByTag(t *testing.T) {
	home(t)
	from, to := newUpstream(t), serveRegistry(t, registry.Options{})
	_, told, err := call(t, "distro", "mirror", to.Addr, "--distribution", from.dir, "--source-insecure", "--dest-insecure",
		"--variant", "enterprise-alpine", "--registry", from.Addr+"/fluxcd")
	if err != nil {
		t.Fatal(err)
	}
	holds(t, to.Addr+"/source-controller:v1.9.4", from.digests["source-controller:v1.9.4"])
	if !strings.Contains(told, "warning: Flux v2.9.4 has no digest of source-controller") {
		t.Errorf("told is %q", told)
	}
}

// TestMirrorWithCredentials: each registry gets the credentials that docker has for it, over TLS with a private authority.
func TestMirrorWithCredentials(t *testing.T) {
	dir := home(t)
	donor := httptest.NewTLSServer(nil)
	defer donor.Close()
	from, to := newUpstream(t), serveRegistry(t, registry.Options{TLS: donor.TLS, User: "robot", Password: "secret"})
	authority := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(authority, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: donor.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"distro", "mirror", to.Addr, "--distribution", from.dir, "--source-insecure", "--ca-file", authority}
	if _, _, err := call(t, args...); err == nil || !strings.Contains(err.Error(), to.Addr) {
		t.Errorf("without credentials: %v", err)
	}
	config := fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, to.Addr, base64.StdEncoding.EncodeToString([]byte("robot:secret")))
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "docker"), 0o700), os.WriteFile(filepath.Join(dir, "docker", "config.json"), []byte(config), 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := call(t, args[:len(args)-2]...); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("without the authority: %v", err)
	}
	out, told, err := call(t, args...)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out+told, "secret") {
		t.Error("the password is told")
	}
}

func TestMirrorFails(t *testing.T) {
	home(t)
	from, to := newUpstream(t), serveRegistry(t, registry.Options{})
	folder := []string{to.Addr, "--distribution", from.dir, "--source-insecure", "--dest-insecure"}
	for _, tt := range []struct {
		reason string
		args   []string
		want   []string
	}{
		{"nothing to mirror", []string{to.Addr}, []string{"artifact", "distribution"}},
		{"two things to mirror", append(folder, "--artifact", "oci://a.b/c"), []string{"artifact", "distribution"}},
		{"an artifact for a folder", []string{to.Addr, "--distribution", "oci://a.b/c"}, []string{"--artifact oci://a.b/c"}},
		{"a folder for an artifact", []string{to.Addr, "--artifact", from.dir}, []string{"oci://"}},
		{"no destination", folder[1:], []string{"1 arg"}},
		{"a destination with a tag", append([]string{to.Addr + "/flux:v1"}, folder[1:]...), []string{"DEST", "flux:v1"}},
		{"a destination of another scheme", append([]string{"https://" + to.Addr}, folder[1:]...), []string{"DEST"}},
		{"a release that is not there", append(folder, "--version", "3.x"), []string{"--version", "3.x", "v2.9.4"}},
		{"no range", append(folder, "--version", "new"), []string{"--version", "new"}},
		{"an unknown variant", append(folder, "--variant", "debian"), []string{"--variant", "debian", "enterprise-alpine, upstream-alpine"}},
		{"a path for a variant", append(folder, "--variant", "../../x"), []string{"--variant"}},
		{"an unknown component", append(folder, "--components", "helm-controller"), []string{"--components", "helm-controller", "source-controller"}},
		{"no concurrency", append(folder, "--concurrency", "0"), []string{"--concurrency"}},
		{"no time", append(folder, "--timeout", "-1s"), []string{"--timeout"}},
		{"an unknown format", append(folder, "-o", "yaml"), []string{"--output"}},
		{"an image that is not there", append(folder, "--registry", from.Addr+"/elsewhere"), []string{"elsewhere/source-controller:v1.9.4", "elsewhere/kustomize-controller:v1.8.1"}},
	} {
		out, _, err := call(t, append([]string{"distro", "mirror"}, tt.args...)...)
		if err == nil || out != "" {
			t.Errorf("%s: no error but %q", tt.reason, out)
			continue
		}
		for _, want := range tt.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q does not name %q", tt.reason, err, want)
			}
		}
	}
	if n := writes(to); n != 0 {
		t.Errorf("%d requests may have changed something", n)
	}
}

func TestBrokenImageLists(t *testing.T) {
	home(t)
	from, to := newUpstream(t), serveRegistry(t, registry.Options{})
	for content, want := range map[string]string{
		"images: []":                   "no images",
		"images: {}":                   "upstream-alpine.yaml",
		"pictures: []":                 "pictures",
		"images: [{name: a.b/c}]":      "v2.9.4",
		"images: [{name: 'a.b/../c'}]": "v2.9.4",
		"images: [{name: a.b/c, newTag: v1, digest: sha256:1}]": "digest",
	} {
		from.write(t, "flux-images/v2.9.4/upstream-alpine.yaml", content)
		if _, _, err := call(t, "distro", "mirror", to.Addr, "--distribution", from.dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s gives %v, want an error with %q", content, err, want)
		}
	}
}

func TestFullName(t *testing.T) {
	for short, full := range map[string]string{
		"fluxcd": "docker.io/fluxcd", "fluxcd/source-controller": "docker.io/fluxcd/source-controller", "localhost/x": "localhost/x",
		"localhost:5000": "localhost:5000", "registry.example.com": "registry.example.com", "ghcr.io/fluxcd": "ghcr.io/fluxcd",
	} {
		if got := fullName(short); got != full {
			t.Errorf("%s is %s in full, want %s", short, got, full)
		}
	}
}

func TestProgress(t *testing.T) {
	var out bytes.Buffer
	p := newProgress(&out, 1, artifact.Amount{Blobs: 2, Bytes: 3 << 20})
	p.begin("source-controller:v1")
	p.add(artifact.Amount{Blobs: 1, Bytes: 512})
	p.end()
	if want := "copying 1/1 source-controller:v1, 0 B of 3.0 MiB, 0 of 2 blobs\n"; out.String() != want {
		t.Errorf("into a file: %q, want %q", out.String(), want)
	}
	out.Reset()
	p.terminal, p.told = true, time.Time{}
	p.add(artifact.Amount{Bytes: 1 << 20})
	p.end()
	if want := "\r\x1b[Kcopying 1/1 source-controller:v1, 1.0 MiB of 3.0 MiB, 1 of 2 blobs\r\x1b[K"; out.String() != want {
		t.Errorf("on a terminal: %q, want %q", out.String(), want)
	}
}

func TestSize(t *testing.T) {
	for bytes, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 5 << 20: "5.0 MiB", 3 << 30: "3.0 GiB", 5 << 40: "5120.0 GiB"} {
		if got := size(bytes); got != want {
			t.Errorf("%d bytes are %q, want %q", bytes, got, want)
		}
	}
}
