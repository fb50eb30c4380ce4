package artifact

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/flux-autopilot/flux-operator/test/testbed/pki"
)

func authority(t *testing.T) *pki.Authority {
	t.Helper()
	ca, err := pki.NewAuthority("test")
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func issue(t *testing.T, ca *pki.Authority, request pki.Request) pki.Pair {
	t.Helper()
	pair, err := ca.Issue(request)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// secure starts a registry with a certificate of the authority, which has to have signed the certificates of clients too where those are wanted.
func secure(t *testing.T, ca *pki.Authority, clients tls.ClientAuthType) *hub {
	t.Helper()
	h := newIdleHub(t)
	pair := issue(t, ca, pki.Request{CommonName: "registry", Names: []string{"127.0.0.1"}})
	certificate, err := tls.X509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca.Cert)
	h.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, ClientCAs: pool, ClientAuth: clients, MinVersion: tls.VersionTLS12}
	h.StartTLS()
	return h
}

func TestPrivateAuthority(t *testing.T) {
	ca := authority(t)
	h := secure(t, ca, tls.NoClientCert)
	want := h.publish(t, "latest", release(t, "v2.9.4"))
	if got, err := reach(t, h.ref("latest"), Access{CA: ca.Cert}).Resolve(t.Context()); err != nil || got != want {
		t.Errorf("resolved to %q, %v", got, err)
	}
	for reason, access := range map[string]Access{"no authority": {}, "another authority": {CA: authority(t).Cert}, "plain HTTP": {PlainHTTP: true}} {
		if got, err := reach(t, h.ref("latest"), access).Resolve(t.Context()); err == nil {
			t.Errorf("%s: resolved to %q", reason, got)
		}
	}
}

// Storage that a registry redirects to has a certificate that everybody trusts.
func TestPrivateAuthorityIsNotTheOnlyOne(t *testing.T) {
	const child = "TEST_REGISTRY"
	if host := os.Getenv(child); host != "" { // authorities of the system are read once in a process
		ref := Reference{Registry: host, Repository: hubRepository, Tag: "latest"}
		if _, err := reach(t, ref, Access{CA: authority(t).Cert}).Resolve(t.Context()); err != nil {
			t.Error(err)
		}
		return
	}
	system := authority(t)
	h := secure(t, system, tls.NoClientCert)
	h.publish(t, "latest", release(t, "v2.9.4"))
	roots := filepath.Join(t.TempDir(), "roots.pem")
	if err := os.WriteFile(roots, system.Cert, 0o600); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	again := exec.CommandContext(t.Context(), self, "-test.run", "^"+t.Name()+"$")
	again.Env = append(os.Environ(), child+"="+h.host(), "SSL_CERT_FILE="+roots)
	if out, err := again.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestClientCertificate(t *testing.T) {
	ca := authority(t)
	h := secure(t, ca, tls.RequireAndVerifyClientCert)
	want := h.publish(t, "latest", release(t, "v2.9.4"))
	client := issue(t, ca, pki.Request{CommonName: "operator"})
	other := issue(t, authority(t), pki.Request{CommonName: "operator"})
	if got, err := reach(t, h.ref("latest"), Access{CA: ca.Cert, ClientCert: client.Cert, ClientKey: client.Key}).Resolve(t.Context()); err != nil || got != want {
		t.Errorf("resolved to %q, %v", got, err)
	}
	for reason, access := range map[string]Access{"none": {CA: ca.Cert}, "another's": {CA: ca.Cert, ClientCert: other.Cert, ClientKey: other.Key}} {
		if got, err := reach(t, h.ref("latest"), access).Resolve(t.Context()); err == nil {
			t.Errorf("%s: resolved to %q", reason, got)
		}
	}
}

func TestAccessFails(t *testing.T) {
	pair := issue(t, authority(t), pki.Request{CommonName: "operator"})
	for reason, access := range map[string]Access{
		"an authority that is no certificate": {CA: []byte("certificate")},
		"a certificate without a key":         {ClientCert: pair.Cert},
		"a key without a certificate":         {ClientKey: pair.Key},
		"another's key":                       {ClientCert: pair.Cert, ClientKey: issue(t, authority(t), pki.Request{CommonName: "x"}).Key},
	} {
		_, err := NewSource(Reference{Registry: "ghcr.io", Repository: "repo"}, access)
		if err == nil || !strings.Contains(err.Error(), "PEM") || !strings.Contains(err.Error(), "ghcr.io") {
			t.Errorf("%s: %v, want an error with the registry and what is needed", reason, err)
		}
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	ca := authority(t)
	h := secure(t, ca, tls.NoClientCert)
	h.TLS.MinVersion, h.TLS.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	if got, err := reach(t, h.ref("latest"), Access{CA: ca.Cert}).Resolve(t.Context()); err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Errorf("resolved to %q, %v", got, err)
	}
}

// protected lets user me with password hunter2 in.
func protected(inner http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "me" || password != "hunter2" {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		inner.ServeHTTP(w, r)
	})
}

func pullSecret(host, password string) []DockerConfig {
	return []DockerConfig{config("pull", fmt.Sprintf(`%q:{"username":"me","password":%q}`, host, password))}
}

func TestBasicAuthentication(t *testing.T) {
	h := newHub(t, protected)
	want := h.publish(t, "latest", release(t, "v2.9.4"))
	source := reach(t, h.ref("latest"), Access{PlainHTTP: true, DockerConfigs: pullSecret(h.host(), "hunter2")})
	for _, requests := range []int{2, 1} { // the second time the credentials are known to be wanted
		got, err := source.Resolve(t.Context())
		asked, _ := h.asked()
		if err != nil || got != want || len(asked) != requests {
			t.Errorf("resolved to %q, %v, with %v", got, err, asked)
		}
	}
	catalog, err := newStore(t, t.TempDir()).Open(t.Context(), source, want, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := catalog.Close(); err != nil {
		t.Error(err)
	}
	for reason, configs := range map[string][]DockerConfig{"wrong": pullSecret(h.host(), "hunter3"), "for another host": pullSecret("ghcr.io", "hunter2"), "none": nil} {
		_, err := reach(t, h.ref("latest"), Access{PlainHTTP: true, DockerConfigs: configs}).Resolve(t.Context())
		if err == nil || strings.Contains(err.Error(), "hunter") {
			t.Errorf("%s: %v, want an error without the password", reason, err)
		}
	}
}

// withTokens wants a token, which is given to user me with password hunter2.
func withTokens(inner http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch user, password, _ := r.BasicAuth(); {
		case r.URL.Path == "/token" && user == "me" && password == "hunter2" && r.URL.Query().Get("scope") == "repository:"+hubRepository+":pull":
			_, _ = io.WriteString(w, `{"token":"t0ken"}`)
		case r.URL.Path == "/token":
			w.WriteHeader(http.StatusForbidden)
		case r.Header.Get("Authorization") == "Bearer t0ken":
			inner.ServeHTTP(w, r)
		default:
			w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+r.Host+`/token",service="test",scope="repository:`+hubRepository+`:pull"`)
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
}

func TestTokens(t *testing.T) {
	h := newHub(t, withTokens)
	want := h.publish(t, "latest", release(t, "v2.9.4"))
	source := reach(t, h.ref("latest"), Access{PlainHTTP: true, DockerConfigs: pullSecret(h.host(), "hunter2")})
	for _, requests := range []int{3, 1} { // the second time there is a token
		got, err := source.Resolve(t.Context())
		asked, _ := h.asked()
		if err != nil || got != want || len(asked) != requests {
			t.Errorf("resolved to %q, %v, with %v", got, err, asked)
		}
	}
	if _, err := h.source(t, "latest").Resolve(t.Context()); err == nil {
		t.Error("resolved without credentials")
	}
}

// proxy forwards requests, and notes them.
type proxy struct {
	*httptest.Server
	// hosts are names that nobody else knows.
	hosts map[string]string

	mu   sync.Mutex
	seen []string
}

func newProxy(t *testing.T) *proxy {
	t.Helper()
	p := &proxy{}
	p.Server = httptest.NewServer(p)
	t.Cleanup(func() {
		p.CloseClientConnections()
		p.Close()
	})
	return p
}

func (p *proxy) url(t *testing.T, user *url.Userinfo) *url.URL {
	t.Helper()
	address, err := url.Parse(p.URL)
	if err != nil {
		t.Fatal(err)
	}
	address.User = user
	return address
}

func (p *proxy) methods() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Compact(slices.Sorted(slices.Values(p.seen)))
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.seen = append(p.seen, r.Method)
	p.mu.Unlock()
	if r.Header.Get("Proxy-Authorization") != "Basic bWU6aHVudGVyMg==" {
		w.WriteHeader(http.StatusProxyAuthRequired)
		return
	}
	if r.Method == http.MethodConnect {
		p.tunnel(w, r)
		return
	}
	out := r.Clone(r.Context())
	out.RequestURI = ""
	out.Header.Del("Proxy-Authorization")
	answer, err := http.DefaultTransport.RoundTrip(out)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer answer.Body.Close()
	maps.Copy(w.Header(), answer.Header)
	w.WriteHeader(answer.StatusCode)
	_, _ = io.Copy(w, answer.Body)
}

func (p *proxy) tunnel(w http.ResponseWriter, r *http.Request) {
	host, known := p.hosts[r.Host]
	if !known {
		host = r.Host
	}
	there, err := (&net.Dialer{}).DialContext(r.Context(), "tcp", host)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	here, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		_ = there.Close()
		return
	}
	_, _ = io.WriteString(here, "HTTP/1.1 200 OK\r\n\r\n")
	go func() {
		defer there.Close()
		_, _ = io.Copy(there, here)
	}()
	defer here.Close()
	_, _ = io.Copy(here, there)
}

func TestProxy(t *testing.T) {
	ca := authority(t)
	for _, tt := range []struct {
		reason  string
		hub     *hub
		access  Access
		methods []string
	}{
		{"plain", newHub(t), Access{PlainHTTP: true}, []string{"GET", "HEAD"}},
		{"tunnel", secure(t, ca, tls.NoClientCert), Access{CA: ca.Cert}, []string{"CONNECT"}},
	} {
		want := tt.hub.publish(t, "latest", release(t, "v2.9.4"))
		through := newProxy(t)
		tt.access.Proxy = through.url(t, url.UserPassword("me", "hunter2"))
		source := reach(t, tt.hub.ref("latest"), tt.access)
		got, err := source.Resolve(t.Context())
		if err != nil || got != want {
			t.Errorf("%s: resolved to %q, %v", tt.reason, got, err)
			continue
		}
		use(t, newStore(t, t.TempDir()), source, want, nil)
		if methods := through.methods(); !slices.Equal(methods, tt.methods) {
			t.Errorf("%s: the proxy was asked for %v, want %v", tt.reason, methods, tt.methods)
		}
		for reason, user := range map[string]*url.Userinfo{"no user": nil, "a wrong password": url.UserPassword("me", "hunter3")} {
			tt.access.Proxy = through.url(t, user)
			_, err := reach(t, tt.hub.ref("latest"), tt.access).Resolve(t.Context())
			if err == nil || strings.Contains(err.Error(), "hunter3") {
				t.Errorf("%s, %s: %v, want an error without the password", tt.reason, reason, err)
			}
		}
		tt.access.Proxy = through.url(t, url.UserPassword("me", "hunter2"))
		through.CloseClientConnections()
		through.Close()
		if _, err := reach(t, tt.hub.ref("latest"), tt.access).Resolve(t.Context()); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s, no proxy: %v, want an error without the password", tt.reason, err)
		}
	}
}

func TestRedirects(t *testing.T) {
	var mu sync.Mutex
	var leaked []string
	var closed atomic.Bool
	storage := newHub(t, func(inner http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if closed.Load() {
				w.WriteHeader(http.StatusForbidden)
				return
			}
			mu.Lock()
			leaked = append(leaked, r.Header.Values("Authorization")...)
			mu.Unlock()
			inner.ServeHTTP(w, r)
		})
	})
	h := newHub(t, protected, func(inner http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "/blobs/") {
				http.Redirect(w, r, storage.URL+r.URL.Path+"?signature=s3cret", http.StatusTemporaryRedirect)
				return
			}
			inner.ServeHTTP(w, r)
		})
	})
	want := h.publish(t, "latest", release(t, "v2.9.4"))
	source := reach(t, h.ref("latest"), Access{PlainHTTP: true, DockerConfigs: pullSecret(h.host(), "hunter2")})

	_, err := newStore(t, t.TempDir()).Open(t.Context(), source, want, nil)
	if err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("storage without the layer: %v, want an error without the signature of the address", err)
	}
	storage.publish(t, "latest", release(t, "v2.9.4"))
	use(t, newStore(t, t.TempDir()), source, want, nil)
	if len(leaked) != 0 {
		t.Errorf("the storage was told %q", leaked)
	}
	closed.Store(true)
	_, err = newStore(t, t.TempDir()).Open(t.Context(), source, want, nil)
	if err == nil || !strings.Contains(err.Error(), "403") || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("storage that refuses: %v, want an error without the signature of the address", err)
	}
	storage.CloseClientConnections()
	storage.Close()
	_, err = newStore(t, t.TempDir()).Open(t.Context(), source, want, nil)
	if err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("no storage: %v, want an error without the signature of the address", err)
	}
}

func TestUserAgent(t *testing.T) {
	var agent atomic.Value
	h := newHub(t, func(inner http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			agent.Store(r.UserAgent())
			inner.ServeHTTP(w, r)
		})
	})
	h.publish(t, "latest", release(t, "v2.9.4"))
	if _, err := reach(t, h.ref("latest"), Access{PlainHTTP: true, UserAgent: "flux-operator/v1"}).Resolve(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := agent.Load(); got != "flux-operator/v1" {
		t.Errorf("the client calls itself %q", got)
	}
}
