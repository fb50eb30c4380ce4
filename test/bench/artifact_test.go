package bench

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAllWaysGetTheArtifact(t *testing.T) {
	dir, random := t.TempDir(), make([]byte, 16<<10)
	_, _ = rand.Read(random) // never fails
	for name, content := range map[string][]byte{"flux/v2.9.4/a.yaml": random, "flux-images/v2.9.4/b.yaml": []byte("small")} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p, err := publish(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	job := fetchJob{Reference: p.reference(), Key: p.key.Public, Dir: t.TempDir()}
	if err := job.findContents(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if len(job.Contents) < 4 {
		t.Errorf("a signed artifact has two manifests, an archive and what was signed; found %q", job.Contents)
	}
	input, err := json.Marshal(job)
	if err != nil {
		t.Fatal(err)
	}
	for _, way := range fetchWays() {
		if run, err := measureFetch(way, bytes.NewReader(input)); err != nil || run.Cold <= 0 || run.Warm <= 0 {
			t.Errorf("%s: %+v, %v", way, run, err)
		}
	}
	found, err := filepath.Glob(filepath.Join(job.Dir, fetchUnpack+"-*", "files", "flux", "v2.9.4", "a.yaml"))
	if err != nil || len(found) != 1+warmFetches {
		t.Fatalf("unpacked: %q, %v", found, err)
	}
	if got, err := os.ReadFile(found[0]); err != nil || !bytes.Equal(got, random) {
		t.Errorf("what was unpacked is something else: %v", err)
	}
}

func TestWireCountsBothDirections(t *testing.T) {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		conn, err := server.Accept()
		if err != nil {
			return
		}
		_, _ = io.ReadFull(conn, make([]byte, len("question")))
		_, _ = conn.Write([]byte("long answer"))
		_ = conn.Close()
	}()
	between, err := openWire(t.Context(), server.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer between.close()
	client, err := net.Dial("tcp", between.address)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Write([]byte("question")); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(client)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("long answer", string(answer)); diff != "" {
		t.Error(diff)
	}
	if got, want := between.bytes.Load(), int64(len("question")+len("long answer")); got != want {
		t.Errorf("counted %d bytes, want %d", got, want)
	}
}
