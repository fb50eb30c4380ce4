package artifact

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
)

// realmPattern finds where a registry sends its clients for tokens.
var realmPattern = regexp.MustCompile(`(?i)^(bearer\s.*\brealm=")([^"]+)(".*)$`)

// lookup resolves the name of a host, as [net.Resolver.LookupNetIP] does.
type lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)

// tokenServices lets a registry in a private network have its token service on another host of that network, as GitLab has.
//
// The client library refuses token services with private addresses, so that a hostile registry cannot point its clients at what only they reach. It
// makes no exception, but for the host of the registry itself. Here those with a name and TLS, which has to prove that name, are excepted: they pass
// the library under the name of the registry, with a path that the registry cannot know. Loopback and link-local addresses, where clouds keep
// their secrets, and addresses without a name stay refused.
type tokenServices struct {
	base     http.RoundTripper
	registry string
	lookup   lookup
	path     string
}

func newTokenServices(base http.RoundTripper, registry string, lookup lookup) tokenServices {
	return tokenServices{base: base, registry: registry, lookup: lookup, path: "/" + rand.Text() + "/"}
}

// RoundTrip makes the request.
func (s tokenServices) RoundTrip(request *http.Request) (*http.Response, error) {
	if masked, ok := strings.CutPrefix(request.URL.Path, s.path); ok {
		return s.ask(request, masked)
	}
	answer, err := s.base.RoundTrip(request)
	if err == nil && answer.StatusCode == http.StatusUnauthorized && request.URL.Host == s.registry {
		challenge := answer.Header.Get("WWW-Authenticate")
		answer.Header.Set("WWW-Authenticate", s.mask(request.Context(), challenge))
	}
	return answer, err
}

// ask sends a request for a token where the registry meant it to go.
func (s tokenServices) ask(request *http.Request, masked string) (*http.Response, error) {
	realm, err := base64.RawURLEncoding.DecodeString(masked)
	if err != nil {
		return nil, err
	}
	address, err := url.Parse(string(realm))
	if err != nil {
		return nil, err
	}
	address.RawQuery = request.URL.RawQuery
	asked := request.Clone(request.Context())
	asked.URL, asked.Host = address, address.Host
	return s.base.RoundTrip(asked)
}

// mask replaces the address of a token service in the private network.
func (s tokenServices) mask(ctx context.Context, challenge string) string {
	parts := realmPattern.FindStringSubmatch(challenge)
	if parts == nil {
		return challenge
	}
	realm, err := url.Parse(parts[2])
	if err != nil || realm.Scheme != "https" || realm.User != nil || !s.private(ctx, realm.Hostname()) {
		return challenge
	}
	masked := url.URL{Scheme: "https", Host: s.registry, Path: s.path + base64.RawURLEncoding.EncodeToString([]byte(parts[2])), RawQuery: realm.RawQuery}
	return parts[1] + masked.String() + parts[3]
}

// private tells whether a name stands for addresses of a private network, and no others.
func (s tokenServices) private(ctx context.Context, host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return false
	}
	addresses, err := s.lookup(ctx, "ip", host)
	if err != nil || len(addresses) == 0 {
		return false
	}
	for _, address := range addresses {
		if !address.Unmap().IsPrivate() {
			return false
		}
	}
	return true
}
