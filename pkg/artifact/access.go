package artifact

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
)

// Login gets credentials for a registry from somewhere, such as a cloud. An empty credential means anonymous access.
type Login func(ctx context.Context, ref Reference) (auth.Credential, error)

// DockerConfig holds credentials for registries.
type DockerConfig struct {
	// Name of the configuration in errors, such as that of a Secret.
	Name string
	// JSON is the content, in the format of kubernetes.io/dockerconfigjson.
	JSON []byte
}

// Access is how a registry is reached. The zero value is anonymous access over HTTPS.
type Access struct {
	// DockerConfigs are searched in order; the first one with credentials for the repository is used.
	DockerConfigs []DockerConfig
	// Login is asked when no configuration has credentials for the repository; nil means anonymous access then.
	Login Login
	// CA holds certificates of authorities, PEM, that are trusted besides those of the system.
	CA []byte
	// ClientCert and ClientKey are the client's certificate and its key, PEM; both or none.
	ClientCert, ClientKey []byte
	// Proxy to reach the registry through, with its user and password; nil means the one in HTTPS_PROXY, HTTP_PROXY and NO_PROXY.
	Proxy *url.URL
	// PlainHTTP makes requests without TLS.
	PlainHTTP bool
	// UserAgent is what the client calls itself.
	UserAgent string

	// lookup resolves names; nil means as the system does.
	lookup lookup
}

const (
	dialTimeout     = 10 * time.Second
	answerTimeout   = 30 * time.Second
	idleTimeout     = 30 * time.Second
	maxHeaderBytes  = 256 << 10
	maxListingPages = 8
)

// Repository prepares access to the repository of the reference; no request is made yet.
//
// Tokens are kept and connections are shared for as long as the repository is used. Fails on certificates and configurations that cannot be read.
func (a Access) Repository(ref Reference) (*remote.Repository, error) {
	transport, err := a.transport()
	if err != nil {
		return nil, fmt.Errorf("preparing access to registry %q: %w", ref.Registry, err)
	}
	credential, err := a.credential(ref)
	if err != nil {
		return nil, fmt.Errorf("preparing access to registry %q: %w", ref.Registry, err)
	}
	names := a.lookup
	if names == nil {
		names = net.DefaultResolver.LookupNetIP
	}
	client := &auth.Client{
		Client:     &http.Client{Transport: unavailable{retrying(newTokenServices(transport, ref.oras().Host(), names))}},
		Credential: credential,
		Cache:      auth.NewCache(),
	}
	client.SetUserAgent(a.UserAgent)
	return &remote.Repository{
		Client:               discreet{client},
		Reference:            ref.oras(),
		PlainHTTP:            a.PlainHTTP,
		MaxMetadataBytes:     maxManifest,
		TagListMaxPages:      maxListingPages,
		ReferrerListMaxPages: maxListingPages,
	}, nil
}

func (a Access) transport() (*http.Transport, error) {
	config, err := a.tls()
	if err != nil {
		return nil, err
	}
	proxy := http.ProxyFromEnvironment
	if a.Proxy != nil {
		proxy = http.ProxyURL(a.Proxy)
	}
	return &http.Transport{
		Proxy:                  proxy,
		DialContext:            (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSClientConfig:        config,
		TLSHandshakeTimeout:    dialTimeout,
		ResponseHeaderTimeout:  answerTimeout,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
		ForceAttemptHTTP2:      true,
	}, nil
}

func (a Access) tls() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(a.CA) > 0 {
		// Registries redirect to storage that has a public certificate: a private authority comes on top of those of the system.
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(a.CA) {
			return nil, errors.New("the certificates of authorities are not in PEM form: write the text that begins with -----BEGIN CERTIFICATE-----")
		}
		config.RootCAs = pool
	}
	if len(a.ClientCert) == 0 && len(a.ClientKey) == 0 {
		return config, nil
	}
	pair, err := tls.X509KeyPair(a.ClientCert, a.ClientKey)
	if err != nil {
		return nil, fmt.Errorf("reading the client certificate and its key, both are needed in PEM form: %w", err)
	}
	config.Certificates = []tls.Certificate{pair}
	return config, nil
}
