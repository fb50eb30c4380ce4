package artifact

import (
	"context"
	"errors"
	"net/url"

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
}

// Repository prepares access to the repository of the reference; no request is made yet.
//
// Tokens are kept and connections are shared for as long as the repository is used. Fails on certificates and configurations that cannot be read.
func (a Access) Repository(ref Reference) (*remote.Repository, error) {
	return nil, errors.ErrUnsupported
}
