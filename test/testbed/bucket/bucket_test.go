package bucket_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/flux-autopilot/flux-operator/test/testbed/bucket"
)

func request(t *testing.T, method, url, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(answer)
}

func TestObjects(t *testing.T) {
	s, err := bucket.Serve(t.Context(), bucket.Options{Buckets: []string{"flux"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(t.Context()); err != nil {
			t.Errorf("closing: %v", err)
		}
	}()
	base := "http://" + s.Addr + "/flux"

	if err := s.Put("flux", "apps/a.yaml", "a: 1"); err != nil {
		t.Fatal(err)
	}
	if code, body := request(t, http.MethodGet, base+"/apps/a.yaml", ""); code != http.StatusOK || body != "a: 1" {
		t.Errorf("reading what was put: %d %q", code, body)
	}
	if code, body := request(t, http.MethodPut, base+"/apps/b.yaml", "b: 2"); code != http.StatusOK {
		t.Errorf("writing over HTTP: %d %q", code, body)
	}
	if code, body := request(t, http.MethodGet, base+"?list-type=2", ""); code != http.StatusOK ||
		!strings.Contains(body, "apps/a.yaml") || !strings.Contains(body, "apps/b.yaml") {
		t.Errorf("listing: %d %q", code, body)
	}
	for range 2 {
		if err := s.Delete("flux", "apps/a.yaml"); err != nil {
			t.Errorf("deleting: %v", err)
		}
	}
	if code, _ := request(t, http.MethodGet, base+"/apps/a.yaml", ""); code != http.StatusNotFound {
		t.Errorf("deleted object: status %d", code)
	}
	if err := s.Put("absent", "a", ""); err == nil {
		t.Error("an object went into a bucket that does not exist")
	}
}
