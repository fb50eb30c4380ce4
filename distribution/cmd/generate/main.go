// Command generate writes the Flux distribution: for every release of the catalog its manifests and image lists.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/flux-autopilot/flux-operator/distribution"
)

const usage = `generate writes the Flux distribution: flux/v<version>/*.yaml and flux-images/v<version>/*.yaml.

CRDs are generated from the Go modules of the Flux APIs, which tools/flux-apis-<version>/go.mod pins; they are kept in
a cache outside the checkout. Run it from the root of the repository.

Flags:
`

// config is what the command line says.
type config struct {
	out      string
	releases []string
	// generators are the paths of controller-gen binaries, one for each version that a release asks for.
	generators []string
	// listGenerators asks for the names of the generators that are missing in place of a distribution.
	listGenerators bool
	modules        string
	cache          string
	timeout        time.Duration
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func parse(args []string, messages io.Writer) (config, error) {
	var c config
	flags := flag.NewFlagSet("generate", flag.ContinueOnError)
	flags.SetOutput(messages)
	flags.Usage = func() {
		fmt.Fprint(messages, usage)
		flags.PrintDefaults()
	}
	flags.StringVar(&c.out, "out", "dist/distribution", "`folder` to write; flux/ and flux-images/ in it become exactly what is generated")
	flags.StringVar(&c.modules, "modules", "tools", "`folder` that holds flux-apis-<version>")
	flags.StringVar(&c.cache, "cache", "", "`folder` for generated CRDs (default ${XDG_CACHE_HOME:-$HOME/.cache}/flux-operator/crds)")
	flags.DurationVar(&c.timeout, "timeout", 10*time.Minute, "`limit` for the whole run")
	flags.Func("releases", "comma-separated `versions` (default all of the catalog)", func(value string) error {
		c.releases = append(c.releases, strings.Split(value, ",")...)
		return nil
	})
	flags.Func("controller-gen", "`path` of controller-gen; repeat it when releases need different versions (default from $PATH)", func(value string) error {
		c.generators = append(c.generators, value)
		return nil
	})
	flags.BoolVar(&c.listGenerators, "list-generators", false, "only print the tools that go run ./tools/cmd/build has to build first, one a line; none when the cache holds all CRDs")
	if err := flags.Parse(args); err != nil {
		return config{}, err
	}
	if flags.NArg() > 0 {
		return config{}, fmt.Errorf("parsing arguments: %q is not a flag", flags.Arg(0))
	}
	if err := c.complete(); err != nil {
		return config{}, err
	}
	return c, nil
}

// complete fills in defaults that depend on the environment.
func (c *config) complete() error {
	if len(c.generators) == 0 {
		c.generators = []string{"controller-gen"}
	}
	if c.cache != "" {
		return nil
	}
	base := os.Getenv("XDG_CACHE_HOME")
	if base == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return fmt.Errorf("finding the cache folder: %w", err)
		}
		base = filepath.Join(home, ".cache")
	}
	c.cache = filepath.Join(base, "flux-operator", "crds")
	return nil
}

func run(ctx context.Context, args []string, out, messages io.Writer) error {
	c, err := parse(args, messages)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()

	catalog, err := distribution.Load()
	if err != nil {
		return fmt.Errorf("loading the catalog: %w", err)
	}
	releases, err := choose(catalog, c.releases)
	if err != nil {
		return err
	}
	source, err := newCRDSource(ctx, c, messages)
	if err != nil {
		return err
	}
	if c.listGenerators {
		missing, err := source.missingGenerators(releases)
		if err != nil {
			return fmt.Errorf("listing generators: %w", err)
		}
		for _, name := range missing {
			fmt.Fprintln(out, name)
		}
		return nil
	}
	return generate(ctx, source, releases, c.out)
}

// generate writes the distribution of the releases.
func generate(ctx context.Context, source crdSource, releases []distribution.Release, out string) error {
	files := map[string][]byte{}
	for _, release := range releases {
		crds, err := source.crds(ctx, release)
		if err != nil {
			return fmt.Errorf("generating CRDs of Flux %s: %w", release.Version, err)
		}
		of, err := release.Files(crds)
		if err != nil {
			return err
		}
		maps.Copy(files, of)
	}
	path, content := distribution.VersionFile(releases)
	files[path] = content

	changes, err := sync(out, files)
	if err != nil {
		return fmt.Errorf("writing %q: %w", out, err)
	}
	fmt.Fprintf(source.messages, "%s: %d releases, %d files, %d of them new or changed\n", out, len(releases), len(files), changes)
	return nil
}

// choose returns the wanted releases in the order of the catalog, all of them when none is named.
func choose(catalog distribution.Catalog, versions []string) ([]distribution.Release, error) {
	if len(versions) == 0 {
		return catalog.Releases, nil
	}
	wanted := map[string]bool{}
	for _, version := range versions {
		release, err := catalog.Release(strings.TrimSpace(version))
		if err != nil {
			return nil, err
		}
		wanted[release.Version] = true
	}
	var releases []distribution.Release
	for _, release := range catalog.Releases {
		if wanted[release.Version] {
			releases = append(releases, release)
		}
	}
	return releases, nil
}
