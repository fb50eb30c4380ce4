package artifact

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// fakeCloud answers for the hosts of all clouds. The libraries reach it by their real names, through a proxy on loopback.
type fakeCloud struct {
	t      *testing.T
	server *httptest.Server

	mutex sync.Mutex
	// asked are host and path of all requests, proxied the hosts that the proxy was asked for.
	asked, proxied []string
	// lives is how long tokens are valid.
	lives time.Duration
	// answer, when set, answers instead.
	answer http.HandlerFunc
	// subject of the last token that was shown.
	shown string
}

const (
	ecrHost       = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
	acrHost       = "example.azurecr.io"
	garHost       = "europe-docker.pkg.dev"
	proxyPassword = "a-password-of-the-proxy"
	shownToken    = "a-token-that-the-cluster-issued"
	cloudSecret   = "a-secret-of-the-cloud"
)

func newFakeCloud(t *testing.T) *fakeCloud {
	t.Helper()
	c := &fakeCloud{t: t, lives: time.Hour}
	certificate, authority := c.certificate()
	c.server = httptest.NewUnstartedServer(http.HandlerFunc(c.serve))
	c.server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	c.server.StartTLS()
	t.Cleanup(c.server.Close)

	original := http.DefaultTransport.(*http.Transport)
	trusting := original.Clone()
	trusting.TLSClientConfig = &tls.Config{RootCAs: authority}
	http.DefaultTransport = trusting // what the library clones for each of its requests
	t.Cleanup(func() { http.DefaultTransport = original })
	return c
}

func (c *fakeCloud) certificate() (tls.Certificate, *x509.CertPool) {
	key := newKey(c.t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "clouds"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		DNSNames: []string{
			"sts.us-east-1.amazonaws.com", "api.ecr.us-east-1.amazonaws.com", "api.ecr-public.us-east-1.amazonaws.com",
			"login.microsoftonline.com", acrHost, "sts.googleapis.com", "iamcredentials.googleapis.com",
		},
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(c.t, err)
	parsed, err := x509.ParseCertificate(raw)
	must(c.t, err)
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key}, pool
}

// proxy connects everybody to the cloud.
func (c *fakeCloud) proxy() *url.URL {
	c.t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := proxyUser(r); r.Method != http.MethodConnect || user != "me" || password != proxyPassword {
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		c.mutex.Lock()
		c.proxied = append(c.proxied, r.Host)
		c.mutex.Unlock()
		c.tunnel(w)
	}))
	c.t.Cleanup(server.Close)
	address, err := url.Parse(server.URL)
	must(c.t, err)
	address.User = url.UserPassword("me", proxyPassword)
	return address
}

func (c *fakeCloud) tunnel(w http.ResponseWriter) {
	there, err := net.Dial("tcp", c.server.Listener.Addr().String())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer there.Close()
	here, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer here.Close()
	_, _ = io.WriteString(here, "HTTP/1.1 200 Connection established\r\n\r\n")
	go func() {
		_, _ = io.Copy(there, buffered)
		_ = there.Close()
	}()
	_, _ = io.Copy(here, there)
}

func (c *fakeCloud) serve(w http.ResponseWriter, r *http.Request) {
	c.mutex.Lock()
	c.asked = append(c.asked, r.Host+r.URL.Path)
	answer := c.answer
	c.mutex.Unlock()
	_ = r.ParseForm()
	for _, field := range []string{"WebIdentityToken", "client_assertion", "subject_token"} {
		if token := r.Form.Get(field); token != "" {
			c.shown = token
		}
	}
	if answer == nil {
		answer = c.grant
	}
	answer(w, r)
}

// grant is what each cloud answers when it likes who asks.
func (c *fakeCloud) grant(w http.ResponseWriter, r *http.Request) {
	seconds := int(c.lives.Seconds())
	until := time.Now().Add(c.lives).UTC()
	ecr := map[string]any{"authorizationToken": base64.StdEncoding.EncodeToString([]byte("AWS:password of ECR")), "expiresAt": until.Unix()}
	switch {
	case r.Host == "sts.us-east-1.amazonaws.com":
		w.Header().Set("Content-Type", "text/xml")
		fmt.Fprintf(w, `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult><Credentials>`+
			`<AccessKeyId>ASIAEXAMPLE</AccessKeyId><SecretAccessKey>%s</SecretAccessKey><SessionToken>session</SessionToken><Expiration>%s</Expiration>`+
			`</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`, cloudSecret, until.Format(time.RFC3339))
	case r.Host == "api.ecr.us-east-1.amazonaws.com" && strings.Contains(r.Header.Get("Authorization"), "Credential=ASIAEXAMPLE/"):
		c.json(w, map[string]any{"authorizationData": []any{ecr}})
	case r.Host == "api.ecr-public.us-east-1.amazonaws.com" && strings.Contains(r.Header.Get("Authorization"), "Credential=ASIAEXAMPLE/"):
		c.json(w, map[string]any{"authorizationData": ecr})
	case strings.HasSuffix(r.URL.Path, "/.well-known/openid-configuration"):
		base := "https://login.microsoftonline.com/tenant/"
		c.json(w, map[string]any{"authorization_endpoint": base + "oauth2/v2.0/authorize", "token_endpoint": base + "oauth2/v2.0/token", "issuer": base + "v2.0"})
	case r.URL.Path == "/tenant/oauth2/v2.0/token" && r.Form.Get("client_id") == "client" && strings.HasPrefix(r.Form.Get("scope"), "https://containerregistry.azure.net/.default"):
		c.json(w, map[string]any{"token_type": "Bearer", "access_token": cloudSecret, "expires_in": seconds})
	case r.Host == acrHost && r.URL.Path == "/oauth2/exchange" && r.Form.Get("access_token") == cloudSecret && r.Form.Get("service") == acrHost:
		c.json(w, map[string]any{"refresh_token": unsignedToken(until)})
	case r.Host == "sts.googleapis.com" && r.Form.Get("audience") != "":
		c.json(w, map[string]any{"access_token": cloudSecret, "issued_token_type": "urn:ietf:params:oauth:token-type:access_token", "token_type": "Bearer", "expires_in": seconds})
	case r.Host == "iamcredentials.googleapis.com" && r.Header.Get("Authorization") == "Bearer "+cloudSecret:
		c.json(w, map[string]any{"accessToken": "password of the impersonated", "expireTime": until.Format(time.RFC3339)})
	default:
		http.Error(w, "not granted", http.StatusForbidden)
	}
}

func (c *fakeCloud) json(w http.ResponseWriter, answer any) {
	w.Header().Set("Content-Type", "application/json")
	must(c.t, json.NewEncoder(w).Encode(answer))
}

// hosts returns each host once that was asked, in order.
func (c *fakeCloud) hosts() []string {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	var hosts []string
	for _, asked := range c.asked {
		host, _, _ := strings.Cut(asked, "/")
		if !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	return hosts
}

func (c *fakeCloud) requests() int {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return len(c.asked)
}

// unsignedToken is a token that says when it expires; the refresh token of ACR is such a one.
func unsignedToken(until time.Time) string {
	part := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	return part(`{"alg":"none","typ":"JWT"}`) + "." + part(fmt.Sprintf(`{"exp":%d}`, until.Unix())) + "."
}
