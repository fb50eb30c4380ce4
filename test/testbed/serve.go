package testbed

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/flux-autopilot/flux-operator/test/testbed/bucket"
	"github.com/flux-autopilot/flux-operator/test/testbed/gitserver"
	"github.com/flux-autopilot/flux-operator/test/testbed/pki"
	"github.com/flux-autopilot/flux-operator/test/testbed/registry"
)

// The names by which pods reach the servers.
const (
	registryHost = "registry.testbed"
	gitHost      = "git.testbed"
	s3Host       = "s3.testbed"
)

// Bucket is the S3 bucket that exists from the start.
const Bucket = "testbed"

func hostNames() string { return strings.Join([]string{gitHost, registryHost, s3Host}, " ") }

// Serve runs the registries, the Git server and the S3 server of the cluster in dir until ctx ends. Only the testbed program calls it.
func Serve(ctx context.Context, dir string) error {
	c, err := readConfig(dir)
	if err != nil {
		return err
	}
	cert, err := tls.LoadX509KeyPair(c.file("servers", "server.crt"), c.file("servers", "server.key"))
	if err != nil {
		return fmt.Errorf("reading the servers' certificate: %w", err)
	}
	secure := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	at := func(name string) string { return c.endpoint(name).Inside }

	_, err = registry.Serve(ctx, registry.Options{Addr: at(endpointRegistry), Dir: c.file("registry"), Logger: logger})
	if err != nil {
		return err
	}
	_, err = registry.Serve(ctx, registry.Options{
		Addr: at(endpointPrivateRegistry), Dir: c.file("private-registry"), User: User, Password: Password, Logger: logger,
	})
	if err != nil {
		return err
	}
	for name, config := range map[string]*tls.Config{endpointGit: nil, endpointGitTLS: secure} {
		_, err := gitserver.Serve(ctx, gitserver.Options{
			Addr: at(name), Root: c.file("git"), User: User, Password: Password, TLS: config, Logger: logger,
		})
		if err != nil {
			return err
		}
	}
	if _, err := bucket.Serve(ctx, bucket.Options{Addr: at(endpointS3), Buckets: []string{Bucket}, Logger: logger}); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// writeServerKeys makes the authority and the certificate of the HTTPS servers.
func writeServerKeys(c config) error {
	dir := c.file("servers")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("preparing the servers: %w", err)
	}
	authority, err := pki.NewAuthority("testbed-servers")
	if err != nil {
		return err
	}
	pair, err := authority.Issue(pki.Request{
		CommonName: "testbed", Names: []string{gitHost, registryHost, s3Host, "localhost", "127.0.0.1", c.nodeIP()},
	})
	if err != nil {
		return err
	}
	if err := authority.Write(dir, "ca"); err != nil {
		return err
	}
	return pair.Write(dir, "server")
}
