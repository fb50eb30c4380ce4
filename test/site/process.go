package site

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	corev1 "k8s.io/api/core/v1"
)

// errEnded says that a container that ran when its pod was read does not any more.
var errEnded = errors.New("there is none any more")

// Process returns the number of the process in a pod's first container, as this machine counts: the cluster's processes live in a
// namespace below the machine's own.
func Process(pod *corev1.Pod) (int, error) {
	if len(pod.Status.ContainerStatuses) == 0 || pod.Status.ContainerStatuses[0].State.Running == nil {
		return 0, fmt.Errorf("finding the process of pod %q: its container does not run", pod.Name)
	}
	_, container, found := strings.Cut(pod.Status.ContainerStatuses[0].ContainerID, "://")
	if !found || container == "" {
		return 0, fmt.Errorf("finding the process of pod %q: its container has no id", pod.Name)
	}
	groups, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		return 0, fmt.Errorf("listing processes: %w", err)
	}
	for _, file := range groups {
		membership, err := os.ReadFile(file)
		if err != nil || !bytes.Contains(membership, []byte(container)) {
			continue // it has ended, or is another's
		}
		return strconv.Atoi(filepath.Base(filepath.Dir(file)))
	}
	return 0, fmt.Errorf("finding the process of pod %q in the control group of container %s: %w", pod.Name, container, errEnded)
}

// Kill ends the process in a pod's first container with SIGKILL: it cannot clean up. One that has ended by itself meanwhile, as an operator does
// that loses its lease on a busy machine, is no error.
func Kill(pod *corev1.Pod) error {
	pid, err := Process(pod)
	if errors.Is(err, errEnded) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("killing process %d of pod %q: %w", pid, pod.Name, err)
	}
	return nil
}
