package artifact_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/flux-autopilot/flux-operator/pkg/artifact"
)

func TestContentIsPulledAsItWasPushed(t *testing.T) {
	server := newRegistry(t)
	what := artifact.Content{ArtifactType: "application/vnd.example.a", MediaType: "application/vnd.example.a.data", Data: []byte("some bytes")}
	ref := server.ref(t, "saved/things:v1")
	digest, err := artifact.PushContent(t.Context(), what, ref, server.access(), map[string]string{"note": "a"})
	if err != nil {
		t.Fatal(err)
	}
	again, err := artifact.PushContent(t.Context(), what, ref, server.access(), map[string]string{"note": "a"})
	if err != nil || again != digest {
		t.Errorf("pushed again it is %s, %v, before it was %s", again, err, digest)
	}
	pinned := ref
	pinned.Tag, pinned.Digest = "", digest
	for _, from := range []artifact.Reference{ref, pinned} {
		got, err := artifact.PullContent(t.Context(), from, server.access(), what.MediaType, 100)
		if err != nil || !bytes.Equal(got, what.Data) {
			t.Errorf("pulled from %s is %q, %v", from, got, err)
		}
	}

	for reason, tt := range map[string]struct {
		ref       artifact.Reference
		mediaType string
		limit     int64
		want      string
	}{
		"another type":  {ref, "application/vnd.example.b", 100, "one layer of type application/vnd.example.b is needed"},
		"too large":     {ref, what.MediaType, 9, "10 bytes, at most 9"},
		"not there":     {server.ref(t, "saved/things:v2"), what.MediaType, 100, "not found"},
		"no such thing": {server.ref(t, "other:v1"), what.MediaType, 100, "not found"},
	} {
		if _, err := artifact.PullContent(t.Context(), tt.ref, server.access(), tt.mediaType, tt.limit); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", reason, err, tt.want)
		}
	}
	if _, err := artifact.PushContent(t.Context(), what, pinned, server.access(), nil); err == nil || !strings.Contains(err.Error(), "remove the digest") {
		t.Errorf("pushing to a digest: %v", err)
	}
}

func TestDistributionIsNoContent(t *testing.T) {
	server := newRegistry(t)
	ref := server.ref(t, "flux/manifests:v1")
	if _, err := artifact.Push(t.Context(), writeFiles(t, release), ref, server.access(), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := artifact.PullContent(t.Context(), ref, server.access(), "application/vnd.example.a", 1<<20); err == nil || !strings.Contains(err.Error(), "holds something else") {
		t.Errorf("pulling a distribution: %v", err)
	}
}
