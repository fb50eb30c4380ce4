package artifact

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/flux-autopilot/flux-operator/test/testbed/pki"
)

// resolving answers every name with the same addresses.
func resolving(addresses ...string) lookup {
	return func(_ context.Context, _, host string) ([]netip.Addr, error) {
		if len(addresses) == 0 {
			return nil, errors.New("no such host " + host)
		}
		var found []netip.Addr
		for _, address := range addresses {
			found = append(found, netip.MustParseAddr(address))
		}
		return found, nil
	}
}

// A registry and its token service are two hosts of a private network, which is behind a proxy. The library would look up the second one, find
// that it is this machine, and refuse it.
func TestTokenServiceInPrivateNetwork(t *testing.T) {
	const registry, service = "registry.corp.example:443", "localhost:443"
	ca := authority(t)
	var asked []string
	tokens := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		asked = append(asked, r.Host+r.URL.Path+" "+r.URL.Query().Get("service")+" "+r.URL.Query().Get("extra")+" "+user+" "+password)
		_, _ = io.WriteString(w, `{"token":"t0ken"}`)
	}))
	pair := issue(t, ca, pki.Request{CommonName: "service", Names: []string{"localhost", "registry.corp.example"}})
	certificate, err := tls.X509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	tokens.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	tokens.StartTLS()
	t.Cleanup(tokens.Close)

	h := newIdleHub(t, func(inner http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer t0ken" {
				w.Header().Set("WWW-Authenticate", `Bearer realm="https://localhost/jwt/auth?extra=1",service="container_registry",scope="repository:flux/distribution:pull"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			inner.ServeHTTP(w, r)
		})
	})
	h.TLS = tokens.TLS.Clone()
	h.StartTLS()
	want := h.publish(t, "latest", release(t, "v2.9.4"))
	through := newProxy(t)
	through.hosts = map[string]string{registry: h.host(), service: strings.TrimPrefix(tokens.URL, "https://")}
	access := Access{CA: ca.Cert, Proxy: through.url(t, url.UserPassword("me", "hunter2")), DockerConfigs: pullSecret("registry.corp.example", "hunter3")}
	access.lookup = resolving("10.0.0.5", "fd00::5")
	ref := Reference{Registry: "registry.corp.example", Repository: hubRepository, Tag: "latest"}
	if got, err := reach(t, ref, access).Resolve(t.Context()); err != nil || got != want {
		t.Fatalf("resolved to %q, %v", got, err)
	}
	if len(asked) != 1 || asked[0] != "localhost/jwt/auth container_registry 1 me hunter3" {
		t.Errorf("the token service was asked for %q", asked)
	}
}

func TestTokenServicesThatAreLeftToTheLibrary(t *testing.T) {
	const good = `Bearer realm="https://auth.corp.example/token",service="x"`
	private := resolving("192.168.1.1")
	for _, tt := range []struct {
		reason, challenge string
		lookup            lookup
	}{
		{"a public address", good, resolving("1.2.3.4")},
		{"a public address among them", good, resolving("10.0.0.5", "1.2.3.4")},
		{"a loopback address", good, resolving("127.0.0.1")},
		{"a loopback address among them", good, resolving("10.0.0.5", "::1")},
		{"a loopback address in disguise", good, resolving("::ffff:127.0.0.1")},
		{"the metadata of a cloud", good, resolving("169.254.169.254")},
		{"the metadata of another cloud", good, resolving("100.100.100.200")},
		{"no address", good, resolving()},
		{"an address without a name", `Bearer realm="https://10.0.0.5/token"`, private},
		{"an address without a name, IPv6", `Bearer realm="https://[fd00::5]/token"`, private},
		{"no TLS", `Bearer realm="http://auth.corp.example/token"`, private},
		{"a user", `Bearer realm="https://a:b@auth.corp.example/token"`, private},
		{"no address at all", `Bearer realm="://"`, private},
		{"basic authentication", `Basic realm="https://auth.corp.example/token"`, private},
		{"no challenge", ``, private},
	} {
		services := newTokenServices(nil, "registry.corp.example", tt.lookup)
		if got := services.mask(t.Context(), tt.challenge); got != tt.challenge {
			t.Errorf("%s: %s became %s", tt.reason, tt.challenge, got)
		}
	}
	services := newTokenServices(nil, "registry.corp.example", private)
	if got := services.mask(t.Context(), good); !strings.HasPrefix(got, `Bearer realm="https://registry.corp.example/`) {
		t.Errorf("a private address: %s", got)
	}
}

// A registry that redirects cannot reach the private network that way: it does not know the path.
func TestTokenServicesCannotBeGuessed(t *testing.T) {
	first, second := newTokenServices(nil, "a", nil), newTokenServices(nil, "a", nil)
	if first.path == second.path || len(first.path) < 20 {
		t.Errorf("%q and %q", first.path, second.path)
	}
}
