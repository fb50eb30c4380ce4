package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/term"
)

// The colours, as a terminal understands them.
const (
	bold  = "1"
	faint = "2"
	red   = "31"
	green = "32"
	blue  = "36"
)

// negligible is what nobody notices.
const negligible = 10 * time.Millisecond

// margin is what everything that belongs to a step is indented by.
const margin = "     "

// screen writes for a human: coloured on a terminal, plain elsewhere and where NO_COLOR is set.
type screen struct {
	out      io.Writer
	coloured bool
	began    time.Time
}

func newScreen(file *os.File) *screen {
	_, unwanted := os.LookupEnv("NO_COLOR")
	return &screen{out: file, coloured: !unwanted && term.IsTerminal(int(file.Fd()))}
}

func (s *screen) paint(colour, text string) string {
	if !s.coloured || text == "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

func (s *screen) title(text string) {
	fmt.Fprintf(s.out, "\n%s\n", s.paint(bold, text))
}

// begin opens a step; its time runs from here.
func (s *screen) begin(number, of int, title string) {
	s.began = time.Now()
	fmt.Fprintf(s.out, "\n%s %s\n", s.paint(blue, fmt.Sprintf("%d/%d", number, of)), s.paint(bold, title))
}

// end closes a step with a tick and, where it took any, its time.
func (s *screen) end() {
	took := time.Since(s.began)
	if took < negligible {
		fmt.Fprintf(s.out, " %s\n", s.paint(green, "✓"))
		return
	}
	fmt.Fprintf(s.out, " %s   %s\n", s.paint(green, "✓"), s.paint(faint, seconds(took)))
}

// failed closes a step that did not come to its end.
func (s *screen) failed(err error) {
	fmt.Fprintf(s.out, "\n %s   %s\n", s.paint(red, "✗"), err)
}

// sayf prints a sentence of the step.
func (s *screen) sayf(format string, args ...any) {
	fmt.Fprintf(s.out, "%s%s\n", margin, fmt.Sprintf(format, args...))
}

// notef prints what has just happened, with the time since the step began.
func (s *screen) notef(format string, args ...any) {
	fmt.Fprintf(s.out, "%s%s %s\n", margin, s.paint(faint, fmt.Sprintf("%7s", "+"+seconds(time.Since(s.began)))), fmt.Sprintf(format, args...))
}

// command prints a command as it would be typed.
func (s *screen) command(words []string) {
	typed := make([]string, 0, len(words))
	for _, word := range words {
		if strings.ContainsAny(word, "{}\" ") {
			word = "'" + word + "'"
		}
		typed = append(typed, word)
	}
	fmt.Fprintf(s.out, "%s%s\n", margin, s.paint(blue, "$ "+strings.Join(typed, " ")))
}

// block prints several lines.
func (s *screen) block(text string) {
	for line := range strings.Lines(text) {
		fmt.Fprintln(s.out, strings.TrimRight(margin+line, " \n"))
	}
}

// quiet prints several lines that are there to be looked up rather than read.
func (s *screen) quiet(text string) {
	for line := range strings.Lines(text) {
		fmt.Fprintf(s.out, "%s%s\n", margin, s.paint(faint, strings.TrimRight(line, " \n")))
	}
}

// difference prints what is in only one of two texts, as a diff does.
func (s *screen) difference(before, after string) {
	old, changed := strings.Split(before, "\n"), strings.Split(after, "\n")
	for _, line := range old {
		if !slices.Contains(changed, line) {
			fmt.Fprintf(s.out, "%s%s\n", margin, s.paint(red, "-"+line))
		}
	}
	for _, line := range changed {
		if !slices.Contains(old, line) {
			fmt.Fprintf(s.out, "%s%s\n", margin, s.paint(green, "+"+line))
		}
	}
}

// progress returns a writer for the lines of longer work.
func (s *screen) progress() io.Writer { return &progress{screen: s} }

// progress indents whole lines.
type progress struct {
	screen *screen
	rest   []byte
}

// Write prints the lines that are complete and keeps the rest.
func (p *progress) Write(data []byte) (int, error) {
	p.rest = append(p.rest, data...)
	for {
		line, rest, complete := bytes.Cut(p.rest, []byte("\n"))
		if !complete {
			return len(data), nil
		}
		p.screen.quiet(strings.TrimPrefix(string(line), "testbed: "))
		p.rest = rest
	}
}

// seconds is a duration as people say it.
func seconds(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	if d < time.Minute {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
}
