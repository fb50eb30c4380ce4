package bench

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/flux-autopilot/flux-operator/tools"
)

// Machine says where and how figures were taken, without naming anybody's machine.
type Machine struct {
	// Command reproduces the figures.
	Command string
	// Date is when they were taken, Took for how long.
	Date time.Time
	Took time.Duration
	// Hardware, Go and Kubernetes are words for the table at the top.
	Hardware, Go, Kubernetes string
	// LoadBefore and LoadAfter are the mean numbers of processes that wanted a core in the minute before the start and before the end.
	LoadBefore, LoadAfter string
	// Flux is the installed release, of which Components and Objects are counted.
	Flux                string
	Components, Objects int
}

// describeMachine fills in what can be known before the first measurement.
func describeMachine() (Machine, error) {
	kubernetes, err := tools.Version("kube-apiserver")
	if err != nil {
		return Machine{}, err
	}
	m := Machine{
		Command:    "make bench",
		Date:       time.Now().UTC(),
		Hardware:   fmt.Sprintf("%s/%s, %d cores", runtime.GOOS, runtime.GOARCH, runtime.NumCPU()),
		LoadBefore: load(),
		Go:         strings.TrimPrefix(runtime.Version(), "go"),
		Kubernetes: kubernetes,
	}
	if data, err := os.ReadFile("/proc/meminfo"); err == nil {
		m.Hardware += fmt.Sprintf(", %.0f GiB", float64(sizes(data)["MemTotal"])/(1<<30))
	}
	return m, nil
}

// load is the mean number of processes that wanted a core in the last minute.
func load() string {
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	minute, _, _ := strings.Cut(string(data), " ")
	return minute
}
