// Command mkimage makes container images from static binaries, without a container engine.
package main

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/spf13/cobra"

	"github.com/flux-autopilot/flux-operator/test/testbed/image"
)

const help = `Make a container image from a static binary and write it to a file, a folder or a registry.

The image has no base: the binary, /etc/passwd, /tmp, and what the flags add. All times in it are fixed, so the same
input gives the same digest. The platform is read from the binary; several binaries make one multi-platform image.

The reference and digest of the image are printed on standard output, as host/path:tag@sha256:...`

const examples = `  # Build an operator and load its image into a container engine.
  CGO_ENABLED=0 go build -o bin/flux-operator .
  mkimage --binary bin/flux-operator --add distribution:/data --ref localhost/flux-operator:dev --out image.tar
  docker load -i image.tar

  # One image for two platforms, pushed with the logins of ~/.docker/config.json.
  mkimage --binary bin/amd64/flux-operator --binary bin/arm64/flux-operator \
    --ca-bundle /etc/ssl/certs/ca-certificates.crt --label org.opencontainers.image.version=1.2.3 \
    --ref registry.example.com/flux-operator:1.2.3 --push`

// config is what the flags say.
type config struct {
	dockerfile string
	buildArgs  []string
	binaries   []string
	entrypoint string
	args       []string
	add        []string
	caBundle   string
	user       string
	env        []string
	labels     []string
	level      int
	ref        string
	out        string
	push       bool
	timeout    time.Duration
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil {
		os.Exit(1)
	}
}

func command() *cobra.Command {
	var c config
	cmd := &cobra.Command{
		Use:          "mkimage --binary FILE --ref IMAGE (--out FILE.tar | --out DIR | --push)",
		Short:        "Make a container image from a static binary",
		Long:         help,
		Example:      examples,
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			printed, err := c.run(cmd.Context())
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), printed)
			return err
		},
	}
	c.bind(cmd)
	return cmd
}

func (c *config) bind(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&c.dockerfile, "dockerfile", "", "take labels, user, environment, entrypoint and arguments from the last stage of this Dockerfile, as far as no flag says otherwise")
	f.StringArrayVar(&c.buildArgs, "build-arg", nil, "NAME=value for the Dockerfile; may be repeated")
	f.StringArrayVar(&c.binaries, "binary", nil, "static binary for linux; repeat it for another platform")
	f.StringVar(&c.entrypoint, "entrypoint", "", "path of the binary in the image (default /usr/local/bin/ and its name)")
	f.StringArrayVar(&c.args, "arg", nil, "default argument of the binary; may be repeated")
	f.StringArrayVar(&c.add, "add", nil, "FOLDER:/PATH puts the content of a folder into the image; may be repeated")
	f.StringVar(&c.caBundle, "ca-bundle", "", "PEM file of certificates to trust")
	f.StringVar(&c.user, "user", "", "user and group of the process (default "+image.DefaultUser+")")
	f.StringArrayVar(&c.env, "env", nil, "NAME=value; may be repeated")
	f.StringArrayVar(&c.labels, "label", nil, "NAME=value; may be repeated")
	f.IntVar(&c.level, "compress", 6, "gzip level, 1 (fast) to 9 (small)")
	f.StringVar(&c.ref, "ref", "", "full name of the image: host/path:tag")
	f.StringVar(&c.out, "out", "", "write a docker archive (name ends in .tar) or an OCI layout (a folder)")
	f.BoolVar(&c.push, "push", false, "push the image to the registry in its name")
	f.DurationVar(&c.timeout, "timeout", 10*time.Minute, "give up pushing after this time")
	for _, required := range []string{"binary", "ref"} {
		cobra.CheckErr(cmd.MarkFlagRequired(required))
	}
	cmd.MarkFlagsOneRequired("out", "push")
}

func (c *config) run(ctx context.Context) (string, error) {
	made, err := c.build()
	if err != nil {
		return "", err
	}
	if c.out != "" {
		if err := c.save(made); err != nil {
			return "", err
		}
	}
	if c.push {
		ctx, cancel := context.WithTimeout(ctx, c.timeout)
		defer cancel()
		if _, err := image.Push(ctx, made, c.ref, remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
			return "", err
		}
	}
	digest, err := made.Digest()
	if err != nil {
		return "", fmt.Errorf("reading digest: %w", err)
	}
	return c.ref + "@" + digest.String(), nil
}

// build makes one image, or an index when there are several binaries.
func (c *config) build() (mutate.Appendable, error) {
	labels, err := c.like()
	if err != nil {
		return nil, err
	}
	opts, err := c.options(labels)
	if err != nil {
		return nil, err
	}
	images := make([]v1.Image, 0, len(c.binaries))
	for _, path := range c.binaries {
		img, err := image.FromBinary(image.Binary{Path: path, Entrypoint: c.entrypoint, Args: c.args}, opts)
		if err != nil {
			return nil, err
		}
		images = append(images, img)
	}
	if len(images) == 1 {
		return images[0], nil
	}
	return image.Index(images...)
}

// like completes the flags with what the Dockerfile says and returns its labels.
func (c *config) like() (map[string]string, error) {
	if c.dockerfile == "" {
		return map[string]string{}, nil
	}
	arguments, err := pairs("--build-arg", c.buildArgs)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(c.dockerfile)
	if err != nil {
		return nil, fmt.Errorf("reading --dockerfile: %w", err)
	}
	d, err := image.ReadDockerfile(string(text), arguments)
	if err != nil {
		return nil, fmt.Errorf("reading --dockerfile %q: %w", c.dockerfile, err)
	}
	if len(d.Entrypoint) != 1 {
		return nil, fmt.Errorf("reading --dockerfile %q: want an entrypoint of one word, got %q", c.dockerfile, d.Entrypoint)
	}
	c.entrypoint, c.user = cmp.Or(c.entrypoint, d.Entrypoint[0]), cmp.Or(c.user, d.User)
	if len(c.args) == 0 {
		c.args = d.Cmd
	}
	c.env = append(d.Env, c.env...)
	return d.Labels, nil
}

// options reads the flags; labels are those that no flag names.
func (c *config) options(labels map[string]string) (image.Options, error) {
	named, err := pairs("--label", c.labels)
	if err != nil {
		return image.Options{}, err
	}
	maps.Copy(labels, named)
	if _, err := pairs("--env", c.env); err != nil {
		return image.Options{}, err
	}
	files, err := c.files()
	if err != nil {
		return image.Options{}, err
	}
	return image.Options{
		CABundle: c.caBundle, Files: files, User: c.user, Env: c.env, Labels: labels, CompressionLevel: c.level,
	}, nil
}

func (c *config) files() (map[string]fs.FS, error) {
	files := map[string]fs.FS{}
	for _, add := range c.add {
		// The last colon: folders on disk may have one in their names.
		at := strings.LastIndex(add, ":")
		if at <= 0 || !strings.HasPrefix(add[at+1:], "/") {
			return nil, fmt.Errorf("reading --add %q: want FOLDER:/PATH", add)
		}
		source, target := add[:at], add[at+1:]
		info, err := os.Stat(source)
		if err != nil {
			return nil, fmt.Errorf("reading --add %q: %w", add, err)
		}
		if _, twice := files[target]; twice || !info.IsDir() {
			return nil, fmt.Errorf("reading --add %q: want one folder for each path", add)
		}
		files[target] = os.DirFS(source)
	}
	return files, nil
}

func pairs(flag string, values []string) (map[string]string, error) {
	m := make(map[string]string, len(values))
	for _, value := range values {
		key, val, ok := strings.Cut(value, "=")
		if !ok || key == "" {
			return nil, fmt.Errorf("reading %s %q: want NAME=value", flag, value)
		}
		m[key] = val
	}
	return m, nil
}

func (c *config) save(made mutate.Appendable) error {
	if !strings.HasSuffix(c.out, ".tar") {
		return image.SaveOCILayout(made, c.ref, c.out)
	}
	img, ok := made.(v1.Image)
	if !ok {
		return fmt.Errorf("saving %q: a docker archive holds one platform; name a folder for an OCI layout", c.out)
	}
	return image.SaveDockerArchive(img, c.ref, c.out)
}
