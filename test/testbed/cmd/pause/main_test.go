package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// asPause tells the test program, started again, to adopt an orphan and then to become the pause process.
const asPause = "TEST_BECOME_PAUSE"

func TestMain(m *testing.M) {
	if path := os.Getenv(asPause); path != "" {
		fmt.Fprintln(os.Stderr, becomePause(path))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// becomePause returns only when it fails. A subreaper stays one through exec, so it stands in for process 1.
func becomePause(path string) error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return err
	}
	orphan, err := exec.CommandContext(context.Background(), "sh", "-c", "sleep 0.3 >/dev/null 2>&1 & echo $!").Output()
	if err != nil {
		return err
	}
	fmt.Print(string(orphan))
	return syscall.Exec(path, []string{path}, nil)
}

func build(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pause")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("building pause: %v\n%s", err, out)
	}
	return path
}

func TestPauseReapsOrphansAndEndsOnSignal(t *testing.T) {
	path := build(t)
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			cmd := exec.CommandContext(ctx, os.Args[0])
			cmd.Env = append(os.Environ(), asPause+"="+path)
			cmd.Stderr = os.Stderr
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			orphan, err := bufio.NewReader(stdout).ReadString('\n')
			if err != nil {
				t.Fatalf("reading the orphan's number: %v", err)
			}

			waitUntilReaped(ctx, t, strings.TrimSpace(orphan))
			if err := cmd.Process.Signal(sig); err != nil {
				t.Errorf("pause is gone before the signal: %v", err)
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("pause ended with %v", err)
			}
		})
	}
}

// waitUntilReaped watches the process table: a process that ended stays there until its parent has asked for it.
func waitUntilReaped(ctx context.Context, t *testing.T, pid string) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat(filepath.Join("/proc", pid)); os.IsNotExist(err) {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("process %s was not reaped", pid)
		}
	}
}
