package tools

import (
	"crypto/x509"
	"testing"
)

func TestRootsAreTakenByGo(t *testing.T) {
	roots, err := Roots(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(roots) {
		t.Error("none of the authorities can be read")
	}
}
