package artifact

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	fluxauth "github.com/fluxcd/pkg/auth"
	"github.com/fluxcd/pkg/auth/aws"
	"github.com/fluxcd/pkg/auth/azure"
	"github.com/fluxcd/pkg/auth/gcp"
	"github.com/fluxcd/pkg/cache"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"
	"oras.land/oras-go/v2/registry/remote/auth"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// maxTokens is how many tokens are kept. A login makes two: the cloud's, and the registry's.
const maxTokens = 64

// cloud is a provider of identities, and the registries that it has credentials for.
type cloud struct {
	fluxauth.ArtifactRegistryCredentialsProvider

	registries string
}

var clouds = map[string]cloud{
	aws.ProviderName:   {aws.Provider{}, "<account>.dkr.ecr.<region>.amazonaws.com and public.ecr.aws"},
	azure.ProviderName: {azure.Provider{}, "<name>.azurecr.io"},
	gcp.ProviderName:   {gcp.Provider{}, "<location>-docker.pkg.dev and gcr.io"},
}

// Clouds logs in to the registries of clouds by an identity, without a secret that somebody has to keep.
type Clouds struct {
	client client.Client
	tokens *cache.TokenCache
}

// TokenMetrics has a registry serve how the cache of tokens does, as flux_token_*.
func TokenMetrics(registry prometheus.Registerer) []cache.Options {
	return []cache.Options{cache.WithMetricsRegisterer(registry), cache.WithMetricsPrefix("flux_token_"), cache.WithEventNamespaceLabel("exported_namespace")}
}

// CloudIdentity is who logs in.
type CloudIdentity struct {
	// Instance is the FluxInstance for which it does, as metrics tell.
	Instance types.NamespacedName
	// Provider is aws, azure or gcp.
	Provider string
	// ServiceAccount is whose identity is used; without a name it is that of this process: of its pod or, where the cloud allows it, of its node.
	ServiceAccount types.NamespacedName
	// Proxy to reach the cloud through, with its user and password; nil means the one of the environment.
	Proxy *url.URL
}

// NewClouds keeps tokens for all logins of the process, up to an hour and never beyond four fifths of their life.
//
// The client gets ServiceAccounts and creates tokens for them. It is not called for the identity of the process itself, and should not be one that
// caches: that would watch all ServiceAccounts for the sake of one. Nothing is measured without [TokenMetrics].
func NewClouds(client client.Client, options ...cache.Options) (*Clouds, error) {
	tokens, err := cache.NewTokenCache(maxTokens, options...)
	if err != nil {
		return nil, fmt.Errorf("preparing the cache of tokens: %w", err)
	}
	fluxauth.EnableObjectLevelWorkloadIdentity() // a switch of the library, off by default: without it ServiceAccounts have no identity
	return &Clouds{client: client, tokens: tokens}, nil
}

// Login returns how the identity logs in. Fails for a provider that has no identities; no request is made yet.
//
// The login itself fails at a registry of somebody else, before any token is asked for.
func (c *Clouds) Login(who CloudIdentity) (Login, error) {
	provider, ok := clouds[who.Provider]
	if !ok {
		return nil, fmt.Errorf("preparing the login: provider %q is no cloud, aws, azure and gcp are", who.Provider)
	}
	options := c.options(who)
	return func(ctx context.Context, ref Reference) (auth.Credential, error) {
		if _, err := provider.ParseArtifactRepository(ref.Registry); err != nil {
			return auth.EmptyCredential, fmt.Errorf("logging in to %q: provider %s is for %s: choose provider generic for other registries", ref.Registry, who.Provider, provider.registries)
		}
		credential, err := provider.within(ctx, ref.Registry, options)
		switch {
		case err == nil:
			return credential, nil
		case ctx.Err() != nil:
			return auth.EmptyCredential, fmt.Errorf("logging in to %q by provider %s: %w", ref.Registry, who.Provider, context.Cause(ctx))
		default: // the answers of some clouds are pages long
			return auth.EmptyCredential, fmt.Errorf("logging in to %q by provider %s: %s", ref.Registry, who.Provider, shorten(err.Error()))
		}
	}, nil
}

func (c *Clouds) options(who CloudIdentity) []fluxauth.Option {
	options := []fluxauth.Option{fluxauth.WithCache(*c.tokens, cache.InvolvedObject{
		Kind: v1.FluxInstanceKind, Namespace: who.Instance.Namespace, Name: who.Instance.Name, Operation: cache.OperationReconcile,
	})}
	if who.ServiceAccount.Name != "" {
		options = append(options, fluxauth.WithClient(c.client),
			fluxauth.WithServiceAccountName(who.ServiceAccount.Name), fluxauth.WithServiceAccountNamespace(who.ServiceAccount.Namespace))
	}
	if who.Proxy != nil {
		options = append(options, fluxauth.WithProxyURL(*who.Proxy))
	}
	return options
}

// within gives up when the context does. Not all libraries of the clouds do: one asks a metadata server that does not answer for half a minute.
func (c cloud) within(ctx context.Context, registry string, options []fluxauth.Option) (auth.Credential, error) {
	type answer struct {
		credential auth.Credential
		err        error
	}
	answers := make(chan answer, 1)
	go func() {
		credential, err := c.credential(ctx, registry, options)
		answers <- answer{credential, err}
	}()
	select {
	case got := <-answers:
		return got.credential, got.err
	case <-ctx.Done():
		return auth.EmptyCredential, ctx.Err()
	}
}

func (c cloud) credential(ctx context.Context, registry string, options []fluxauth.Option) (auth.Credential, error) {
	granted, err := fluxauth.GetArtifactRegistryCredentials(ctx, c, registry, options...)
	if err != nil {
		return auth.EmptyCredential, err
	}
	basic, err := granted.Authorization()
	if err != nil {
		return auth.EmptyCredential, err
	}
	if basic.Username == "" || basic.Password == "" {
		return auth.EmptyCredential, errors.New("the cloud gave no user and password")
	}
	return auth.Credential{Username: basic.Username, Password: basic.Password}, nil
}
