package tools

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
)

// fewestRoots is a number of authorities below which the bundle cannot be whole.
const fewestRoots = 100

// Roots returns the authorities that the Mozilla project trusts, at the version this project pins, as the PEM file that images keep them in.
func Roots(ctx context.Context) ([]byte, error) {
	dir, err := ModuleDir(ctx, "x509roots", "golang.org/x/crypto/x509roots/fallback")
	if err != nil {
		return nil, err
	}
	der, err := os.ReadFile(filepath.Join(dir, "bundle", "bundle.der"))
	if err != nil {
		return nil, fmt.Errorf("reading the authorities: %w", err)
	}
	certificates, err := x509.ParseCertificates(der)
	if err != nil {
		return nil, fmt.Errorf("reading the authorities: %w", err)
	}
	if len(certificates) < fewestRoots {
		return nil, fmt.Errorf("reading the authorities: there are only %d", len(certificates))
	}
	var file bytes.Buffer
	for _, certificate := range certificates {
		if err := pem.Encode(&file, &pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw}); err != nil {
			return nil, fmt.Errorf("writing the authorities: %w", err)
		}
	}
	return file.Bytes(), nil
}
