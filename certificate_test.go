package main

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func TestSelfSignedServesOneLastingCertificate(t *testing.T) {
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.TLS = &tls.Config{}
	selfSigned(server.TLS)
	server.StartTLS()
	defer server.Close()
	var first *x509.Certificate
	for range 2 {
		conn, err := tls.Dial("tcp", server.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"})
		if err != nil {
			t.Fatal(err)
		}
		got := conn.ConnectionState().PeerCertificates[0]
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = got
		}
		if !got.Equal(first) {
			t.Error("each client gets another certificate")
		}
		roots := x509.NewCertPool()
		roots.AddCert(got)
		if _, err := got.Verify(x509.VerifyOptions{Roots: roots, DNSName: "localhost", CurrentTime: time.Now().AddDate(5, 0, 0)}); err != nil {
			t.Error(err)
		}
	}
}
