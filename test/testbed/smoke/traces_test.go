package smoke

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flux-autopilot/flux-operator/test/testbed"
)

// settle is how long the kernel of a busy machine may take to forget what has ended; a quiet one needs a hundredth of it.
const settle = time.Minute

// machine is what a cluster could leave behind on it.
type machine struct {
	Mounts    []string
	Cgroups   []string
	Firewall  []string
	Links     []string
	Processes []string
	Settings  map[string]string
}

// look reads the state of the machine, as far as this project's clusters could change it.
func look(t *testing.T) machine {
	t.Helper()
	m := machine{Settings: map[string]string{}}
	m.Mounts = lines(t, "/proc/self/mountinfo")
	clusters := "*testbed-" + named("smoke") + "*"
	for _, pattern := range []string{"/sys/fs/cgroup/" + clusters, "/sys/fs/cgroup/*/" + clusters} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		m.Cgroups = append(m.Cgroups, found...)
	}
	links, err := filepath.Glob("/sys/class/net/*")
	if err != nil {
		t.Fatal(err)
	}
	m.Links = links
	if path, err := exec.LookPath("iptables-save"); err == nil {
		out, err := exec.CommandContext(t.Context(), path).Output()
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(out)) {
			// Comments hold the time, and numbers in brackets count packets.
			if !strings.HasPrefix(line, "#") {
				m.Firewall = append(m.Firewall, strings.TrimSpace(strings.Split(line, "[")[0]))
			}
		}
	}
	for _, setting := range []string{"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "net/ipv4/ip_forward"} {
		m.Settings[setting] = strings.Join(lines(t, "/proc/sys/"+setting), "")
	}
	m.Processes = processes()
	return m
}

// unchanged fails the test unless the machine is soon as it was.
func (m machine) unchanged(t *testing.T) {
	t.Helper()
	var diff string
	soon(t, func() bool {
		diff = cmp.Diff(m, look(t))
		return diff == ""
	})
	if diff != "" {
		t.Errorf("the cluster left something behind (-before +after):\n%s", diff)
	}
}

// soon asks until the answer is yes or the kernel has had its time.
func soon(t *testing.T, done func() bool) {
	t.Helper()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(settle)
	for !done() {
		select {
		case <-deadline:
			return
		case <-ticker.C:
		}
	}
}

func lines(t *testing.T, path string) []string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(data)), "\n")
}

// processes lists the living processes that work in the folder or the control groups of this run's clusters.
func processes() []string {
	var found []string
	commands, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range commands {
		command, err := os.ReadFile(file)
		if err != nil || len(command) == 0 {
			continue
		}
		groups, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "cgroup"))
		if strings.Contains(string(command), "testbed/"+named("smoke")) || strings.Contains(string(groups), "testbed-"+named("smoke")) {
			found = append(found, strings.ReplaceAll(string(command), "\x00", " "))
		}
	}
	slices.Sort(found)
	return found
}

// namespaces are the ones of a cluster's first process.
type namespaces []string

func namespacesOf(t *testing.T, c *testbed.Cluster) namespaces {
	t.Helper()
	var all namespaces
	for _, kind := range []string{"net", "mnt", "pid"} {
		id, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(holderOf(t, c)), "ns", kind))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, id)
	}
	return all
}

// gone fails the test when a process is still in one of the namespaces after a while.
func (n namespaces) gone(t *testing.T) {
	t.Helper()
	var left []string
	soon(t, func() bool {
		left = nil
		links, _ := filepath.Glob("/proc/[0-9]*/ns/*")
		for _, link := range links {
			if id, err := os.Readlink(link); err == nil && slices.Contains(n, id) {
				left = append(left, link)
			}
		}
		return len(left) == 0
	})
	if len(left) > 0 {
		t.Errorf("processes are left in the cluster's namespaces: %v", left)
	}
}

func holderOf(t *testing.T, c *testbed.Cluster) int {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(c.Dir, "holder.json"))
	if err != nil {
		t.Fatal(err)
	}
	var holder struct{ PID int }
	if err := json.Unmarshal(data, &holder); err != nil {
		t.Fatal(err)
	}
	return holder.PID
}

// supervisorOf returns the process that starts and keeps the components.
func supervisorOf(t *testing.T, c *testbed.Cluster) int {
	t.Helper()
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range commands {
		command, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(command), "\x00supervise\x00--dir\x00"+c.Dir+"\x00") {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			t.Fatal(err)
		}
		return pid
	}
	t.Fatal("the supervising process was not found")
	return 0
}

func write(t *testing.T, file string, data []byte) {
	t.Helper()
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
}
