package site

import (
	"context"
	"fmt"
	"strings"
	"time"
)

const (
	// poll is how often a condition that is waited for is looked at.
	poll = 100 * time.Millisecond
	// diagnoseLimit bounds the gathering of a diagnosis, which begins when the time of something else is over.
	diagnoseLimit = 20 * time.Second
)

// Await looks at a condition again and again until check returns nil. When limit is over or ctx is done, it fails with what check said
// last; [Site.Diagnosis] tells more.
func (*Site) Await(ctx context.Context, limit time.Duration, what string, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	var last error
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || last == nil { // an error that is only the end of the time says less than the one before
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s (at most %s): %w: last seen: %w", what, limit, ctx.Err(), last)
		case <-ticker.C:
		}
	}
}

// Diagnosis gathers what somebody would look at next when something does not come about: the instance's status, its events, pods that do not
// run and the end of the operator's log. It works also when ctx is done.
func (s *Site) Diagnosis(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), diagnoseLimit)
	defer cancel()
	var out strings.Builder
	for _, question := range [][]string{
		{"-n", Namespace, "get", "fluxinstance", "-o", `jsonpath={range .items[*].status.conditions[*]}{.type}={.status} {.reason}: {.message}{"\n"}{end}`},
		{"get", "pods", "-A", "-o", "wide"},
		{"-n", Namespace, "get", "events", "--sort-by=.lastTimestamp"},
		{"-n", Namespace, "logs", "deployment/" + OperatorName, "--tail=40"},
		{"-n", Namespace, "logs", "deployment/" + OperatorName, "--tail=20", "--previous"},
	} {
		answer, err := s.Cluster.Kubectl(ctx, "", question...)
		if err != nil && answer == "" {
			answer = err.Error()
		}
		fmt.Fprintf(&out, "--- kubectl %s\n%s\n", strings.Join(question[:min(len(question), 5)], " "), lastLines(answer, 40))
	}
	return out.String()
}

func lastLines(text string, count int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-count):], "\n")
}
