package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/flux-autopilot/flux-operator/pkg/artifact"
)

// scheme is how the address of an artifact begins.
const scheme = "oci://"

// pullTimeout is how long fetching a distribution may take.
const pullTimeout = 2 * time.Minute

// registryFlags say how a registry is reached.
type registryFlags struct {
	caFile   string
	insecure bool
}

func (f *registryFlags) bind(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.caFile, "ca-file", "", "file with certificates of authorities, PEM, that registries are trusted by besides those of the system")
	cmd.Flags().BoolVar(&f.insecure, "insecure", false, "reach the registry with plain HTTP")
	must(cmd.MarkFlagFilename("ca-file", "pem", "crt"))
}

// access reaches registries with the credentials of docker.
func (f *registryFlags) access() (artifact.Access, error) {
	login, err := artifact.DockerLogin()
	if err != nil {
		return artifact.Access{}, err
	}
	access := artifact.Access{Login: login, PlainHTTP: f.insecure, UserAgent: "flux-operator-cli/" + VERSION}
	if f.caFile == "" {
		return access, nil
	}
	access.CA, err = readNamed(f.caFile)
	if err != nil {
		return artifact.Access{}, fmt.Errorf("--ca-file: %w", err)
	}
	return access, nil
}

// trustKey trusts what is signed with the public key in a file.
func trustKey(file string) (*artifact.Cosign, error) {
	key, err := readNamed(file)
	if err != nil {
		return nil, fmt.Errorf("--verify-key: %w", err)
	}
	cosign, err := artifact.NewVerifier(artifact.VerifyOptions{Keys: map[string][]byte{file: key}})
	if err != nil {
		return nil, fmt.Errorf("--verify-key: %w", err)
	}
	return cosign, nil
}
