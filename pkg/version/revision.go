package version

import (
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/Masterminds/semver/v3"
)

// Revision names one desired state: a release and the digest of what was rendered from it.
type Revision struct {
	// Version is the release as the distribution spells it, for example v2.9.4.
	Version string
	// Digest of the rendered objects: "sha256:" and 64 hexadecimal digits.
	Digest string
}

const digestPrefix = "sha256:"

// ParseRevision reads the text form; empty text is the zero Revision, as in a status that has none yet.
func ParseRevision(text string) (Revision, error) {
	if text == "" {
		return Revision{}, nil
	}
	name, digest, found := strings.Cut(text, "@")
	if !found {
		return Revision{}, fmt.Errorf("reading revision %q: it has no @ between version and digest", text)
	}
	if _, err := semver.NewVersion(name); err != nil {
		return Revision{}, fmt.Errorf("reading revision %q: %w", text, err)
	}
	sum, found := strings.CutPrefix(digest, digestPrefix)
	if raw, err := hex.DecodeString(sum); !found || err != nil || len(raw) != 32 {
		return Revision{}, fmt.Errorf("reading revision %q: its digest is not %s and 64 hexadecimal digits", text, digestPrefix)
	}
	return Revision{Version: name, Digest: digest}, nil
}

// String returns the text form, version@digest; empty for the zero Revision.
func (r Revision) String() string {
	if r.IsZero() {
		return ""
	}
	return r.Version + "@" + r.Digest
}

// IsZero tells whether the revision names nothing.
func (r Revision) IsZero() bool { return r == Revision{} }
