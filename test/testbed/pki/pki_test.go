package pki

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"slices"
	"testing"
)

func authority(t *testing.T) *Authority {
	t.Helper()
	a, err := NewAuthority("test")
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func parse(t *testing.T, p Pair) *x509.Certificate {
	t.Helper()
	if _, err := tls.X509KeyPair(p.Cert, p.Key); err != nil {
		t.Fatalf("certificate and key do not fit: %v", err)
	}
	block, _ := pem.Decode(p.Cert)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestIssue(t *testing.T) {
	a := authority(t)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(a.Cert)
	for _, tc := range []struct {
		reason  string
		request Request
		verify  x509.VerifyOptions
		fails   bool
	}{
		{"a server by name", Request{CommonName: "s", Names: []string{"a.test", "10.0.0.1"}}, x509.VerifyOptions{DNSName: "a.test"}, false},
		{"a server by address", Request{CommonName: "s", Names: []string{"a.test", "10.0.0.1"}}, x509.VerifyOptions{DNSName: "10.0.0.1"}, false},
		{"a server under another name", Request{CommonName: "s", Names: []string{"a.test"}}, x509.VerifyOptions{DNSName: "b.test"}, true},
		{
			"a client", Request{CommonName: "c", Groups: []string{"g"}},
			x509.VerifyOptions{KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, false,
		},
		{"a client as server", Request{CommonName: "c"}, x509.VerifyOptions{}, true},
	} {
		pair, err := a.Issue(tc.request)
		if err != nil {
			t.Fatalf("%s: %v", tc.reason, err)
		}
		cert := parse(t, pair)
		tc.verify.Roots = roots
		if _, err := cert.Verify(tc.verify); (err != nil) != tc.fails {
			t.Errorf("%s: %v", tc.reason, err)
		}
		if cert.Subject.CommonName != tc.request.CommonName || !slices.Equal(cert.Subject.Organization, tc.request.Groups) {
			t.Errorf("%s: subject is %v", tc.reason, cert.Subject)
		}
	}
}

func TestAuthorityIsReadBack(t *testing.T) {
	a, dir := authority(t), t.TempDir()
	if err := a.Write(dir, "ca"); err != nil {
		t.Fatal(err)
	}
	again, err := ReadAuthority(dir, "ca")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := again.Issue(Request{CommonName: "c"})
	if err != nil {
		t.Fatal(err)
	}
	if err := parse(t, pair).CheckSignatureFrom(parse(t, a.Pair)); err != nil {
		t.Error(err)
	}
	if _, err := ReadAuthority(dir, "other"); err == nil {
		t.Error("a missing authority was read")
	}
}

func TestKubeconfig(t *testing.T) {
	a := authority(t)
	data, err := Kubeconfig("https://127.0.0.1:1", a.Cert, a.Pair)
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Clusters []struct {
			Cluster struct {
				Server string `json:"server"`
				CA     []byte `json:"certificate-authority-data"` //nolint:tagliatelle // kubectl's own spelling
			}
		}
	}
	if err := json.Unmarshal(data, &config); err != nil {
		t.Fatal(err)
	}
	if c := config.Clusters[0].Cluster; c.Server != "https://127.0.0.1:1" || string(c.CA) != string(a.Cert) {
		t.Errorf("got %+v", c)
	}
}
