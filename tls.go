package main

import (
	"crypto/fips140"
	"crypto/tls"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/spf13/pflag"
	cliflag "k8s.io/component-base/cli/flag"
)

// tlsConfig says which TLS the metrics endpoint speaks, in the words of the components of Kubernetes, and with whose certificate.
type tlsConfig struct {
	certDir      string
	minVersion   string
	cipherSuites []string
}

// bind registers the flags with their defaults.
func (c *tlsConfig) bind(fs *pflag.FlagSet) {
	fs.StringVar(&c.certDir, "metrics-cert-dir", "", "folder with tls.crt and tls.key of the metrics endpoint, read again when they change; it signs its certificate itself when empty")
	fs.StringVar(&c.minVersion, "tls-min-version", "VersionTLS12", "oldest version of TLS that the metrics endpoint speaks: VersionTLS12 or VersionTLS13")
	fs.StringSliceVar(&c.cipherSuites, "tls-cipher-suites", nil, "cipher suites of the metrics endpoint, for TLS 1.2; those that Go prefers by default")
}

// apply gives a configuration its certificate unless somebody else's is served, and restricts it. It leaves out HTTP/2, of which a scrape needs
// nothing and which lets one client open many streams.
func (c *tlsConfig) apply(config *tls.Config) {
	if c.certDir == "" {
		selfSigned(config)
	}
	config.MinVersion, _ = cliflag.TLSVersion(c.minVersion)
	if suites, _ := cliflag.TLSCipherSuites(c.cipherSuites); len(suites) > 0 {
		config.CipherSuites = suites
	}
	config.NextProtos = []string{"http/1.1"}
}

func (c *tlsConfig) validate() error {
	version, err := cliflag.TLSVersion(c.minVersion)
	if err != nil || version < tls.VersionTLS12 {
		return fmt.Errorf("--tls-min-version: %q is neither VersionTLS12 nor VersionTLS13", c.minVersion)
	}
	if c.certDir != "" {
		if _, err := tls.LoadX509KeyPair(filepath.Join(c.certDir, "tls.crt"), filepath.Join(c.certDir, "tls.key")); err != nil {
			return fmt.Errorf("--metrics-cert-dir: %w", err)
		}
	}
	suites, err := cliflag.TLSCipherSuites(c.cipherSuites)
	if err != nil {
		return fmt.Errorf("--tls-cipher-suites: %w", err)
	}
	for name, suite := range cliflag.InsecureTLSCiphers() {
		if slices.Contains(suites, suite) {
			return fmt.Errorf("--tls-cipher-suites: %s is insecure; choose of %v", name, cliflag.PreferredTLSCipherNames())
		}
	}
	return nil
}

// fipsMode describes Go's FIPS 140-3 module: its version, and whether it is switched on, by GODEBUG=fips140=on or by how the program was built.
func fipsMode() string {
	switch {
	case fips140.Enforced():
		return "only, module " + fips140.Version()
	case fips140.Enabled():
		return "on, module " + fips140.Version()
	default:
		return "off"
	}
}
