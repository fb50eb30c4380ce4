package testbed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flux-autopilot/flux-operator/tools"
)

func TestOptions(t *testing.T) {
	for _, tc := range []struct {
		reason string
		opts   Options
		fails  string
	}{
		{"defaults", Options{}, ""},
		{"an older minor", Options{Kubernetes: "1.33"}, ""},
		{"an unknown minor", Options{Kubernetes: "1.20"}, `"1.20"`},
		{"a name that is no folder", Options{Name: "../x"}, `"../x"`},
		{"a name too long for a cgroup", Options{Name: strings.Repeat("a", 31)}, "aaaa"},
		{"an unknown node", Options{Node: "virtual"}, `"virtual"`},
	} {
		got, err := tc.opts.complete()
		if (err == nil) != (tc.fails == "") || err != nil && !strings.Contains(err.Error(), tc.fails) {
			t.Errorf("%s: got %v", tc.reason, err)
		}
		if err == nil && (got.Name == "" || got.Kubernetes == "" || got.Progress == nil) {
			t.Errorf("%s: not completed: %+v", tc.reason, got)
		}
	}
}

func TestNameFor(t *testing.T) {
	for kubernetes, want := range map[string]string{"": "e2e", tools.KubernetesVersions()[0]: "e2e", "1.32": "k8s-1-32-e2e"} {
		if got := NameFor("e2e", kubernetes); got != want || !validName.MatchString(got) {
			t.Errorf("on %q: got %q, want %q", kubernetes, got, want)
		}
	}
}

func TestAttachWithoutCluster(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	if _, err := Attach("none"); !errors.Is(err, ErrNotRunning) {
		t.Errorf("got %v", err)
	}
	if err := Down(t.Context(), "none"); err != nil {
		t.Errorf("removing what does not exist: %v", err)
	}
}

func TestAttachAfterCrash(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cache)
	dir := filepath.Join(cache, "flux-operator", "testbed", "crashed")
	if err := os.MkdirAll(filepath.Join(dir, "logs"), 0o755); err != nil {
		t.Fatal(err)
	}
	for file, value := range map[string]any{
		configFile: config{Name: "crashed", Dir: dir, Simulated: true},
		// This process exists, but it is not the one that was started then.
		holderFile: holder{PID: os.Getpid(), Identity: "1"},
		readyFile:  nil,
		"other":    nil,
	} {
		if err := writeJSON(filepath.Join(dir, file), value); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Attach("crashed"); !errors.Is(err, ErrNotRunning) {
		t.Errorf("attaching: got %v", err)
	}
	if err := Down(t.Context(), "crashed"); err != nil {
		t.Errorf("removing: %v", err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 || left[0].Name() != "logs" {
		t.Errorf("left are %v (%v)", left, err)
	}
}

func TestFollow(t *testing.T) {
	for _, tc := range []struct {
		reason, progress, want string
	}{
		{"ready", "starting the node\nready\n", ""},
		{"failed with several lines", "starting the node\n" + fmt.Sprintf("%s%q\n", failedPrefix, "no\nway"), "no\nway"},
		{"died", "starting the node\n", "supervising process ended"},
		{"died at once", "", "supervising process ended"},
	} {
		var said strings.Builder
		s := &starter{opts: Options{Name: "x", Progress: &said}}
		err := s.follow(strings.NewReader(tc.progress))
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v", tc.reason, err)
		}
		if strings.Contains(tc.progress, "node") && said.String() != "testbed: starting the node\n" {
			t.Errorf("%s: said %q", tc.reason, said.String())
		}
	}
}

// TestForward checks that both directions end properly: the answer comes after the question's end.
func TestForward(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	echo := listenOn(t)
	go func() {
		conn, err := echo.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		question, _ := io.ReadAll(conn)
		fmt.Fprintf(conn, "you said %s", question)
	}()
	front := listenOn(t)
	forward(ctx, front, echo.Addr().String())

	conn, err := net.Dial("tcp", front.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "hello"); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(conn); err != nil || string(got) != "you said hello" {
		t.Errorf("got %q, %v", got, err)
	}
}

func listenOn(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func TestImagesHavePrograms(t *testing.T) {
	known := map[string]bool{}
	for _, name := range tools.Names() {
		known[name] = true
	}
	images := Images()
	for name, img := range images {
		if (img.Tool == "") == (img.Package == "") || img.Tool != "" && !known[img.Tool] {
			t.Errorf("%s: %+v", name, img)
		}
	}
	for version, names := range FluxImages() {
		for _, name := range names {
			if _, ok := images[name]; !ok {
				t.Errorf("Flux %s: image %q is not known", version, name)
			}
		}
	}
}

func TestProbe(t *testing.T) {
	if err := Probe(t.Context(), "localhost"); err != nil {
		t.Errorf("localhost: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := Probe(ctx, "http://"+closedAddress(t)+"/"); err == nil {
		t.Error("a closed port answered")
	}
}

func closedAddress(t *testing.T) string {
	t.Helper()
	l := listenOn(t)
	defer l.Close()
	return l.Addr().String()
}
