package plane

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/flux-autopilot/flux-operator/test/testbed/pki"
)

const (
	requestLimit = 5 * time.Second
	// answerLimit is how much of a refusal an error message repeats.
	answerLimit = 500
)

// Client asks an API server as administrator. It knows only what bringing up a cluster needs.
type Client struct {
	server string
	http   *http.Client
}

// NewClient makes a client with a certificate of its own.
func NewClient(server string, authority *pki.Authority) (*Client, error) {
	pair, err := authority.Issue(pki.Request{CommonName: "testbed", Groups: []string{"system:masters"}})
	if err != nil {
		return nil, err
	}
	cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		return nil, fmt.Errorf("reading client certificate: %w", err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authority.Cert)
	return &Client{server: server, http: &http.Client{
		Timeout:   requestLimit,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: pool, MinVersion: tls.VersionTLS12}},
	}}, nil
}

// Get asks for a path; an answer other than 2xx is an error that repeats the beginning of the answer.
func (c *Client) Get(ctx context.Context, path string) error {
	_, err := c.Read(ctx, path, answerLimit)
	return err
}

// Read returns at most limit bytes of the answer to a path.
func (c *Client) Read(ctx context.Context, path string, limit int64) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.server+path, nil)
	if err != nil {
		return nil, fmt.Errorf("asking for %q: %w", path, err)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, fmt.Errorf("asking for %q: %w", path, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, limit))
	if err != nil {
		return nil, fmt.Errorf("reading the answer to %q: %w", path, err)
	}
	if response.StatusCode/100 != 2 {
		return nil, fmt.Errorf("asking for %q: %s: %s", path, response.Status, strings.TrimSpace(string(body[:min(len(body), answerLimit)])))
	}
	return body, nil
}
