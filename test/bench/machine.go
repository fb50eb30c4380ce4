package bench

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
)

// Machine says where and how figures were taken, without naming anybody's machine.
type Machine struct {
	// Command reproduces the figures.
	Command string
	// Date is when they were taken, Took for how long.
	Date time.Time
	Took time.Duration
	// Hardware, Load, Go and Kubernetes are words for the table at the top.
	Hardware, Load, Go, Kubernetes string
	// Flux is the installed release, of which Components and Objects are counted.
	Flux                string
	Components, Objects int
}

// describeMachine fills in what can be known before the first measurement.
func describeMachine() Machine {
	m := Machine{
		Command:  "make bench",
		Date:     time.Now().UTC(),
		Hardware: fmt.Sprintf("%s/%s, %d cores", runtime.GOOS, runtime.GOARCH, runtime.NumCPU()),
		Load:     "unknown",
		Go:       strings.TrimPrefix(runtime.Version(), "go"),
	}
	if data, err := os.ReadFile("/proc/meminfo"); err == nil {
		m.Hardware += fmt.Sprintf(", %.0f GiB", float64(sizes(data)["MemTotal"])/(1<<30))
	}
	if data, err := os.ReadFile("/proc/loadavg"); err == nil {
		if one, _, found := strings.Cut(string(data), " "); found {
			m.Load = one + " over the last minute"
		}
	}
	return m
}
