package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	apiwait "k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

// tlsServer serves as the metrics endpoint does.
func tlsServer(t *testing.T, c *config) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.TLS = &tls.Config{NextProtos: []string{"h2"}}
	for _, apply := range c.metrics().TLSOpts {
		apply(server.TLS)
	}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

func TestTLSOfTheMetricsEndpoint(t *testing.T) {
	const suite = tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
	for name, tc := range map[string]struct {
		args   []string
		client *tls.Config
		serves bool
	}{
		"1.2":              {client: &tls.Config{MaxVersion: tls.VersionTLS12}, serves: true},
		"older":            {client: &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}},
		"1.3 alone":        {args: []string{"--tls-min-version=VersionTLS13"}, client: &tls.Config{MaxVersion: tls.VersionTLS12}},
		"a wanted cipher":  {args: []string{"--tls-cipher-suites=" + tls.CipherSuiteName(suite)}, client: &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{suite}}, serves: true},
		"another cipher":   {args: []string{"--tls-cipher-suites=" + tls.CipherSuiteName(suite)}, client: &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}}},
		"HTTP/2 if it may": {client: &tls.Config{NextProtos: []string{"h2", "http/1.1"}}, serves: true},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := configure(tc.args, func(string) (string, bool) { return "", false })
			if err != nil {
				t.Fatal(err)
			}
			tc.client.InsecureSkipVerify, tc.client.ServerName = true, "localhost" // without a name, the test server presents its own certificate
			conn, err := tls.Dial("tcp", tlsServer(t, c).Listener.Addr().String(), tc.client)
			if (err == nil) != tc.serves {
				t.Fatalf("connecting: %v", err)
			}
			if err != nil {
				return
			}
			if protocol := conn.ConnectionState().NegotiatedProtocol; protocol == "h2" {
				t.Error("the endpoint speaks HTTP/2")
			}
			if err := conn.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestMetricsCertificateOfOthers(t *testing.T) {
	dir := t.TempDir()
	c, err := configure([]string{"--metrics-addr=127.0.0.1:0", "--metrics-cert-dir=" + dir}, func(string) (string, bool) { return "", false })
	if err == nil || !strings.Contains(err.Error(), "--metrics-cert-dir") || c == nil {
		t.Fatalf("error %v, want one that says that there is no certificate", err)
	}
	first := writeCertificate(t, dir)
	if err := c.validate(); err != nil {
		t.Fatal(err)
	}
	options := c.metrics()
	options.FilterProvider = nil // it would ask an API server
	server, err := metricsserver.NewServer(options, &rest.Config{}, http.DefaultClient)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Start(t.Context()) }()
	serves := func(want *x509.Certificate) {
		t.Helper()
		roots := x509.NewCertPool()
		roots.AddCert(want)
		err := apiwait.PollUntilContextTimeout(t.Context(), 10*time.Millisecond, time.Minute, true, func(context.Context) (bool, error) {
			conn, err := tls.Dial("tcp", server.(interface{ GetBindAddr() string }).GetBindAddr(), &tls.Config{RootCAs: roots, ServerName: "localhost"})
			if err != nil {
				return false, nil //nolint:nilerr // not yet
			}
			return true, conn.Close()
		})
		if err != nil {
			t.Fatalf("waiting for the certificate to be served: %v", err)
		}
	}
	serves(first)
	serves(writeCertificate(t, dir))
}

// writeCertificate writes a new certificate and its key as a Secret of Kubernetes is mounted.
func writeCertificate(t *testing.T, dir string) *x509.Certificate {
	t.Helper()
	made, err := newCertificate()
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(made.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"tls.crt": {Type: "CERTIFICATE", Bytes: made.Certificate[0]}, "tls.key": {Type: "PRIVATE KEY", Bytes: key}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	parsed, err := x509.ParseCertificate(made.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}
