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
	return 0, fmt.Errorf("finding the process of pod %q: no process is in the control group of container %s", pod.Name, container)
}

// Kill ends the process in a pod's first container with SIGKILL: it cannot clean up.
func Kill(pod *corev1.Pod) error {
	pid, err := Process(pod)
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("killing process %d of pod %q: %w", pid, pod.Name, err)
	}
	return nil
}
