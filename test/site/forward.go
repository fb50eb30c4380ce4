package site

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// forwardLimit bounds the time until a port is open.
const forwardLimit = time.Minute

// Forward opens a port of this machine's loopback for a port of a pod in the operator's namespace and returns its address, host:port.
// It stays open until ctx is done; stop ends it earlier.
func (s *Site) Forward(ctx context.Context, pod string, port int) (address string, stop func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, s.Cluster.KubectlPath(), "--kubeconfig="+s.Cluster.Kubeconfig, "-n", Namespace,
		"port-forward", "--address=127.0.0.1", "pod/"+pod, ":"+strconv.Itoa(port))
	cmd.Env = append(os.Environ(), "HOME="+s.Cluster.Dir)
	output, err := cmd.StdoutPipe()
	if err != nil {
		cancel()
		return "", nil, fmt.Errorf("forwarding to pod %q: %w", pod, err)
	}
	if err := cmd.Start(); err != nil {
		cancel()
		return "", nil, fmt.Errorf("forwarding to pod %q: %w", pod, err)
	}
	stop = func() {
		cancel()
		_ = cmd.Wait() // it was killed
	}
	late := time.AfterFunc(forwardLimit, cancel)
	lines := bufio.NewReader(output)
	line, err := lines.ReadString('\n')
	late.Stop()
	rest, found := strings.CutPrefix(line, "Forwarding from ")
	if err != nil || !found {
		stop()
		return "", nil, fmt.Errorf("forwarding to pod %q: kubectl said %q: %w", pod, strings.TrimSpace(line), errors.Join(err, ctx.Err()))
	}
	go func() { _, _ = io.Copy(io.Discard, lines) }() // it prints a line for each connection, and would wait for a reader
	address, _, _ = strings.Cut(rest, " ")
	return address, stop, nil
}
