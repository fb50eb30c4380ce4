package controllers

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/pkg/artifact"
)

// Keys of the Secrets that an artifactSource names, as in Flux's OCIRepository.
const (
	proxyAddressKey = "address"
	proxyUserKey    = "username"
	proxyPassKey    = "password"
	trustedRootKey  = "trusted_root.json"
	caKey           = "ca.crt"
	publicKeySuffix = ".pub"
)

// link is an artifact with the way to it and the signatures that count.
type link struct {
	source   *artifact.Source
	verifier artifact.Verifier
	// made says of what the link was made: the spec and the versions of all Secrets and ServiceAccounts that were read.
	made string
}

// connect reads what the instance names and makes a link of it. The previous link is kept while nothing changed, and with it connections and tokens.
func (a *Artifacts) connect(ctx context.Context, instance *v1.FluxInstance, previous *link) (*link, error) {
	ref, err := artifact.ParseReference(instance.Spec.Distribution.Artifact)
	if err != nil {
		return nil, fmt.Errorf("spec.distribution.artifact: %w", err)
	}
	named := &namedObjects{reader: a.Reader, namespace: instance.Namespace, read: []string{fmt.Sprint(instance.UID, instance.Generation)}}
	access, err := a.access(ctx, instance.Spec.Distribution, named)
	if err != nil {
		return nil, err
	}
	trusted, err := named.trusted(ctx, instance.Spec.Distribution.ArtifactSource)
	if err != nil {
		return nil, err
	}
	made := strings.Join(named.read, " ")
	if previous != nil && previous.made == made {
		return previous, nil
	}
	next := &link{made: made}
	if next.source, err = artifact.NewSource(ref, access); err != nil {
		return nil, fmt.Errorf("spec.distribution.artifactSource: %w", err)
	}
	if trusted == nil {
		return next, nil
	}
	trusted.RootCache, trusted.Proxy = a.RootCache, access.Proxy
	if next.verifier, err = artifact.NewVerifier(*trusted); err != nil {
		return nil, fmt.Errorf("spec.distribution.artifactSource.verify: %w", err)
	}
	return next, nil
}

// access reads credentials and transport.
func (a *Artifacts) access(ctx context.Context, distribution v1.Distribution, named *namedObjects) (artifact.Access, error) {
	access := artifact.Access{UserAgent: a.UserAgent}
	if name := distribution.ArtifactPullSecret; name != "" {
		config, err := named.pullSecret(ctx, "spec.distribution.artifactPullSecret", name)
		if err != nil {
			return access, err
		}
		access.DockerConfigs = append(access.DockerConfigs, config)
	}
	source := distribution.ArtifactSource
	if source == nil {
		return access, nil
	}
	access.PlainHTTP = source.Insecure
	if source.CertSecretRef != nil {
		data, err := named.secret(ctx, "spec.distribution.artifactSource.certSecretRef", source.CertSecretRef.Name)
		if err != nil {
			return access, err
		}
		access.CA, access.ClientCert, access.ClientKey = data[caKey], data[corev1.TLSCertKey], data[corev1.TLSPrivateKeyKey]
	}
	if source.ProxySecretRef != nil {
		data, err := named.secret(ctx, "spec.distribution.artifactSource.proxySecretRef", source.ProxySecretRef.Name)
		if err != nil {
			return access, err
		}
		if access.Proxy, err = proxyOf(data); err != nil {
			return access, fmt.Errorf("spec.distribution.artifactSource.proxySecretRef: Secret %q: %w", source.ProxySecretRef.Name, err)
		}
	}
	return access, a.identify(ctx, source, named, &access)
}

// identify adds the identity that the registry is asked with: the image pull secrets of a ServiceAccount, or a login to a cloud.
func (a *Artifacts) identify(ctx context.Context, source *v1.ArtifactSource, named *namedObjects, access *artifact.Access) error {
	const field = "spec.distribution.artifactSource.serviceAccountName"
	if source.Provider != "" && source.Provider != "generic" {
		who := artifact.CloudIdentity{
			Instance: types.NamespacedName{Namespace: named.namespace, Name: v1.DefaultInstanceName}, Provider: source.Provider, Proxy: access.Proxy,
		}
		if source.ServiceAccountName != "" {
			who.ServiceAccount = types.NamespacedName{Namespace: named.namespace, Name: source.ServiceAccountName}
		}
		var err error
		access.Login, err = a.Clouds.Login(who)
		return err
	}
	if source.ServiceAccountName == "" {
		return nil
	}
	account := &corev1.ServiceAccount{}
	if err := named.get(ctx, field, source.ServiceAccountName, account); err != nil {
		return err
	}
	for _, ref := range account.ImagePullSecrets {
		config, err := named.pullSecret(ctx, field+": image pull secret", ref.Name)
		if err != nil {
			return err
		}
		access.DockerConfigs = append(access.DockerConfigs, config)
	}
	return nil
}

// trusted reads whose signatures count; nil when none is asked for.
func (n *namedObjects) trusted(ctx context.Context, source *v1.ArtifactSource) (*artifact.VerifyOptions, error) {
	if source == nil || source.Verify == nil {
		return nil, nil //nolint:nilnil // no verification is an answer
	}
	const field = "spec.distribution.artifactSource.verify"
	trust := &artifact.VerifyOptions{}
	if ref := source.Verify.SecretRef; ref != nil {
		data, err := n.secret(ctx, field+".secretRef", ref.Name)
		if err != nil {
			return nil, err
		}
		trust.Keys = map[string][]byte{}
		for name, key := range data {
			if strings.HasSuffix(name, publicKeySuffix) {
				trust.Keys[name] = key
			}
		}
		if len(trust.Keys) == 0 {
			return nil, fmt.Errorf("%s.secretRef: Secret %q has no key that ends in %s: put a public key there, for example as cosign.pub", field, ref.Name, publicKeySuffix)
		}
	}
	for _, match := range source.Verify.MatchOIDCIdentity {
		trust.Identities = append(trust.Identities, artifact.Identity{Issuer: match.Issuer, Subject: match.Subject})
	}
	if ref := source.Verify.TrustedRootSecretRef; ref != nil {
		data, err := n.secret(ctx, field+".trustedRootSecretRef", ref.Name)
		if err != nil {
			return nil, err
		}
		if trust.TrustedRoot = data[trustedRootKey]; len(trust.TrustedRoot) == 0 {
			return nil, fmt.Errorf("%s.trustedRootSecretRef: Secret %q has no key %s", field, ref.Name, trustedRootKey)
		}
	}
	return trust, nil
}

// proxyOf reads a proxy Secret. Its errors do not repeat the address, which may hold a password.
func proxyOf(data map[string][]byte) (*url.URL, error) {
	address, err := url.Parse(string(data[proxyAddressKey]))
	if err != nil || address.Host == "" || !slices.Contains([]string{"http", "https", "socks5"}, address.Scheme) {
		return nil, fmt.Errorf("the key %s must hold the proxy's URL, such as http://proxy.example.com:3128", proxyAddressKey)
	}
	if user := string(data[proxyUserKey]); user != "" {
		address.User = url.UserPassword(user, string(data[proxyPassKey]))
	}
	return address, nil
}

// namedObjects reads what a spec names, from one namespace, and notes the versions that it found.
type namedObjects struct {
	reader    client.Reader
	namespace string
	read      []string
}

func (n *namedObjects) get(ctx context.Context, field, name string, into client.Object) error {
	err := n.reader.Get(ctx, client.ObjectKey{Namespace: n.namespace, Name: name}, into)
	if apierrors.IsNotFound(err) {
		return fmt.Errorf("%s: %q does not exist in namespace %q: create it, or remove the field", field, name, n.namespace)
	}
	if err != nil {
		return fmt.Errorf("%s: reading %q: %w", field, name, err)
	}
	n.read = append(n.read, string(into.GetUID())+"@"+into.GetResourceVersion())
	return nil
}

func (n *namedObjects) secret(ctx context.Context, field, name string) (map[string][]byte, error) {
	secret := &corev1.Secret{}
	if err := n.get(ctx, field, name, secret); err != nil {
		return nil, err
	}
	return secret.Data, nil
}

func (n *namedObjects) pullSecret(ctx context.Context, field, name string) (artifact.DockerConfig, error) {
	data, err := n.secret(ctx, field, name)
	if err != nil {
		return artifact.DockerConfig{}, err
	}
	config, ok := data[corev1.DockerConfigJsonKey]
	if !ok {
		return artifact.DockerConfig{}, fmt.Errorf("%s: Secret %q has no key %s: it must be of type %s", field, name, corev1.DockerConfigJsonKey, corev1.SecretTypeDockerConfigJson)
	}
	return artifact.DockerConfig{Name: fmt.Sprintf("Secret %q", n.namespace+"/"+name), JSON: config}, nil
}
