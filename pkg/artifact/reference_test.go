package artifact

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const someDigest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func TestParseReference(t *testing.T) {
	for address, want := range map[string]Reference{
		"oci://ghcr.io/org/repo":                        {Registry: "ghcr.io", Repository: "org/repo", Tag: "latest"},
		"oci://ghcr.io/org/repo:v1.10":                  {Registry: "ghcr.io", Repository: "org/repo", Tag: "v1.10"},
		"oci://ghcr.io/org/repo@" + someDigest:          {Registry: "ghcr.io", Repository: "org/repo", Digest: someDigest},
		"oci://ghcr.io/org/repo:v1@" + someDigest:       {Registry: "ghcr.io", Repository: "org/repo", Tag: "v1", Digest: someDigest},
		"oci://localhost:5000/repo:1":                   {Registry: "localhost:5000", Repository: "repo", Tag: "1"},
		"oci://127.0.0.1:5000/repo":                     {Registry: "127.0.0.1:5000", Repository: "repo", Tag: "latest"},
		"oci://[::1]:5000/repo":                         {Registry: "[::1]:5000", Repository: "repo", Tag: "latest"},
		"oci://docker.io/org/repo":                      {Registry: "docker.io", Repository: "org/repo", Tag: "latest"},
		"oci://123.dkr.ecr.eu-west-1.amazonaws.com/a/b": {Registry: "123.dkr.ecr.eu-west-1.amazonaws.com", Repository: "a/b", Tag: "latest"},
	} {
		ref, err := ParseReference(address)
		if diff := cmp.Diff(want, ref); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", address, err, diff)
		}
		if again, err := ParseReference(ref.String()); err != nil || again != ref {
			t.Errorf("%s is written as %s, which reads as %v, %v", address, ref, again, err)
		}
	}
}

func TestParseReferenceFails(t *testing.T) {
	for _, tt := range []struct{ address, want string }{
		{"", "begin it with oci://"},
		{"ghcr.io/org/repo", "begin it with oci://"},
		{"https://ghcr.io/org/repo", "begin it with oci://"},
		{"oci://", "no registry"},
		{"oci:///org/repo", "no registry"},
		{"oci://ghcr.io", "no repository"},
		{"oci://ghcr.io/", "no repository"},
		{"oci://ghcr.io/Org/repo", "lower case"},
		{"oci://ghcr.io/org/../repo", "no repository"},
		{"oci://ghcr.io/org//repo", "no repository"},
		{"oci://ghcr.io/repo?x=y", "no repository"},
		{"oci://gh cr.io/repo", "no registry"},
		{"oci://ghcr.io:port/repo", "no registry"},
		{"oci://ghcr.io:/repo", "no registry"},
		{"oci://ghcr.io:123456/repo", "no registry"},
		{"oci://ghcr.io/repo:", "no tag"},
		{"oci://ghcr.io/repo:@" + someDigest, "no tag"},
		{"oci://ghcr.io/repo:a:b", "no tag"},
		{"oci://ghcr.io/repo:-a", "no tag"},
		{"oci://ghcr.io/repo:" + strings.Repeat("a", 129), "no tag"},
		{"oci://ghcr.io/repo@", "no digest"},
		{"oci://ghcr.io/repo@sha256:abc", "no digest"},
		{"oci://ghcr.io/repo@" + strings.ToUpper(someDigest), "no digest"},
		{"oci://ghcr.io/repo@sha512:" + strings.Repeat("a", 128), "no digest"},
		{"oci://ghcr.io/repo\n", "no repository"},
		{"oci://ghcr.io/" + strings.Repeat("a", 2000), "at most 1024"},
	} {
		if _, err := ParseReference(tt.address); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v, want an error with %q", tt.address, err, tt.want)
		}
	}
}

func TestParseReferenceHidesPasswords(t *testing.T) {
	for _, address := range []string{
		"oci://user:hunter2@ghcr.io/org/repo", "https://user:hunter2@ghcr.io/org/repo", "user:hunter2@ghcr.io/org/repo", "oci://user:hunter2/x@ghcr.io/org/repo",
	} {
		if _, err := ParseReference(address); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, want an error without the password", address, err)
		}
	}
}

func FuzzParseReference(f *testing.F) {
	for _, seed := range []string{"oci://ghcr.io/org/repo:v1@" + someDigest, "oci://[::1]:5000/repo", "oci://a/b:c:d@e", "oci://u:p@h/r"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, address string) {
		ref, err := ParseReference(address)
		if err != nil {
			return
		}
		again, err := ParseReference(ref.String())
		if err != nil || again != ref {
			t.Fatalf("%q is written as %q, which reads as %v, %v", address, ref, again, err)
		}
		if ref.Tag == "" && ref.Digest == "" {
			t.Fatalf("%q has neither tag nor digest", address)
		}
	})
}
