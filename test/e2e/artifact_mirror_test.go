package e2e

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/fluxcd/pkg/apis/meta"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/test/site"
	"github.com/flux-autopilot/flux-operator/test/testbed"
	"github.com/flux-autopilot/flux-operator/test/testbed/cosign"
	"github.com/flux-autopilot/flux-operator/test/testbed/image"
	"github.com/flux-autopilot/flux-operator/test/testbed/registry"
	"github.com/flux-autopilot/flux-operator/tools"
)

// nowhere is an address of the internet that is kept for documentation.
const nowhere = "198.51.100.1:443"

// mirroredComponents are enough to deploy something.
func mirroredComponents() []string { return []string{"source-controller", "kustomize-controller"} }

// inAClosedNetwork has a publisher that this machine reaches and the cluster does not, and a mirror that both reach. The publisher's images
// are in no registry of the cluster: they have digests of their own.
func inAClosedNetwork() {
	const port = 5102
	var (
		publisher, mirror *hub
		signer            *cosign.Key
		tool, publicKey   string
		digests           map[string]string
	)

	// release publishes and mirrors what was not published before.
	release := func(ctx context.Context, releases ...string) (digest string) {
		GinkgoHelper()
		digest = publisher.publish(ctx, distribution(digests, releases...))
		publisher.sign(ctx, digest, signer)
		run(ctx, tool, "distro", "mirror", mirror.Addr+"/flux", "--dest-insecure",
			"--artifact", publisher.artifact().String(), "--source-insecure", "--verify-key", publicKey,
			"--registry", publisher.Addr+"/fluxcd", "--components", strings.Join(mirroredComponents(), ","), "--version", "2.9.x")
		return digest
	}

	BeforeAll(func(ctx context.Context) {
		tool = buildTool(ctx)
		signer = newKey()
		publicKey = filepath.Join(GinkgoT().TempDir(), keyName)
		must(os.WriteFile(publicKey, signer.Public, 0o600))
		publisher, mirror = openHub(ctx, registry.Options{}), openHub(ctx, registry.Options{})
		mirror.open(ctx, port)
		digests = imagesOf(ctx, publisher)
		absent(ctx)
		secret(ctx, keySecret, corev1.SecretTypeOpaque, map[string][]byte{keyName: signer.Public})
		DeferCleanup(asInReadme)
	})

	It("has a way to the mirror and to nowhere else", func(ctx context.Context) {
		pod, err := here.OperatorPod(ctx)
		must(err)
		process, err := site.Process(pod)
		must(err)
		reach := func(address string) error { return testbed.Reach(ctx, process, address) }
		_, mirrorPort, err := net.SplitHostPort(mirror.door.Inside)
		must(err)
		must(reach(net.JoinHostPort(here.Cluster.NodeIP, mirrorPort)))
		Expect(errors.Is(reach(publisher.Addr), syscall.ECONNREFUSED)).To(BeTrue(), "the publisher is not in its network")
		Expect(errors.Is(reach(nowhere), syscall.EHOSTUNREACH)).To(BeTrue(), "nor is anything else")
	})

	It("installs from the mirror", func(ctx context.Context) {
		digest := release(ctx, "v2.9.2")
		asked := publisher.Requests()
		instance := sample()
		mirror.follow(instance)
		instance.Spec.Distribution.Registry, instance.Spec.Distribution.Variant = mirror.door.Inside+"/flux", "upstream-alpine"
		instance.Spec.Distribution.ArtifactSource.Verify = &v1.ArtifactVerification{SecretRef: &meta.LocalObjectReference{Name: keySecret}}
		instance.Spec.Components = nil
		for _, component := range mirroredComponents() {
			instance.Spec.Components = append(instance.Spec.Components, v1.Component(component))
		}
		must(here.Client.Create(ctx, instance))
		instance = ready(ctx)
		checkConditions(instance)
		checkArtifact(instance, digest, keyName)
		checkImages(ctx, instance, tagsOf("v2.9.2", mirroredComponents()...), mirror.door.Inside+"/flux", digests)
		deploymentsAvailable(ctx, mirroredComponents()...)
		exactInventory(ctx)
		for _, component := range mirroredComponents() {
			Expect(mirror.Requests().Under("GET", "/v2/flux/"+component+"/blobs/")).To(BeNumerically(">", 0), component)
		}
		Expect(publisher.Requests()).To(Equal(asked), "nobody but the mirroring tool asks the publisher")
		workloadPod(ctx)
	})

	It("upgrades when the mirror is brought up to date", func(ctx context.Context) {
		pod := workloadPod(ctx)
		digest := release(ctx, "v2.9.2", "v2.9.4")
		asked := publisher.Requests()
		rollsOut(ctx, "v2.9.4@")
		instance := ready(ctx)
		checkConditions(instance)
		checkArtifact(instance, digest, keyName)
		checkImages(ctx, instance, tagsOf("v2.9.4", mirroredComponents()...), mirror.door.Inside+"/flux", digests)
		deploymentsAvailable(ctx, mirroredComponents()...)
		exactInventory(ctx)
		Expect(publisher.Requests()).To(Equal(asked), "nobody but the mirroring tool asks the publisher")
		untouched(ctx, pod)
	})
}

// imagesOf pushes images of the mirrored controllers, in all releases, that exist nowhere else, and returns their digests.
func imagesOf(ctx context.Context, publisher *hub) map[string]string {
	GinkgoHelper()
	digests := map[string]string{}
	for name := range here.Images {
		component, _, _ := strings.Cut(strings.TrimPrefix(name, "fluxcd/"), ":")
		if !slices.Contains(mirroredComponents(), component) {
			continue
		}
		digest, err := image.Rebuild(ctx, here.Cluster.Servers.Registry+"/"+name, publisher.Addr+"/"+name, "by the publisher")
		must(err)
		digests[name] = digest
	}
	return digests
}

// buildTool builds the command-line tool from this checkout.
func buildTool(ctx context.Context) (path string) {
	GinkgoHelper()
	root, err := tools.Root()
	must(err)
	path = filepath.Join(GinkgoT().TempDir(), "flux-operator")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", path, "./cmd/flux-operator")
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	Expect(err).NotTo(HaveOccurred(), string(out))
	return path
}

// run runs a command with a home of its own, so that it finds nobody's credentials.
func run(ctx context.Context, name string, args ...string) {
	GinkgoHelper()
	home := GinkgoT().TempDir()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "HOME="+home, "XDG_CACHE_HOME="+filepath.Join(home, "cache"), "DOCKER_CONFIG="+home)
	out, err := cmd.CombinedOutput()
	GinkgoWriter.Printf("%s %s\n%s", filepath.Base(name), strings.Join(args, " "), out)
	Expect(err).NotTo(HaveOccurred(), string(out))
}
