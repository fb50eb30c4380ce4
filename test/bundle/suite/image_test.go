package suite

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/content/oci"

	"github.com/flux-autopilot/flux-operator/test/bundle"
	"github.com/flux-autopilot/flux-operator/test/testbed/image"
)

// machines are the processors there are images for.
var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

// inCheckout returns a path of the checkout.
func inCheckout(t *testing.T, elements ...string) string {
	t.Helper()
	return filepath.Join(append([]string{checkout(t)}, elements...)...)
}

// TestImage looks at what make image made. The program for another processor than that of this machine is looked at and not run.
func TestImage(t *testing.T) {
	index, err := bundle.OnlyImage(inCheckout(t, "dist", "image"))
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, described := range manifest.Manifests {
		found[described.Platform.Architecture] = true
		t.Run(described.Platform.String(), func(t *testing.T) {
			img, err := index.Image(described.Digest)
			if err != nil {
				t.Fatal(err)
			}
			checkConfiguration(t, img)
			checkFiles(t, img, machines[described.Platform.Architecture])
		})
	}
	for architecture := range machines {
		if !found[architecture] {
			t.Errorf("there is no image for %s", architecture)
		}
	}
}

func checkConfiguration(t *testing.T, img v1.Image) {
	t.Helper()
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config := file.Config
	if !regexp.MustCompile(`^[1-9][0-9]*(:[0-9]+)?$`).MatchString(config.User) {
		t.Errorf("the user is %q, want a number above 0", config.User)
	}
	if len(config.Entrypoint) != 1 || config.Entrypoint[0] != "/flux-operator" {
		t.Errorf("the entrypoint is %q", config.Entrypoint)
	}
	for _, label := range []string{
		"name", "vendor", "version", "release", "summary", "description", "maintainer", ocispec.AnnotationTitle, ocispec.AnnotationDescription, ocispec.AnnotationVendor,
		ocispec.AnnotationVersion, ocispec.AnnotationRevision, ocispec.AnnotationSource, ocispec.AnnotationURL, ocispec.AnnotationDocumentation, ocispec.AnnotationLicenses,
	} {
		if config.Labels[label] == "" {
			t.Errorf("the label %s is missing", label)
		}
	}
}

// checkFiles reads the files of an image: the program is static and for the right processor, and what travels with it is there.
func checkFiles(t *testing.T, img v1.Image, machine elf.Machine) {
	t.Helper()
	stream := mutate.Extract(img)
	defer stream.Close()
	missing := map[string]bool{
		"flux-operator": true, "licenses/LICENSE": true, "licenses/go/LICENSE": true, "licenses/sigs.k8s.io/controller-runtime/LICENSE": true,
		"etc/ssl/certs/ca-certificates.crt": true,
	}
	for reader := tar.NewReader(stream); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(header.Name, "/")
		delete(missing, name)
		if name == "flux-operator" {
			checkProgram(t, reader, machine)
		}
		if header.Mode&0o4 == 0 {
			t.Errorf("%s cannot be read by any user", name)
		}
	}
	for name := range missing {
		t.Errorf("%s is missing", name)
	}
}

func checkProgram(t *testing.T, from io.Reader, machine elf.Machine) {
	t.Helper()
	program, err := io.ReadAll(from)
	if err != nil {
		t.Fatal(err)
	}
	file, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		t.Fatal(err)
	}
	if file.Machine != machine {
		t.Errorf("the program is for %s, want %s", file.Machine, machine)
	}
	if libraries, err := file.ImportedLibraries(); len(libraries) > 0 || file.Section(".interp") != nil {
		t.Errorf("the program is not static: %v, %v", libraries, err)
	}
}

// TestModulesAreListed looks for the list of modules that make sbom attached to the image for each processor.
func TestModulesAreListed(t *testing.T) {
	ctx := t.Context()
	mod, err := os.ReadFile(inCheckout(t, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`(?m)^\tsigs\.k8s\.io/controller-runtime (v\S+)$`).FindSubmatch(mod)
	if version == nil {
		t.Fatal("go.mod does not name controller-runtime")
	}
	dir := inCheckout(t, "dist", "image")
	store, err := oci.NewFromFS(ctx, os.DirFS(dir))
	if err != nil {
		t.Fatal(err)
	}
	index, err := bundle.OnlyImage(dir)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, described := range manifest.Manifests {
		subject, err := store.Resolve(ctx, described.Digest.String())
		if err != nil {
			t.Fatal(err)
		}
		modules := attachedModules(t, store, subject)
		if got := modules["sigs.k8s.io/controller-runtime"]; got != string(version[1]) {
			t.Errorf("%s: controller-runtime is listed as %q, want %s", described.Platform, got, version[1])
		}
		if modules["std"] == "" {
			t.Errorf("%s: the standard library is not listed", described.Platform)
		}
	}
}

// attachedModules returns the versions of the modules in the list that is attached to an image.
func attachedModules(t *testing.T, store *oci.ReadOnlyStore, subject ocispec.Descriptor) map[string]string {
	t.Helper()
	referrers, err := store.Predecessors(t.Context(), subject)
	if err != nil {
		t.Fatal(err)
	}
	modules := map[string]string{}
	for _, referrer := range referrers {
		if referrer.MediaType != ocispec.MediaTypeImageManifest {
			continue
		}
		var manifest ocispec.Manifest
		decode(t, store, referrer, &manifest)
		if manifest.ArtifactType != "application/vnd.cyclonedx+json" {
			continue
		}
		var list struct {
			Components []struct{ Name, Version string }
		}
		decode(t, store, manifest.Layers[0], &list)
		for _, component := range list.Components {
			modules[component.Name] = component.Version
		}
	}
	return modules
}

func decode(t *testing.T, store *oci.ReadOnlyStore, what ocispec.Descriptor, into any) {
	t.Helper()
	raw, err := content.FetchAll(t.Context(), store, what)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		t.Fatal(err)
	}
}

// TestDockerfiles looks whether what they copy is there once everything is made.
func TestDockerfiles(t *testing.T) {
	for _, name := range []string{"Dockerfile", "catalog.Dockerfile", "bundle.Dockerfile"} {
		text, err := os.ReadFile(inCheckout(t, name))
		if err != nil {
			t.Fatal(err)
		}
		d, err := image.ReadDockerfile(string(text), nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if len(d.Labels) == 0 || len(d.Copies) == 0 {
			t.Errorf("%s: no labels or nothing copied: %+v", name, d)
		}
		for _, copied := range d.Copies {
			for _, source := range copied.Sources {
				if _, err := os.Stat(inCheckout(t, source)); copied.Stage == "" && err != nil {
					t.Errorf("%s copies what is not there: %v", name, err)
				}
			}
		}
	}
}

// TestTheCatalogNamesTheBundleThatIsPublished compares what make catalog wrote with what make bundle-image made.
func TestTheCatalogNamesTheBundleThatIsPublished(t *testing.T) {
	file, err := os.Open(inCheckout(t, "dist", "catalog", "flux-operator", "catalog.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	catalog, err := bundle.ReadCatalog(file)
	if err != nil {
		t.Fatal(err)
	}
	made, err := bundle.Load(inCheckout(t, "dist", "bundle"))
	if err != nil {
		t.Fatal(err)
	}
	ref, err := os.ReadFile(inCheckout(t, "dist", "bundle-image.ref"))
	if err != nil {
		t.Fatal(err)
	}
	name, digest, _ := strings.Cut(strings.TrimSpace(string(ref)), "@")
	repository, _, _ := strings.Cut(name, ":v")
	if got, want := catalog.Bundles[made.CSV.Name], repository+"@"+digest; got != want {
		t.Errorf("the catalog names %q, and %q is published", got, want)
	}
	index, err := layout.ImageIndexFromPath(inCheckout(t, "dist", "bundle-image"))
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(manifest.Manifests) != 1 || manifest.Manifests[0].Digest.String() != digest {
		t.Errorf("dist/bundle-image has %v, and %s is published", manifest.Manifests, digest)
	}
}

func TestPreflightFails(t *testing.T) {
	ctx := t.Context()
	dir := changed(t, "features.operators.openshift.io/proxy-aware", "features.operators.openshift.io/x-aware")
	verdicts, err := bundle.Preflight(ctx, build(ctx, t, "preflight"), inCheckout(t, "dist", "image"), dir)
	if err != nil {
		t.Fatal(err)
	}
	outcomes := map[string]bundle.Outcome{}
	for _, verdict := range verdicts {
		outcomes[verdict.Check] = verdict.Outcome
	}
	for check, want := range map[string]bundle.Outcome{"RequiredAnnotations": "FAILED", "ValidateOperatorBundle": bundle.Passed, "HasLicense": bundle.Passed, "RunAsNonRoot": bundle.Passed} {
		if outcomes[check] != want {
			t.Errorf("%s: %s, want %s", check, outcomes[check], want)
		}
	}
}
