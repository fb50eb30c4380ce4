package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

type answer struct {
	Code int
	Body string
}

func get(t *testing.T, handler http.Handler, path string) answer {
	t.Helper()
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return answer{Code: w.Code, Body: w.Body.String()}
}

func TestEndpoints(t *testing.T) {
	a := &app{message: "hi"}
	handler := a.routes()
	got := map[string]answer{}
	for _, path := range []string{"/", "/healthz", "/readyz"} {
		got[path] = get(t, handler, path)
	}
	a.stopping.Store(true)
	got["/readyz stopping"] = get(t, handler, "/readyz")
	got["/healthz stopping"] = get(t, handler, "/healthz")
	want := map[string]answer{
		"/":                 {Code: 200, Body: "hi\nversion dev\n"},
		"/healthz":          {Code: 200, Body: "ok\n"},
		"/readyz":           {Code: 200, Body: "ok\n"},
		"/readyz stopping":  {Code: 503, Body: "shutting down\n"},
		"/healthz stopping": {Code: 200, Body: "ok\n"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
	if code := get(t, handler, "/other").Code; code != http.StatusNotFound {
		t.Errorf("unknown path: status %d", code)
	}
}

// TestProcess builds the program the way the image does and ends it the way a kubelet does.
func TestProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sampleapp")
	build := exec.CommandContext(t.Context(), "go", "build", "-ldflags", "-X main.version=1.2.3", "-o", path, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, path)
	cmd.Env = append(os.Environ(), "MESSAGE=hello", "ADDRESS=127.0.0.1:0")
	logs, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(logs).ReadString('\n')
	if err != nil {
		t.Fatalf("reading log: %v", err)
	}
	address := regexp.MustCompile(`127\.0\.0\.1:\d+`).FindString(line)

	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("hello\nversion 1.2.3\n", string(body)); diff != "" {
		t.Errorf("body (-want +got):\n%s", diff)
	}

	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("ended with %v", err)
	}
}
