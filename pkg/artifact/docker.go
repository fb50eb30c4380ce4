package artifact

import (
	"context"
	"fmt"

	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/credentials"
)

// DockerLogin finds credentials where docker and its relatives keep them: in $DOCKER_CONFIG/config.json, else ~/.docker/config.json, and with the
// credential helpers that the file names. A registry that is not in there is accessed anonymously, as is any where there is no file.
func DockerLogin() (Login, error) {
	store, err := credentials.NewStoreFromDocker(credentials.StoreOptions{})
	if err != nil {
		return nil, fmt.Errorf("reading the credentials of docker: %w", err)
	}
	return func(ctx context.Context, ref Reference) (auth.Credential, error) {
		found, err := store.Get(ctx, credentials.ServerAddressFromRegistry(ref.Registry))
		if err != nil {
			return auth.EmptyCredential, fmt.Errorf("looking for the credentials of %q in %q: %w", ref.Registry, store.ConfigPath(), err)
		}
		return found, nil
	}, nil
}
