package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// usage is what a process has taken so far, as the kernel accounts for it.
type usage struct {
	// cpu is the time on all processors, user and system.
	cpu time.Duration
	// anon is what lies in anonymous memory (heap and stacks), rss everything resident, peak the most that ever was; in bytes.
	anon, rss, peak int64
}

// usageOf reads the account of a running process.
func usageOf(pid int) (usage, error) {
	cpu, err := cpuTime(pid)
	if err != nil {
		return usage{}, fmt.Errorf("reading the CPU time of process %d: %w", pid, err)
	}
	fields, err := memoryOf(strconv.Itoa(pid))
	if err != nil {
		return usage{}, err
	}
	return usage{cpu: cpu, anon: fields["RssAnon"], rss: fields["VmRSS"], peak: fields["VmHWM"]}, nil
}

// memoryOf reads the sizes in /proc/<process>/status, in bytes.
func memoryOf(process string) (map[string]int64, error) {
	data, err := os.ReadFile("/proc/" + process + "/status")
	if err != nil {
		return nil, fmt.Errorf("reading the memory of process %s: %w", process, err)
	}
	return sizes(data), nil
}

// sizes reads lines such as "VmRSS:  1234 kB".
func sizes(data []byte) map[string]int64 {
	found := map[string]int64{}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		name, rest, _ := strings.Cut(lines.Text(), ":")
		number, isSize := strings.CutSuffix(strings.TrimSpace(rest), " kB")
		if kilobytes, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64); isSize && err == nil {
			found[name] = kilobytes << 10
		}
	}
	return found
}
