package image_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/flux-autopilot/flux-operator/test/testbed/image"
)

func TestReadDockerfile(t *testing.T) {
	text := `# A comment.
FROM golang AS build
ARG VERSION=v0.0.0
LABEL lost=yes
COPY go.mod go.sum ./
RUN go build \
  # with a comment in the middle
  -o /app .
USER root

FROM scratch
ARG VERSION=v0.0.0
ARG OWNER=somebody
LABEL name=app vendor="Some  Body" \
  version="${VERSION}"
LABEL by="$OWNER said \"so\""
COPY --from=build --chmod=0755 /app /app
COPY dist/data /data
ENV HOME=/tmp LANG="C"
USER 65532:65532
ENTRYPOINT ["/app", "serve"]
CMD ["--addr", ":1"]
`
	got, err := image.ReadDockerfile(text, map[string]string{"VERSION": "v1.2.3"})
	if err != nil {
		t.Fatal(err)
	}
	want := &image.Dockerfile{
		Entrypoint: []string{"/app", "serve"}, Cmd: []string{"--addr", ":1"}, User: "65532:65532", Env: []string{"HOME=/tmp", "LANG=C"},
		Labels: map[string]string{"name": "app", "vendor": "Some  Body", "version": "v1.2.3", "by": `somebody said "so"`},
		Copies: []image.Copy{
			{Sources: []string{"go.mod", "go.sum"}, Target: "./"},
			{Stage: "build", Sources: []string{"/app"}, Target: "/app"},
			{Sources: []string{"dist/data"}, Target: "/data"},
		},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(image.Dockerfile{})); diff != "" {
		t.Error(diff)
	}
}

func TestReadDockerfileRefuses(t *testing.T) {
	for text, says := range map[string]string{
		"FROM scratch\nLABEL version=${VERSION}": `instruction 2 of the Dockerfile, LABEL: the variable "VERSION" is no build argument`,
		"LABEL alone":                            `"alone" is not name=value`,
		"USER $WHO":                              `"WHO"`,
		"ENTRYPOINT /app":                        "ENTRYPOINT",
		"COPY nowhere":                           "want sources and a target",
		"HEALTHCHECK NONE":                       "it is not known here",
	} {
		if _, err := image.ReadDockerfile(text, nil); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: got %v, want an error that says %q", text, err, says)
		}
	}
}
