package bundle_test

import (
	"strings"
	"testing"

	"github.com/flux-autopilot/flux-operator/test/bundle"
)

// catalog writes a catalog of a channel with these entries, each of them with a bundle.
func catalog(entries ...string) string {
	var b strings.Builder
	b.WriteString("schema: olm.package\nname: p\ndefaultChannel: stable\n---\nschema: olm.channel\nname: stable\nentries:\n")
	for _, entry := range entries {
		b.WriteString("- " + entry + "\n")
	}
	for _, entry := range entries {
		name, _, _ := strings.Cut(strings.TrimPrefix(entry, "{name: "), ",")
		b.WriteString("---\nschema: olm.bundle\nname: " + strings.TrimSuffix(name, "}") + "\nimage: example.com/b@sha256:0\n")
	}
	return b.String()
}

func TestEveryVersionReachesTheNewest(t *testing.T) {
	for _, tc := range []struct {
		reason, catalog, want string
	}{
		{"a chain", catalog("{name: p.v0.1.0}", "{name: p.v0.2.0, replaces: p.v0.1.0}", "{name: p.v0.3.0, replaces: p.v0.2.0}"), ""},
		{"a range", catalog("{name: p.v0.1.0}", "{name: p.v0.2.0, replaces: p.v0.1.0}", "{name: p.v0.3.0, skipRange: '<0.3.0'}"), ""},
		{"skips", catalog("{name: p.v0.1.0}", "{name: p.v0.2.0}", "{name: p.v0.3.0, replaces: p.v0.1.0, skips: [p.v0.2.0]}"), ""},
		{"two heads", catalog("{name: p.v0.1.0}", "{name: p.v0.2.0}"), "not one newest version but 2: [p.v0.1.0 p.v0.2.0]"},
		{
			"a version that leads nowhere", catalog("{name: p.v0.1.0, skips: [p.v0.2.0]}", "{name: p.v0.2.0, skips: [p.v0.1.0]}", "{name: p.v0.3.0}"),
			"p.v0.1.0 does not lead to p.v0.3.0",
		},
		{"a circle", catalog("{name: p.v0.1.0, replaces: p.v0.2.0}", "{name: p.v0.2.0, replaces: p.v0.1.0}"), "not one newest version but 0"},
		{"replaces what is not there", catalog("{name: p.v0.2.0, replaces: p.v0.1.0}"), "replaces p.v0.1.0, which is not there"},
		{"replaces itself", catalog("{name: p.v0.2.0, replaces: p.v0.2.0}"), "replaces itself"},
		{"a bad name", catalog("{name: p-0.2.0}"), "is not the name of a package"},
		{"no bundle", strings.Replace(catalog("{name: p.v0.1.0}"), "name: p.v0.1.0\nimage", "name: p.v0.0.9\nimage", 1), "p.v0.1.0 has no bundle"},
		{"a bundle in no channel", strings.Replace(catalog("{name: p.v0.1.0}"), "name: p.v0.1.0\nimage", "name: p.v0.0.9\nimage", 1), "p.v0.0.9 is in no channel"},
		{"no image", strings.ReplaceAll(catalog("{name: p.v0.1.0}"), "image: example.com/b@sha256:0", ""), "p.v0.1.0 has no image"},
		{"manifests in the catalog", catalog("{name: p.v0.1.0}") + "properties: [{type: olm.package}, {type: olm.bundle.object}, {type: olm.bundle.object}]\n", "p.v0.1.0 has its manifests in the catalog"},
		{"no default channel", strings.Replace(catalog("{name: p.v0.1.0}"), "defaultChannel: stable", "", 1), `the default channel "" is not there`},
	} {
		read, err := bundle.ReadCatalog(strings.NewReader(tc.catalog))
		if err != nil {
			t.Errorf("%s: %v", tc.reason, err)
			continue
		}
		found := strings.Join(read.Check(), "\n")
		if tc.want == "" && found != "" || !strings.Contains(found, tc.want) {
			t.Errorf("%s: want %q, got %q", tc.reason, tc.want, found)
		}
	}
}

func TestReadCatalogRefuses(t *testing.T) {
	for _, text := range []string{"\t", catalog("{name: p.v0.1.0}", "{name: p.v0.1.0}")} {
		if _, err := bundle.ReadCatalog(strings.NewReader(text)); err == nil {
			t.Errorf("%q is read", text)
		}
	}
}
