package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// asOperator makes the program of these tests be the operator.
const asOperator = "FLUX_OPERATOR_TEST_AS_OPERATOR"

func TestMain(m *testing.M) {
	if os.Getenv(asOperator) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// listen opens a port that is none of those that the system gives to outgoing connections, which might take it before somebody else can open it again.
func listen(t *testing.T) net.Listener {
	t.Helper()
	const first, ports, attempts = 20_000, 10_000, 100
	for range attempts {
		listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", first+rand.IntN(ports)))
		if err == nil {
			return listener
		}
	}
	t.Fatalf("found no free port from %d on in %d attempts", first, attempts)
	return nil
}

// freeAddresses returns two addresses of this machine that nobody listens on.
func freeAddresses(t *testing.T) (one, other string) {
	t.Helper()
	a, b := listen(t), listen(t) // both at once, so that they differ
	defer a.Close()
	defer b.Close()
	return a.Addr().String(), b.Addr().String()
}

// cluster starts an API server with the definitions of the operator and returns a file that leads to it.
func cluster(t *testing.T) string {
	t.Helper()
	env := &envtest.Environment{
		CRDDirectoryPaths: []string{filepath.Join("config", "crd", "bases")}, ErrorIfCRDPathMissing: true,
		CRDInstallOptions: envtest.CRDInstallOptions{MaxTime: time.Minute},
	}
	if _, err := env.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := env.Stop(); err != nil {
			t.Error(err)
		}
	})
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(path, env.KubeConfig, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// startOperator starts it as a process and returns its log.
func startOperator(t *testing.T, kubeconfig, mode string, args ...string) *bufio.Scanner {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(os.Environ(), asOperator+"=yes", "KUBECONFIG="+kubeconfig, "GODEBUG=fips140="+mode)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second
	log, write := io.Pipe()
	cmd.Stderr = write
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		_ = cmd.Wait() // it was interrupted
		_ = write.Close()
	})
	return bufio.NewScanner(log)
}

// TestTheOperatorRunsInFIPSMode starts the operator with Go's FIPS 140-3 module switched on, and with all else forbidden: it says so, fills its caches
// over TLS, and serves its metrics over TLS.
func TestTheOperatorRunsInFIPSMode(t *testing.T) {
	kubeconfig := cluster(t)
	for _, mode := range []string{"on", "only"} {
		t.Run(mode, func(t *testing.T) {
			metrics, health := freeAddresses(t)
			log := startOperator(t, kubeconfig, mode, "--metrics-addr", metrics, "--health-addr", health, "--storage-path", t.TempDir(),
				"--artifact-cache-path", t.TempDir(), "--enable-leader-election=false")
			said := make(chan bool, 1)
			go func() {
				found := false
				for log.Scan() {
					if !found && strings.Contains(log.Text(), `"fips140":"`+mode+", module ") {
						found = true
						said <- true
					}
				}
				said <- false
			}()
			if !<-said {
				t.Fatal("the operator ended and did not say in which mode it runs")
			}
			client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
			wait(t, client, "http://"+health+"/readyz", http.StatusOK)
			wait(t, client, "https://"+metrics+"/metrics", http.StatusUnauthorized)
		})
	}
}

// wait asks until the answer is the wanted one.
func wait(t *testing.T, client *http.Client, url string, want int) {
	t.Helper()
	deadline := time.After(time.Minute)
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for {
		response, err := client.Get(url)
		if err == nil {
			response.Body.Close()
			if response.StatusCode == want {
				return
			}
		}
		select {
		case <-again.C:
		case <-deadline:
			t.Fatalf("%s: %v, %v, want %d", url, response, err, want)
		}
	}
}
