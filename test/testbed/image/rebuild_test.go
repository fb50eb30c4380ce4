package image_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/flux-autopilot/flux-operator/test/testbed/image"
	"github.com/flux-autopilot/flux-operator/test/testbed/registry"
)

func TestRebuild(t *testing.T) {
	one, other := serve(t, registry.Options{}), serve(t, registry.Options{})
	from := one + "/team/app:one"
	first, err := image.Push(t.Context(), appImage(t, machineAMD64), from)
	if err != nil {
		t.Fatal(err)
	}
	digests := map[string]bool{first: true}
	for _, rebuild := range []struct{ to, mark string }{{from, "again"}, {other + "/team/app:one", "elsewhere"}} {
		digest, err := image.Rebuild(t.Context(), from, rebuild.to, rebuild.mark)
		if err != nil {
			t.Fatal(err)
		}
		if digests[digest] {
			t.Errorf("%s: the digest is not another one", rebuild.mark)
		}
		digests[digest] = true
		rebuilt := pullImage(t, rebuild.to)
		if err := validate.Image(rebuilt); err != nil {
			t.Errorf("%s: %v", rebuild.mark, err)
		}
		if diff := cmp.Diff(digest, digestOf(t, rebuilt)); diff != "" {
			t.Errorf("%s: digest (-returned +pulled):\n%s", rebuild.mark, diff)
		}
	}
}

func pullImage(t *testing.T, ref string) v1.Image {
	t.Helper()
	parsed, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	img, err := remote.Image(parsed, remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	return img
}
