package bundle_test

import (
	"archive/tar"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/flux-autopilot/flux-operator/test/bundle"
)

func TestTheImageHoldsTheBundle(t *testing.T) {
	image, err := bundle.Image(inCheckout(t, "bundle"))
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(shipped(t).Annotations, config.Config.Labels); diff != "" {
		t.Error(diff)
	}
	content := mutate.Extract(image)
	defer content.Close()
	files := map[string]int{}
	for reader := tar.NewReader(content); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.Typeflag == tar.TypeReg {
			files[header.Name] = int(header.Size)
		}
	}
	want := shipped(t).Sizes
	delete(want, "release-config.yaml") // for the catalog's pipeline, not for the image
	if diff := cmp.Diff(want, files); diff != "" {
		t.Error(diff)
	}
}

func TestTheSameBundleIsTheSameImage(t *testing.T) {
	var digests []string
	for range 2 {
		image, err := bundle.Image(inCheckout(t, "bundle"))
		if err != nil {
			t.Fatal(err)
		}
		digest, err := image.Digest()
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, digest.String())
	}
	if len(slices.Compact(digests)) != 1 {
		t.Errorf("two images of one bundle differ: %v", digests)
	}
}

// TestTheImageOfABundleIsTheSameForEver: catalogs of later releases name published images by digests that are computed from the files. A toolchain or
// a library that changes this digest has to be kept from it.
func TestTheImageOfABundleIsTheSameForEver(t *testing.T) {
	image, err := bundle.Image(folder(t, map[string]string{
		"manifests/a.clusterserviceversion.yaml": "apiVersion: operators.coreos.com/v1alpha1\nkind: ClusterServiceVersion\nmetadata:\n  name: a.v0.1.0\n",
		"metadata/annotations.yaml":              "annotations:\n  " + `operators.operatorframework.io.bundle.package.v1` + ": a\n",
		"tests/scorecard/config.yaml":            strings.Repeat("# a file that would be compressed\n", 1000),
	}))
	if err != nil {
		t.Fatal(err)
	}
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	const want = "sha256:49c4c1ddc5c67a0adc3888cae2e5a00af967e362c06cba7c17664004d48db6af"
	if digest.String() != want {
		t.Errorf("the digest is %s, want %s", digest, want)
	}
}

func TestOnlyKnownWarningsAreExplained(t *testing.T) {
	for _, tc := range []struct {
		finding bundle.Finding
		want    bool
	}{
		{bundle.Finding{Type: "warning", Message: "Value x: CSV contains permissions to create CRD. An Operator …"}, true},
		{bundle.Finding{Type: "error", Message: "Value x: CSV contains permissions to create CRD. An Operator …"}, false},
		{bundle.Finding{Type: "warning", Message: "csv.Spec.minKubeVersion is not informed"}, false},
	} {
		if _, got := tc.finding.Explained(); got != tc.want {
			t.Errorf("%v: explained is %t", tc.finding, got)
		}
	}
}
