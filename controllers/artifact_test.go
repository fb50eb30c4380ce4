package controllers_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/artifact"
	"github.com/flux-autopilot/flux-operator/test/testbed/registry"
)

const (
	artifactPath = "/v2/flux/manifests"
	otherDigest  = "sha256:7777777777777777777777777777777777777777777777777777777777777777"
)

// publish packs some releases of the distribution and pushes them under the tag that the instances of these specs follow.
func publish(ctx context.Context, addr string, releases ...string) (digest string) {
	GinkgoHelper()
	dir := GinkgoT().TempDir()
	for _, release := range releases {
		copyRelease(dir, release, release)
	}
	return push(ctx, addr, dir)
}

func push(ctx context.Context, addr, dir string) (digest string) {
	GinkgoHelper()
	ref, err := artifact.ParseReference("oci://" + addr + "/flux/manifests:latest")
	Expect(err).NotTo(HaveOccurred())
	digest, err = artifact.Push(ctx, dir, ref, artifact.Access{PlainHTTP: true}, nil)
	Expect(err).NotTo(HaveOccurred())
	return digest
}

// fromArtifact is an instance that installs from the registry and looks there often.
func fromArtifact(addr string, change func(*v1.FluxInstance)) *v1.FluxInstance {
	return newInstance(func(i *v1.FluxInstance) {
		i.Annotations = map[string]string{v1.ReconcileArtifactEveryAnnotation: "300ms"}
		i.Spec.Distribution = v1.Distribution{
			Version: "2.x", Registry: "ghcr.io/fluxcd",
			Artifact:       "oci://" + addr + "/flux/manifests:latest",
			ArtifactSource: &v1.ArtifactSource{Insecure: true, Timeout: &metav1.Duration{Duration: 5 * time.Second}},
		}
		if change != nil {
			change(i)
		}
	})
}

// expectDegraded waits until the instance says that its artifact cannot be had, and why.
func expectDegraded(ctx context.Context, reason, message string) {
	GinkgoHelper()
	Eventually(func(g Gomega) {
		failed := apimeta.FindStatusCondition(fetch(ctx).Status.Conditions, v1.ArtifactFailedCondition)
		g.Expect(failed).NotTo(BeNil())
		g.Expect(failed.Reason).To(Equal(reason), failed.Message)
		g.Expect(failed.Message).To(ContainSubstring(message))
	}, soon, tick).Should(Succeed())
}

func expectWhole(ctx context.Context) {
	GinkgoHelper()
	Eventually(func() *metav1.Condition {
		return apimeta.FindStatusCondition(fetch(ctx).Status.Conditions, v1.ArtifactFailedCondition)
	}, soon, tick).Should(BeNil())
}

func runs(ctx context.Context) string { return fetch(ctx).Status.LastAppliedRevision }

var _ = Describe("The distribution artifact", Ordered, func() {
	var (
		stop func()
		hub  *registry.Server
		kept string // what the registry holds, for a registry that comes back
	)

	serve := func(ctx context.Context, addr string) (server *registry.Server) {
		GinkgoHelper()
		Eventually(func() (err error) { // an address that it had before may serve as the near end of somebody's connection meanwhile
			server, err = registry.Serve(ctx, registry.Options{Addr: addr, Dir: kept})
			return err
		}, soon, tick).Should(Succeed())
		return server
	}

	BeforeEach(func(ctx SpecContext) {
		kept = GinkgoT().TempDir()
		hub = serve(context.WithoutCancel(ctx), "")
		stop = startOperator()
	})
	AfterEach(func(ctx SpecContext) {
		instance := newInstance(nil)
		Expect(client.IgnoreNotFound(k8s.Delete(ctx, instance))).To(Succeed())
		Eventually(func() bool {
			return apierrors.IsNotFound(k8s.Get(ctx, client.ObjectKeyFromObject(instance), instance))
		}, soon, tick).Should(BeTrue(), "the instance should be let go")
		stop()
		Expect(hub.Close(ctx)).To(Succeed())
	})

	It("installs from it, follows its tag to newer patches, and asks for nothing but its digest in between", func(ctx SpecContext) {
		first := publish(ctx, hub.Addr, "v2.9.2")
		Expect(k8s.Create(ctx, fromArtifact(hub.Addr, nil))).To(Succeed())
		instance := expectReady(ctx)
		Expect(instance.Status.LastAppliedRevision).To(HavePrefix("v2.9.2@"))
		Expect(instance.Status.LastArtifactRevision).To(Equal(first))
		Expect(instance.Status.Artifact).To(Equal(&v1.ArtifactStatus{Reference: instance.Spec.Distribution.Artifact, Digest: first}))
		Expect(instance.Status.Release).To(Equal(&v1.ReleaseStatus{Elected: "v2.9.2", Available: "v2.9.2"}))

		before := hub.Requests()
		Eventually(func() int {
			return hub.Requests().Under(http.MethodHead, artifactPath) - before.Under(http.MethodHead, artifactPath)
		}, soon, tick).Should(BeNumerically(">", 3), "it should look again and again")
		Expect(hub.Requests().Under(http.MethodGet, artifactPath)).To(Equal(before.Under(http.MethodGet, artifactPath)), "and download nothing")

		second := publish(ctx, hub.Addr, "v2.9.2", "v2.9.4")
		Eventually(func(g Gomega) {
			becomeAvailable(ctx)
			g.Expect(runs(ctx)).To(HavePrefix("v2.9.4@"))
		}, soon, tick).Should(Succeed())
		Expect(fetch(ctx).Status.LastArtifactRevision).To(Equal(second))
	})

	It("rolls out images that were built anew for the same release", func(ctx SpecContext) {
		publish(ctx, hub.Addr, "v2.9.4")
		Expect(k8s.Create(ctx, fromArtifact(hub.Addr, nil))).To(Succeed())
		expectReady(ctx)
		push(ctx, hub.Addr, rebuilt(otherDigest))
		Eventually(func(g Gomega) {
			becomeAvailable(ctx)
			digests := map[string]string{}
			for _, image := range fetch(ctx).Status.Components {
				digests[image.Name] = image.Digest
			}
			g.Expect(digests[string(v1.SourceController)]).To(Equal(otherDigest))
			g.Expect(digests[string(v1.KustomizeController)]).NotTo(Equal(otherDigest))
		}, soon, tick).Should(Succeed())
		expectReady(ctx)
	})

	It("never elects a minor that it was not built with, and says so", func(ctx SpecContext) {
		dir := GinkgoT().TempDir()
		copyRelease(dir, "v2.9.4", "v2.9.4")
		copyRelease(dir, "v2.9.4", "v2.99.0")
		push(ctx, hub.Addr, dir)
		Expect(k8s.Create(ctx, fromArtifact(hub.Addr, nil))).To(Succeed())
		release := expectReady(ctx).Status.Release
		Expect(release.Elected).To(Equal("v2.9.4"))
		Expect(release.Available).To(Equal("v2.99.0"))
		Expect(release.Message).To(ContainSubstring("update the operator"))
	})

	It("stays ready while the registry is away, says so, and recovers", func(ctx SpecContext) {
		publish(ctx, hub.Addr, "v2.9.4")
		Expect(k8s.Create(ctx, fromArtifact(hub.Addr, nil))).To(Succeed())
		before := expectReady(ctx)
		Expect(hub.Close(ctx)).To(Succeed())
		expectDegraded(ctx, v1.ReasonArtifactFailed, "stays in use")
		Expect(apimeta.IsStatusConditionTrue(fetch(ctx).Status.Conditions, meta.ReadyCondition)).To(BeTrue())

		By("applying changes of the spec from the last good one")
		change(ctx, func(i *v1.FluxInstance) { i.Spec.Components = append(i.Spec.Components, v1.HelmController) })
		changed := expectReady(ctx)
		Expect(changed.Status.LastArtifactRevision).To(Equal(before.Status.LastArtifactRevision))
		Expect(changed.Status.Components).To(HaveLen(3))

		hub = serve(context.WithoutCancel(ctx), hub.Addr)
		expectWhole(ctx)
		Eventually(func(g Gomega) {
			events := &corev1.EventList{}
			g.Expect(k8s.List(ctx, events, client.InNamespace(namespace))).To(Succeed())
			g.Expect(events.Items).To(ContainElement(HaveField("Message", ContainSubstring("can be had again"))))
		}, soon, tick).Should(Succeed())
	})

	It("leaves what runs alone after a restart without cache and registry", func(ctx SpecContext) {
		push(ctx, hub.Addr, rebuilt(otherDigest)) // not what is built in
		Expect(k8s.Create(ctx, fromArtifact(hub.Addr, nil))).To(Succeed())
		before := expectReady(ctx)
		stop()
		Expect(hub.Close(ctx)).To(Succeed())
		stop = startOperator()
		expectDegraded(ctx, v1.ReasonArtifactFailed, "what runs stays as it is")
		after := fetch(ctx)
		Expect(after.Status.Components).To(Equal(before.Status.Components))
		Expect(apimeta.IsStatusConditionTrue(after.Status.Conditions, meta.ReadyCondition)).To(BeTrue())

		hub = serve(context.WithoutCancel(ctx), hub.Addr)
		expectWhole(ctx)
		expectReady(ctx)
	})

	It("installs from the built-in distribution until the artifact can be had", func(ctx SpecContext) {
		Expect(k8s.Create(ctx, fromArtifact(hub.Addr, nil))).To(Succeed())
		instance := expectReady(ctx)
		Expect(instance.Status.LastArtifactRevision).To(BeEmpty())
		Expect(instance.Status.Artifact).To(BeNil())
		expectDegraded(ctx, v1.ReasonArtifactFailed, "the built-in distribution stands in")
		digest := publish(ctx, hub.Addr, "v2.9.4")
		expectWhole(ctx)
		Eventually(func() string { return fetch(ctx).Status.LastArtifactRevision }, soon, tick).Should(Equal(digest))
	})

	It("keeps what runs when the tag brings a release that cannot be rendered, and goes on with another spec or another tag", func(ctx SpecContext) {
		publish(ctx, hub.Addr, "v2.9.2")
		Expect(k8s.Create(ctx, fromArtifact(hub.Addr, nil))).To(Succeed())
		before := expectReady(ctx)
		push(ctx, hub.Addr, unrenderable())
		message := expectFailure(ctx, v1.ReasonBuildFailed)
		Expect(message).To(And(HavePrefix("release v2.9.4 cannot be used"), HaveSuffix("; v2.9.2 keeps running; "+
			"choose another release in spec.distribution.version, or publish a distribution under the tag of spec.distribution.artifact that is whole")))
		after := fetch(ctx)
		Expect(apimeta.IsStatusConditionTrue(after.Status.Conditions, meta.StalledCondition)).To(BeTrue())
		Expect(after.Status.LastAppliedRevision).To(Equal(before.Status.LastAppliedRevision))
		Expect(after.Status.Inventory).To(Equal(before.Status.Inventory))
		deployment := &appsv1.Deployment{}
		Expect(k8s.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "source-controller"}, deployment)).To(Succeed())
		Expect(deployment.Labels).To(HaveKeyWithValue("app.kubernetes.io/version", "v2.9.2"))

		By("pinning what the tag still has")
		change(ctx, func(i *v1.FluxInstance) { i.Spec.Distribution.Version = "2.9.2" })
		Expect(expectReady(ctx).Status.LastAppliedRevision).To(Equal(before.Status.LastAppliedRevision))

		By("moving the tag")
		change(ctx, func(i *v1.FluxInstance) { i.Spec.Distribution.Version = "2.9.x" })
		expectFailure(ctx, v1.ReasonBuildFailed)
		publish(ctx, hub.Addr, "v2.9.2", "v2.9.4")
		Eventually(func(g Gomega) {
			becomeAvailable(ctx)
			g.Expect(runs(ctx)).To(HavePrefix("v2.9.4@"))
		}, soon, tick).Should(Succeed())
		expectReady(ctx)
	})

	It("uses nothing of an artifact without a trusted signature", func(ctx SpecContext) {
		publish(ctx, hub.Addr, "v2.9.2")
		Expect(k8s.Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: "cosign", Namespace: namespace},
			StringData: map[string]string{"cosign.pub": publicKey()},
		})).To(Succeed())
		DeferCleanup(func(ctx SpecContext) {
			Expect(k8s.Delete(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "cosign", Namespace: namespace}})).To(Succeed())
		})
		Expect(k8s.Create(ctx, fromArtifact(hub.Addr, func(i *v1.FluxInstance) {
			i.Spec.Distribution.ArtifactSource.Verify = &v1.ArtifactVerification{SecretRef: &meta.LocalObjectReference{Name: "cosign"}}
		}))).To(Succeed())
		expectDegraded(ctx, v1.ReasonVerificationFailed, "signature")
		Expect(expectReady(ctx).Status.LastAppliedRevision).To(HavePrefix("v2.9.4@"), "which is built in")
	})

	It("names the Secret that is missing, and goes on when it is there", func(ctx SpecContext) {
		publish(ctx, hub.Addr, "v2.9.4")
		Expect(k8s.Create(ctx, fromArtifact(hub.Addr, func(i *v1.FluxInstance) { i.Spec.Distribution.ArtifactPullSecret = "auth" }))).To(Succeed())
		expectDegraded(ctx, v1.ReasonArtifactFailed, `spec.distribution.artifactPullSecret: "auth" does not exist`)
		Expect(k8s.Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: "auth", Namespace: namespace}, Type: corev1.SecretTypeDockerConfigJson,
			StringData: map[string]string{corev1.DockerConfigJsonKey: `{"auths":{}}`},
		})).To(Succeed())
		DeferCleanup(func(ctx SpecContext) {
			Expect(k8s.Delete(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "auth", Namespace: namespace}})).To(Succeed())
		})
		expectWhole(ctx)
		expectReady(ctx)
	})
})

// rebuilt copies release 2.9.4 as if source-controller's image had been built anew.
func rebuilt(digest string) (dir string) {
	GinkgoHelper()
	dir = GinkgoT().TempDir()
	copyRelease(dir, "v2.9.4", "v2.9.4")
	file := filepath.Join(dir, "flux-images", "v2.9.4", "upstream-alpine.yaml")
	content, err := os.ReadFile(file)
	Expect(err).NotTo(HaveOccurred())
	of := regexp.MustCompile(`digest: sha256:[0-9a-f]{64}\n  name: ghcr.io/fluxcd/source-controller`)
	Expect(of.Match(content)).To(BeTrue())
	content = of.ReplaceAll(content, []byte("digest: "+digest+"\n  name: ghcr.io/fluxcd/source-controller"))
	Expect(os.WriteFile(file, content, 0o600)).To(Succeed())
	return dir
}

// copyRelease copies a release of the distribution, under another name when one is given.
func copyRelease(dir, release, name string) {
	GinkgoHelper()
	for _, folder := range []string{"flux", "flux-images"} {
		source := os.DirFS(filepath.Join(distribution, folder, release))
		Expect(os.CopyFS(filepath.Join(dir, folder, name), source)).To(Succeed())
	}
}

// unrenderable holds release 2.9.2 and a 2.9.4 that is broken.
func unrenderable() (dir string) {
	GinkgoHelper()
	dir = GinkgoT().TempDir()
	copyRelease(dir, "v2.9.2", "v2.9.2")
	copyRelease(dir, "v2.9.4", "v2.9.4")
	Expect(os.WriteFile(filepath.Join(dir, "flux", "v2.9.4", "source-controller.yaml"), []byte("kind: ["), 0o600)).To(Succeed())
	return dir
}

func publicKey() string {
	GinkgoHelper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	Expect(err).NotTo(HaveOccurred())
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	Expect(err).NotTo(HaveOccurred())
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}
