package e2e

import (
	"context"
	"os"
	"path/filepath"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/artifact"
	"github.com/flux-autopilot/flux-operator/test/testbed"
	"github.com/flux-autopilot/flux-operator/test/testbed/cosign"
	"github.com/flux-autopilot/flux-operator/test/testbed/image"
	"github.com/flux-autopilot/flux-operator/test/testbed/registry"
)

const (
	// artifactPath is where a hub holds the artifact.
	artifactPath = "flux/distribution"
	// lookInterval is how often the operator looks at the registry.
	lookInterval = 2 * time.Second
	// noticeLimit bounds the way from a push to the first object of a roll-out. It takes the interval and a pass; how long it took is printed.
	noticeLimit = installLimit
)

// hub is a registry of this machine, outside of the cluster's network.
type hub struct {
	*registry.Server

	// access is how this machine reaches it.
	access artifact.Access
	// door is how pods do.
	door *testbed.Exposure
}

// openHub starts a registry that ends with the container of specs.
func openHub(ctx context.Context, opts registry.Options) *hub {
	GinkgoHelper()
	opts.Dir = GinkgoT().TempDir()
	server, err := registry.Serve(context.WithoutCancel(ctx), opts)
	must(err)
	DeferCleanup(func(ctx context.Context) { must(server.Close(ctx)) })
	return &hub{Server: server, access: artifact.Access{PlainHTTP: opts.TLS == nil}}
}

// open lets pods in, by a port of their own.
func (h *hub) open(ctx context.Context, port int) {
	GinkgoHelper()
	door, err := here.Cluster.Expose(context.WithoutCancel(ctx), h.Addr, port)
	must(err)
	DeferCleanup(door.Close)
	h.door = door
}

// follow makes an instance install what the tag of the artifact stands for.
func (h *hub) follow(i *v1.FluxInstance) {
	i.Annotations = map[string]string{v1.ReconcileArtifactEveryAnnotation: lookInterval.String()}
	i.Spec.Distribution.Version = "2.9.x"
	i.Spec.Distribution.Artifact = "oci://" + h.door.Inside + "/" + artifactPath + ":latest"
	i.Spec.Distribution.ArtifactSource = &v1.ArtifactSource{Insecure: h.access.PlainHTTP}
}

// artifact is what this machine calls the artifact.
func (h *hub) artifact() artifact.Reference {
	GinkgoHelper()
	ref, err := artifact.ParseReference("oci://" + h.Addr + "/" + artifactPath + ":latest")
	must(err)
	return ref
}

// publish moves the tag to the distribution in a folder.
func (h *hub) publish(ctx context.Context, dir string) (digest string) {
	GinkgoHelper()
	digest, err := artifact.Push(ctx, dir, h.artifact(), h.access, nil)
	must(err)
	return digest
}

// sign puts a signature beside the artifact.
func (h *hub) sign(ctx context.Context, digest string, key *cosign.Key) {
	GinkgoHelper()
	repository, err := h.access.Repository(h.artifact())
	must(err)
	must(key.Sign(ctx, repository, digest))
}

// downloads counts the requests for contents of the artifact, as opposed to questions for its digest.
func (h *hub) downloads() int { return h.Requests().Under("GET", "/v2/"+artifactPath+"/blobs/") }

// newKey makes a key to sign with.
func newKey() *cosign.Key {
	GinkgoHelper()
	key, err := cosign.NewKey()
	must(err)
	return key
}

// distribution makes a folder with some releases of the one in the operator's image, with images pinned to the digests that are given.
func distribution(digests map[string]string, releases ...string) (dir string) {
	GinkgoHelper()
	some, dir := GinkgoT().TempDir(), filepath.Join(GinkgoT().TempDir(), "pinned")
	for _, release := range releases {
		for _, folder := range []string{"flux", "flux-images"} {
			part := filepath.Join(folder, release)
			must(os.CopyFS(filepath.Join(some, part), os.DirFS(filepath.Join(here.Distribution, part))))
		}
	}
	must(testbed.TestDistribution(os.DirFS(some), dir, digests))
	return dir
}

// rebuild pushes an image of the cluster's registry anew, for the same release of Flux, and returns its name and the digest it has now.
func rebuild(ctx context.Context, component, tag, mark string) map[string]string {
	GinkgoHelper()
	name := "fluxcd/" + component + ":" + tag
	ref := here.Cluster.Servers.Registry + "/" + name
	digest, err := image.Rebuild(ctx, ref, ref, mark)
	must(err)
	Expect(digest).NotTo(Equal(here.Images[name]))
	return map[string]string{name: digest}
}
