package e2e

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"maps"

	"github.com/fluxcd/pkg/apis/meta"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/artifact"
	"github.com/flux-autopilot/flux-operator/test/site"
	"github.com/flux-autopilot/flux-operator/test/testbed"
	"github.com/flux-autopilot/flux-operator/test/testbed/cosign"
	"github.com/flux-autopilot/flux-operator/test/testbed/pki"
	"github.com/flux-autopilot/flux-operator/test/testbed/registry"
)

const (
	caSecret     = "artifact-ca"
	accessSecret = "artifact-access"
	keySecret    = "artifact-keys"
	keyName      = "release.pub"
)

// trustingSignatures has a registry with a certificate of its own authority and a password, and a key that artifacts are signed with.
func trustingSignatures() {
	var (
		h      *hub
		signer *cosign.Key
		// signed is the digest of the artifact with a signature, unsigned that of the one that comes after it.
		signed, unsigned string
		digests          map[string]string
	)

	BeforeAll(func(ctx context.Context) {
		asInReadme(ctx)
		DeferCleanup(asInReadme)
		signer = newKey()
		h = secureHub(ctx, 5101)
		digests = maps.Clone(here.Images)
		secret(ctx, keySecret, corev1.SecretTypeOpaque, map[string][]byte{keyName: signer.Public})
	})

	It("installs what is signed, over TLS and with a password", func(ctx context.Context) {
		before := controllers(ctx)
		signed = h.publish(ctx, distribution(digests, "v2.9.2", "v2.9.4"))
		h.sign(ctx, signed, signer)
		change(ctx, func(i *v1.FluxInstance) {
			h.follow(i)
			i.Spec.Distribution.ArtifactPullSecret = accessSecret
			i.Spec.Distribution.ArtifactSource.CertSecretRef = &meta.LocalObjectReference{Name: caSecret}
			i.Spec.Distribution.ArtifactSource.Verify = &v1.ArtifactVerification{SecretRef: &meta.LocalObjectReference{Name: keySecret}}
		})
		instance := ready(ctx)
		checkConditions(instance)
		checkArtifact(instance, signed, keyName)
		Expect(controllers(ctx)).To(Equal(before), "it holds what runs already")
	})

	It("uses nothing of a newer one without a signature", func(ctx context.Context) {
		before, downloads := controllers(ctx), h.downloads()
		maps.Copy(digests, rebuild(ctx, "notification-controller", "v1.9.3", "for somebody else"))
		unsigned = h.publish(ctx, distribution(digests, "v2.9.4"))
		degraded(ctx, v1.ReasonVerificationFailed, unsigned)
		recorded(ctx, v1.ReasonArtifactFailed, "no signature found")
		instance := ready(ctx)
		checkArtifact(instance, signed, keyName)
		Expect(controllers(ctx)).To(Equal(before))
		Expect(h.downloads()).To(Equal(downloads), "nothing of it is fetched")
	})

	It("rolls it out once it is signed", func(ctx context.Context) {
		before, old := controllers(ctx), generationOf(ctx, "notification-controller")
		h.sign(ctx, unsigned, signer)
		onlyRestarts(ctx, "notification-controller", old, before)
		whole(ctx)
		instance := ready(ctx)
		checkConditions(instance)
		checkArtifact(instance, unsigned, keyName)
		checkImages(ctx, instance, tagsOf("v2.9.4"), "ghcr.io/fluxcd", digests)
	})
}

// secureHub is a registry with a certificate and a password, and makes the Secrets that pods reach it with.
func secureHub(ctx context.Context, port int) *hub {
	GinkgoHelper()
	authority, err := pki.NewAuthority("artifacts")
	must(err)
	pair, err := authority.Issue(pki.Request{CommonName: "artifacts", Names: []string{"registry.testbed", "127.0.0.1"}})
	must(err)
	certificate, err := tls.X509KeyPair(pair.Cert, pair.Key)
	must(err)
	h := openHub(ctx, registry.Options{
		TLS:  &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12},
		User: testbed.User, Password: testbed.Password,
	})
	h.open(ctx, port)
	h.access.CA = authority.Cert
	h.access.DockerConfigs = []artifact.DockerConfig{{Name: "the specs", JSON: dockerConfig(h.Addr)}}
	secret(ctx, caSecret, corev1.SecretTypeOpaque, map[string][]byte{"ca.crt": authority.Cert})
	secret(ctx, accessSecret, corev1.SecretTypeDockerConfigJson, map[string][]byte{corev1.DockerConfigJsonKey: dockerConfig(h.door.Inside)})
	return h
}

// dockerConfig holds the credentials for a registry.
func dockerConfig(host string) []byte {
	GinkgoHelper()
	config, err := json.Marshal(map[string]any{"auths": map[string]any{host: map[string]string{"username": testbed.User, "password": testbed.Password}}})
	must(err)
	return config
}

// secret makes a Secret that goes with the container of specs.
func secret(ctx context.Context, name string, kind corev1.SecretType, data map[string][]byte) {
	GinkgoHelper()
	made := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: site.Namespace, Name: name}, Type: kind, Data: data}
	must(here.Client.Create(ctx, made))
	DeferCleanup(func(ctx context.Context) { must(here.Client.Delete(ctx, made)) })
}
