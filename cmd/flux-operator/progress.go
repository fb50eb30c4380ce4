package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/flux-autopilot/flux-operator/pkg/artifact"
)

// How often progress is told: to somebody who looks at it, and into a file.
const (
	frame     = 100 * time.Millisecond
	paragraph = 10 * time.Second
)

// progress tells how far copying is: on a terminal in one line that changes, elsewhere line by line.
type progress struct {
	out      io.Writer
	terminal bool

	mu          sync.Mutex
	copies      int
	begun       int
	name        string
	done, total artifact.Amount
	told        time.Time
}

func newProgress(out io.Writer, copies int, total artifact.Amount) *progress {
	return &progress{out: out, terminal: isTerminal(out), copies: copies, total: total}
}

func isTerminal(out io.Writer) bool {
	file, ok := out.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// begin tells that the next copy begins.
func (p *progress) begin(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.begun++
	p.name = name
	p.tell()
}

// add is called by several goroutines with what has arrived.
func (p *progress) add(amount artifact.Amount) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done.Blobs += amount.Blobs
	p.done.Bytes += amount.Bytes
	pause := paragraph
	if p.terminal {
		pause = frame
	}
	if time.Since(p.told) >= pause {
		p.tell()
	}
}

// end leaves a terminal with an empty line.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.terminal {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}

func (p *progress) tell() {
	p.told = time.Now()
	line := fmt.Sprintf("copying %d/%d %s, %s of %s, %d of %d blobs", p.begun, p.copies, p.name, size(p.done.Bytes), size(p.total.Bytes), p.done.Blobs, p.total.Blobs)
	if p.terminal {
		fmt.Fprint(p.out, "\r\x1b[K"+line)
		return
	}
	fmt.Fprintln(p.out, line)
}

// size writes a number of bytes as people read them.
func size(bytes int64) string {
	const unit = 1024
	if bytes < unit {
		return fmt.Sprintf("%d B", bytes)
	}
	value, units := float64(bytes)/unit, []string{"KiB", "MiB", "GiB"}
	for value >= unit && len(units) > 1 {
		value, units = value/unit, units[1:]
	}
	return fmt.Sprintf("%.1f %s", value, units[0])
}
