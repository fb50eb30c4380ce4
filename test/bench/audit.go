package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
)

const (
	auditPoll = 50 * time.Millisecond
	// quietFor is how long somebody must send nothing to be taken for done. Events are sent within this time after what they tell of.
	quietFor = time.Second
	// quietLimit bounds the wait for that.
	quietLimit = 90 * time.Second
)

// request is one line of the audit log that begins a request.
type request struct {
	user, verb, resource string
	received             time.Time
	code                 int
}

// auditLog reads what the API server wrote, as far as it got.
type auditLog struct {
	path     string
	offset   int64
	rest     []byte
	seen     map[string]int
	requests []request
}

func newAuditLog(path string) *auditLog {
	return &auditLog{path: path, seen: map[string]int{}}
}

// update reads on. A watch has two lines, one when it opens and one when it ends, and counts once.
func (l *auditLog) update() error {
	file, err := os.Open(l.path)
	if err != nil {
		return fmt.Errorf("reading the audit log: %w", err)
	}
	defer file.Close()
	if _, err := file.Seek(l.offset, io.SeekStart); err != nil {
		return fmt.Errorf("reading the audit log: %w", err)
	}
	data, err := io.ReadAll(file)
	if err != nil {
		return fmt.Errorf("reading the audit log: %w", err)
	}
	l.offset += int64(len(data))
	data = append(l.rest, data...)
	end := bytes.LastIndexByte(data, '\n') + 1
	l.rest = bytes.Clone(data[end:])
	for line := range bytes.Lines(data[:end]) {
		if err := l.add(line); err != nil {
			return err
		}
	}
	return nil
}

// add notes one line.
func (l *auditLog) add(line []byte) error {
	var event auditv1.Event
	if err := json.Unmarshal(line, &event); err != nil {
		return fmt.Errorf("parsing a line of the audit log: %w", err)
	}
	code := 0
	if event.ResponseStatus != nil {
		code = int(event.ResponseStatus.Code)
	}
	id := string(event.AuditID)
	if at, again := l.seen[id]; again {
		l.requests[at].code = code
		return nil
	}
	resource, _, _ := strings.Cut(event.RequestURI, "?")
	if event.ObjectRef != nil {
		resource = strings.TrimSuffix(event.ObjectRef.Resource+"/"+event.ObjectRef.Subresource, "/")
	}
	l.seen[id] = len(l.requests)
	l.requests = append(l.requests, request{
		user: event.User.Username, verb: event.Verb, resource: resource, received: event.RequestReceivedTimestamp.Time, code: code,
	})
	return nil
}

// between returns the requests of a user that were received in a span of time.
func (l *auditLog) between(user string, from, to time.Time) (requests, error) {
	if err := l.update(); err != nil {
		return nil, err
	}
	var found requests
	for _, r := range l.requests {
		if r.user == user && !r.received.Before(from) && r.received.Before(to) {
			found = append(found, r)
		}
	}
	return found, nil
}

// settle waits until a user has sent nothing but lease renewals for a while, and returns what it sent since then.
func (l *auditLog) settle(ctx context.Context, user string, since time.Time) (requests, error) {
	ctx, cancel := context.WithTimeout(ctx, quietLimit)
	defer cancel()
	ticker := time.NewTicker(auditPoll)
	defer ticker.Stop()
	for {
		now := time.Now()
		found, err := l.between(user, since, now)
		if err != nil {
			return nil, err
		}
		work := found.work()
		last := since
		if len(work) > 0 {
			last = work[len(work)-1].received
		}
		if now.Sub(last) > quietFor {
			return work, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting until %q sends nothing: %w; last was %s", user, ctx.Err(), work.summary())
		case <-ticker.C:
		}
	}
}

// requests are in the order in which they were logged.
type requests []request

// work leaves out the renewals of the leader's lease, which go on whether there is work or not.
func (r requests) work() requests {
	return slices.DeleteFunc(slices.Clone(r), func(one request) bool { return one.resource == "leases" })
}

// writes are the requests that change something; events only tell of it.
func (r requests) writes() requests {
	return slices.DeleteFunc(slices.Clone(r), func(one request) bool {
		return one.resource == "events" || !slices.Contains([]string{"create", "patch", "update", "delete"}, one.verb)
	})
}

// besides leaves out a resource and its subresources.
func (r requests) besides(resource string) requests {
	return slices.DeleteFunc(slices.Clone(r), func(one request) bool {
		return one.resource == resource || strings.HasPrefix(one.resource, resource+"/")
	})
}

// first returns when the earliest request was received.
func (r requests) first() (time.Time, bool) {
	if len(r) == 0 {
		return time.Time{}, false
	}
	return slices.MinFunc(r, func(a, b request) int { return a.received.Compare(b.received) }).received, true
}

// summary counts the requests by verb and resource, the most frequent first.
func (r requests) summary() string {
	counts := map[string]int{}
	for _, one := range r {
		name := one.verb + " " + one.resource
		if one.code >= 400 {
			name += fmt.Sprintf(" (%d)", one.code)
		}
		counts[name]++
	}
	names := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		if counts[a] != counts[b] {
			return counts[b] - counts[a]
		}
		return strings.Compare(a, b)
	})
	for i, name := range names {
		names[i] = fmt.Sprintf("%d %s", counts[name], name)
	}
	return strings.Join(names, ", ")
}
