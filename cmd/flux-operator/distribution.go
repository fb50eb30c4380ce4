package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/flux-autopilot/flux-operator/pkg/artifact"
)

// catalog is an open distribution, with what has to be given back after it was used.
type catalog struct {
	*artifact.Catalog

	release func()
}

// Close gives everything back.
func (c *catalog) Close() {
	_ = c.Catalog.Close() // it was only read from
	c.release()
}

// origin says where a distribution is read from.
type origin struct {
	// address is a folder, or the address of an artifact that begins with oci://.
	address string
	// verifyKey is a file with the key that an artifact must be signed with; empty trusts any.
	verifyKey string
	registry  registryFlags
}

// bind gives the command the flags for an artifact; that for the address is its own.
func (o *origin) bind(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.verifyKey, "verify-key", "", "file with the public key that the artifact must be signed with by cosign")
	must(cmd.MarkFlagFilename("verify-key", "pub", "pem"))
	o.registry.bind(cmd)
}

// open opens the folder or fetches the artifact.
func (o *origin) open(ctx context.Context) (*catalog, error) {
	if strings.HasPrefix(o.address, scheme) {
		return o.pull(ctx)
	}
	if o.verifyKey != "" {
		return nil, errors.New("--verify-key: a folder has no signature; leave the flag out, or name an artifact that begins with " + scheme)
	}
	opened, err := artifact.Builtin(o.address)
	if err != nil {
		return nil, fmt.Errorf("%w; name the folder that make distribution wrote, or an artifact that begins with %s, with --distribution", err, scheme)
	}
	return &catalog{Catalog: opened, release: func() {}}, nil
}

// pull fetches what of the artifact is not in the cache.
func (o *origin) pull(ctx context.Context) (*catalog, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, pullTimeout, fmt.Errorf("fetching %q took longer than %s", o.address, pullTimeout))
	defer cancel()
	ref, err := artifact.ParseReference(o.address)
	if err != nil {
		return nil, err
	}
	access, err := o.registry.access()
	if err != nil {
		return nil, err
	}
	var trusted artifact.Verifier // nil trusts the digest alone
	if o.verifyKey != "" {
		if trusted, err = trustKey(o.verifyKey); err != nil {
			return nil, err
		}
	}
	source, err := artifact.NewSource(ref, access)
	if err != nil {
		return nil, err
	}
	digest, err := source.Resolve(ctx)
	if err != nil {
		return nil, inTime(ctx, err)
	}
	dir, release, err := cacheFolder()
	if err != nil {
		return nil, err
	}
	opened, err := fetch(ctx, dir, source, digest, trusted)
	if err != nil {
		release()
		return nil, inTime(ctx, err)
	}
	return &catalog{Catalog: opened, release: release}, nil
}

func fetch(ctx context.Context, dir string, source *artifact.Source, digest string, trusted artifact.Verifier) (*artifact.Catalog, error) {
	store, err := artifact.NewStore(dir, artifact.DefaultLimits())
	if err != nil {
		return nil, err
	}
	return store.Open(ctx, source, digest, trusted)
}

// cacheFolder returns the folder that keeps artifacts from run to run. While another process uses it, or when there is none, it is a
// temporary one that release removes.
func cacheFolder() (dir string, release func(), err error) {
	if home, err := os.UserCacheDir(); err == nil {
		dir = filepath.Join(home, "flux-operator", "artifacts")
		if unlock, ok := lock(dir); ok {
			return dir, unlock, nil
		}
	}
	dir, err = os.MkdirTemp("", "flux-operator-")
	if err != nil {
		return "", nil, fmt.Errorf("making a folder for the artifact: %w", err)
	}
	return dir, func() { _ = os.RemoveAll(dir) }, nil
}
