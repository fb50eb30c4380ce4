package artifact

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/tuf"
	"github.com/theupdateframework/go-tuf/v2/metadata/fetcher"
)

const (
	// rootDays is for how many days the authorities of the public instance are taken from the cache without a request.
	rootDays = 1
	// rootTimeout bounds one request; there are some six.
	rootTimeout = 20 * time.Second
)

// rootSource gets the authorities that keyless signatures are checked against.
type rootSource func(context.Context) (*root.TrustedRoot, error)

// givenRoot reads a trusted_root.json.
func givenRoot(file []byte) (rootSource, error) {
	trusted, err := root.NewTrustedRootFromJSON(file)
	if err != nil {
		return nil, fmt.Errorf("reading trusted_root.json: give what cosign trusted-root create writes: %w", err)
	}
	if len(trusted.FulcioCertificateAuthorities()) == 0 {
		return nil, errors.New("reading trusted_root.json: it has no certificateAuthorities, so no signature can be checked against it")
	}
	if len(trusted.RekorLogs()) == 0 && len(trusted.TimestampingAuthorities()) == 0 {
		return nil, errors.New("reading trusted_root.json: it has neither tlogs nor timestampAuthorities, so nobody can tell when a signature was made")
	}
	return func(context.Context) (*root.TrustedRoot, error) { return trusted, nil }, nil
}

// mirror is a place that authorities are published at, by The Update Framework.
type mirror struct {
	url string
	// anchor is the first root.json that is trusted; newer ones are found from it.
	anchor []byte
}

// source fetches the authorities. When that fails, those in the cache are used for as long as their publishers said they are good.
func (m mirror) source(cache string, proxy *url.URL) rootSource {
	client := &http.Client{Transport: throughProxy(proxy), Timeout: rootTimeout}
	return func(ctx context.Context) (*root.TrustedRoot, error) {
		options := m.options(cache, func(request *http.Request) (*http.Response, error) { return client.Do(request.WithContext(ctx)) })
		trusted, err := root.FetchTrustedRootWithOptions(options.WithCacheValidity(rootDays))
		if err == nil {
			return trusted, nil
		}
		if cache != "" {
			if trusted, err := root.FetchTrustedRootWithOptions(options.WithForceCache()); err == nil {
				return trusted, nil
			}
		}
		return nil, &UncheckedError{fmt.Errorf("fetching the authorities of the public Sigstore instance from %s: give them as trusted_root.json where it cannot be reached: %s",
			m.url, shorten(err.Error()))}
	}
}

func (m mirror) options(cache string, do doer) *tuf.Options {
	download := fetcher.NewDefaultFetcher()
	download.SetHTTPClient(do)
	download.SetHTTPUserAgent("flux-operator")
	options := &tuf.Options{Root: m.anchor, RepositoryBaseURL: m.url, CachePath: cache, Fetcher: download}
	if cache == "" {
		return options.WithDisableLocalCache()
	}
	return options
}

// doer makes requests.
type doer func(*http.Request) (*http.Response, error)

// Do makes a request.
func (d doer) Do(request *http.Request) (*http.Response, error) { return d(request) }

// throughProxy is the default transport, but for the proxy.
func throughProxy(proxy *url.URL) http.RoundTripper {
	if proxy == nil {
		return http.DefaultTransport
	}
	transport := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // the standard library's own
	transport.Proxy = http.ProxyURL(proxy)
	return transport
}
