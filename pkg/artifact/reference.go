package artifact

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	_ "crypto/sha256" // digests are parsed by the hash functions that are linked in

	"oras.land/oras-go/v2/registry"
)

const (
	scheme = "oci://"
	// maxReference bounds the address of an artifact: 255 characters each for host and repository, 128 for the tag, and the digest fit.
	maxReference = 1024
	defaultTag   = "latest"
)

var (
	// hostPattern is a DNS name, an IPv4 address or an IPv6 address in brackets, and a port.
	hostPattern = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?$`)
	// digestPattern allows the one algorithm that registries agree on.
	digestPattern = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
)

// Reference is the address of an artifact in a registry.
type Reference struct {
	// Registry is the host, with a port where it has one.
	Registry string
	// Repository is the path below the registry.
	Repository string
	// Tag is what the artifact is called there. It is latest when the address says neither tag nor digest, and empty when it says a digest alone.
	Tag string
	// Digest pins the content of the artifact, as in sha256:…; empty when the address says none.
	Digest string
}

// ParseReference reads an address such as oci://host:port/repository:tag@sha256:….
func ParseReference(address string) (Reference, error) {
	if len(address) > maxReference {
		return Reference{}, fmt.Errorf("parsing the address of an artifact: it has %d characters, at most %d are allowed", len(address), maxReference)
	}
	ref, err := parse(address)
	if err != nil {
		return Reference{}, fmt.Errorf("parsing artifact address %q: %w", withoutUser(address), err)
	}
	return ref, nil
}

func parse(address string) (Reference, error) {
	rest, ok := strings.CutPrefix(address, scheme)
	if !ok {
		return Reference{}, errors.New("begin it with " + scheme + ", as in oci://ghcr.io/organisation/repository:tag")
	}
	host, path, _ := strings.Cut(rest, "/")
	if strings.Contains(host, "@") {
		return Reference{}, errors.New("remove the user and password before the host: credentials belong into a Secret")
	}
	if !hostPattern.MatchString(host) {
		return Reference{}, errors.New("there is no registry, write its host and optionally a port, as in oci://registry.example.com:5000/repository")
	}
	ref, err := parsePath(path)
	if err != nil {
		return Reference{}, err
	}
	ref.Registry = host
	return ref, nil
}

// parsePath reads repository[:tag][@digest].
func parsePath(path string) (Reference, error) {
	name, digest, pinned := strings.Cut(path, "@")
	if pinned && !digestPattern.MatchString(digest) {
		return Reference{}, fmt.Errorf("%q is no digest, write sha256: and 64 lower case hexadecimal digits after the @", digest)
	}
	repository, tag, tagged := strings.Cut(name, ":")
	if !tagged && !pinned {
		tag = defaultTag
	}
	ref := Reference{Repository: repository, Tag: tag, Digest: digest}
	if err := ref.oras().ValidateRepository(); err != nil {
		return Reference{}, fmt.Errorf("%q is no repository, write lower case letters, digits and . _ - between slashes", repository)
	}
	if (tagged || !pinned) && (registry.Reference{Reference: tag}).ValidateReferenceAsTag() != nil {
		return Reference{}, fmt.Errorf("%q is no tag, write at most 128 letters, digits and . _ - after the colon", tag)
	}
	return ref, nil
}

// String is the address, in the form that ParseReference reads.
func (r Reference) String() string {
	address := scheme + r.Registry + "/" + r.Repository
	if r.Tag != "" {
		address += ":" + r.Tag
	}
	if r.Digest != "" {
		address += "@" + r.Digest
	}
	return address
}

// oras is the repository as the client library calls it.
func (r Reference) oras() registry.Reference {
	return registry.Reference{Registry: r.Registry, Repository: r.Repository}
}

// withoutUser hides what may be a password: everything before an @ that no digest follows.
func withoutUser(address string) string {
	if i := strings.LastIndex(address, "@"); i >= 0 && !strings.HasPrefix(address[i:], "@sha256:") {
		return "…" + address[i:]
	}
	return address
}
