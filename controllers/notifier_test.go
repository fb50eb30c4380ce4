package controllers

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/record"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// listener plays the part of notification-controller.
type listener struct {
	server *httptest.Server
	// answer is the status of each answer, by the number of the request.
	answer func(request int) int
	// delay holds answers back until it is closed.
	delay chan struct{}

	mu     sync.Mutex
	asked  int
	taken  []forwardedEvent
	bodies []string
}

func listen(t *testing.T, answer func(request int) int) *listener {
	t.Helper()
	l := &listener{answer: answer, delay: make(chan struct{})}
	close(l.delay)
	l.server = httptest.NewServer(http.HandlerFunc(l.serve))
	t.Cleanup(l.server.Close)
	return l
}

func (l *listener) serve(rw http.ResponseWriter, r *http.Request) {
	select {
	case <-l.delay:
	case <-r.Context().Done():
	}
	body, err := io.ReadAll(r.Body)
	var event forwardedEvent
	if err == nil {
		err = json.Unmarshal(body, &event)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	status := l.answer(l.asked)
	l.asked++
	if err != nil {
		status = http.StatusBadRequest
	}
	if status == http.StatusAccepted {
		l.taken = append(l.taken, event)
		l.bodies = append(l.bodies, string(body))
	}
	rw.WriteHeader(status)
}

// messages are those of the events that were taken.
func (l *listener) messages() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []string
	for _, event := range l.taken {
		found = append(found, event.Message)
	}
	return found
}

func accept(int) int { return http.StatusAccepted }

// notify runs a notifier for a listener until the end of the test, with short pauses.
func notify(t *testing.T, l *listener) *Notifier {
	t.Helper()
	n := newTestNotifier(t, l.server.URL)
	run(t, n)
	return n
}

func newTestNotifier(t *testing.T, address string) *Notifier {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	n := NewNotifier(&record.FakeRecorder{}, scheme, address)
	n.pause = time.Millisecond
	return n
}

func run(t *testing.T, n *Notifier) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func told(n *Notifier, message string) {
	instance := &v1.FluxInstance{ObjectMeta: metav1.ObjectMeta{
		Name: "flux", Namespace: "flux-system", UID: "1",
		Annotations: map[string]string{"kubectl.kubernetes.io/last-applied-configuration": "s3cret", notificationPrefix + "team": "a"},
	}}
	n.AnnotatedEventf(instance, map[string]string{v1.RevisionAnnotation: "v2.9.4@sha256:1"}, corev1.EventTypeWarning, v1.ReasonDriftCorrected, "%s", message)
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, check func() bool) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), time.Millisecond, 20*time.Second, true, func(context.Context) (bool, error) { return check(), nil })
	if err != nil {
		t.Fatalf("waiting for %s: %v", what, err)
	}
}

// counting returns how many more events had an outcome since it was called.
func counting(outcome string) func() int {
	before := testutil.ToFloat64(forwardedEvents.WithLabelValues(outcome))
	return func() int { return int(testutil.ToFloat64(forwardedEvents.WithLabelValues(outcome)) - before) }
}

func TestNotifierForwardsWhatNotificationControllerTakes(t *testing.T) {
	l := listen(t, accept)
	told(notify(t, l), "put back")
	eventually(t, "an event", func() bool { return len(l.messages()) == 1 })
	event := l.taken[0]
	event.Timestamp, event.ReportingInstance = metav1.Time{}, ""
	wanted := forwardedEvent{
		InvolvedObject: corev1.ObjectReference{APIVersion: "fluxcd.controlplane.io/v1", Kind: "FluxInstance", Namespace: "flux-system", Name: "flux", UID: "1"},
		Severity:       "error", Message: "put back", Reason: v1.ReasonDriftCorrected, ReportingController: "flux-operator",
		Metadata: map[string]string{v1.RevisionAnnotation: "v2.9.4@sha256:1", notificationPrefix + "team": "a"},
	}
	if diff := cmp.Diff(wanted, event); diff != "" {
		t.Error(diff)
	}
	if strings.Contains(l.bodies[0], "s3cret") {
		t.Error("other annotations of the object are nobody's business")
	}
}

func TestNotifierKeepsOrderThroughFailures(t *testing.T) {
	l := listen(t, func(request int) int {
		if request%3 != 2 { // each event takes three requests
			return http.StatusServiceUnavailable
		}
		return http.StatusAccepted
	})
	n, sent := notify(t, l), counting(outcomeSent)
	var wanted []string
	for i := range 10 {
		wanted = append(wanted, fmt.Sprint(i))
		told(n, wanted[i])
	}
	eventually(t, "all events", func() bool { return sent() == len(wanted) })
	if diff := cmp.Diff(wanted, l.messages()); diff != "" {
		t.Error(diff)
	}
}

func TestNotifierWaitsForItsListener(t *testing.T) {
	l := listen(t, accept)
	address := l.server.Listener.Addr().String()
	l.server.Close() // nobody listens yet
	n := newTestNotifier(t, "http://"+address)
	run(t, n)
	told(n, "installed")
	eventually(t, "a first try", func() bool { return n.queue.size() == 0 })
	var late *httptest.Server
	eventually(t, "the address to be free", func() bool {
		late = restart(l, address)
		return late != nil
	})
	defer late.Close()
	eventually(t, "the event", func() bool { return slices.Equal(l.messages(), []string{"installed"}) })
}

// starting plays the part of a notification-controller that has not read the Alerts yet when it is asked for the first time. It bears with that for
// 15 seconds; an event whose sender does not, it forgets, and refuses it when it comes again.
type starting struct {
	ready time.Time
	asked int
	taken int
}

// RoundTrip implements http.RoundTripper.
func (s *starting) RoundTrip(request *http.Request) (*http.Response, error) {
	answer := &http.Response{StatusCode: http.StatusAccepted, Body: http.NoBody, Request: request}
	if s.asked++; s.asked > 1 {
		answer.StatusCode = http.StatusTooManyRequests
		return answer, nil
	}
	bears := time.After(15 * time.Second)
	select {
	case <-time.After(time.Until(s.ready)):
		s.taken++
	case <-bears: // nobody is told
	case <-request.Context().Done():
		return nil, request.Context().Err()
	}
	return answer, nil
}

func TestNotifierBearsWithAListenerThatStarts(t *testing.T) {
	for _, c := range []time.Duration{0, 6 * time.Second, 14 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			n := newTestNotifier(t, "http://notification-controller.flux-system.svc/")
			listener := &starting{ready: time.Now().Add(c)}
			sender := n.sender()
			sender.Transport = listener
			told(n, "installing")
			n.forward(t.Context(), sender, n.queue.take())
			if listener.taken != 1 {
				t.Errorf("of a listener that takes %s to start, an event was taken %d times after %d requests", c, listener.taken, listener.asked)
			}
		})
	}
}

func TestNotifierNeverWaitsAndForgetsTheOldest(t *testing.T) {
	l := listen(t, accept)
	l.delay = make(chan struct{})
	n, overflow, sent := notify(t, l), counting(outcomeOverflow), counting(outcomeSent)
	began := time.Now()
	told(n, "first")
	eventually(t, "the first to be under way", func() bool { return n.queue.size() == 0 })
	for i := range maxQueuedEvents + 3 {
		told(n, fmt.Sprint(i))
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("recording events took %s while nobody answered", took)
	}
	if overflow() != 3 || n.queue.size() != maxQueuedEvents {
		t.Errorf("%d events were dropped and %d wait, want 3 and %d", overflow(), n.queue.size(), maxQueuedEvents)
	}
	close(l.delay)
	eventually(t, "what is left", func() bool { return sent() == maxQueuedEvents+1 })
	if got := l.messages(); got[0] != "first" || got[1] != "3" {
		t.Errorf("it begins with %q, want the oldest three dropped", got[:2])
	}
}

func TestNotifierOutcomes(t *testing.T) {
	cases := map[string]struct {
		status   int
		patience time.Duration
	}{
		outcomeRefused:  {http.StatusNotFound, time.Minute},
		outcomeRepeated: {http.StatusTooManyRequests, time.Minute},
		outcomeExpired:  {http.StatusBadGateway, 20 * time.Millisecond},
	}
	for outcome, c := range cases {
		t.Run(outcome, func(t *testing.T) {
			l := listen(t, func(int) int { return c.status })
			n := newTestNotifier(t, l.server.URL)
			n.patience = c.patience
			run(t, n)
			ended := counting(outcome)
			told(n, "x")
			eventually(t, outcome, func() bool { return ended() == 1 })
			if c.status < 500 && l.asked != 1 {
				t.Errorf("it was asked %d times after an answer that is final", l.asked)
			}
		})
	}
}

func TestNotifierTellsTheSameOnce(t *testing.T) {
	l := listen(t, accept)
	n, repeated, sent := notify(t, l), counting(outcomeRepeated), counting(outcomeSent)
	for range 3 {
		told(n, "same")
	}
	told(n, "other")
	eventually(t, "two events", func() bool { return sent() == 2 })
	if repeated() != 2 {
		t.Errorf("%d were repetitions, want 2", repeated())
	}
}

func TestQueueForgetsWhatWasTold(t *testing.T) {
	q := newEventQueue()
	at := time.Now()
	event := func(message string, at time.Time) *queuedEvent {
		return &queuedEvent{recorded: at, event: forwardedEvent{Message: message}}
	}
	q.add(event("x", at))
	q.add(event("x", at.Add(repeatWindow-time.Second)))
	q.add(event("x", at.Add(repeatWindow)))
	if q.size() != 2 {
		t.Errorf("%d events wait, want 2", q.size())
	}
	for i := range 3 * maxRemembered {
		q.add(event(fmt.Sprint(i), at.Add(repeatWindow)))
	}
	if len(q.told) > maxRemembered || q.size() != maxQueuedEvents {
		t.Errorf("%d are remembered and %d wait", len(q.told), q.size())
	}
}

func TestEventsAddress(t *testing.T) {
	instance := func(edit func(*v1.FluxInstance)) *v1.FluxInstance {
		i := &v1.FluxInstance{ObjectMeta: metav1.ObjectMeta{Namespace: "gitops"}}
		edit(i)
		return i
	}
	cases := map[string]struct {
		address string
		object  runtime.Object
		want    string
	}{
		"default":    {"auto", instance(func(*v1.FluxInstance) {}), "http://notification-controller.gitops.svc.cluster.local./"},
		"domain":     {"auto", instance(func(i *v1.FluxInstance) { i.Spec.Cluster = &v1.Cluster{Domain: "a.b."} }), "http://notification-controller.gitops.svc.a.b./"},
		"without it": {"auto", instance(func(i *v1.FluxInstance) { i.Spec.Components = []v1.Component{v1.SourceController} }), ""},
		"others":     {"auto", &v1.FluxReport{}, ""},
		"none":       {"none", instance(func(*v1.FluxInstance) {}), ""},
		"empty":      {"", instance(func(*v1.FluxInstance) {}), ""},
		"given":      {"https://example.com/x", &v1.FluxReport{}, "https://example.com/x"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if got := (&Notifier{Address: c.address}).addressFor(c.object); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if err := CheckEventsAddress(c.address); err != nil {
				t.Error(err)
			}
		})
	}
	for _, bad := range []string{"example.com", "ftp://example.com", "http://", "http://user:s3cret@ example.com"} {
		if err := CheckEventsAddress(bad); err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestErrorsOfForwardingNameNoAddress(t *testing.T) {
	_, err := post(context.Background(), &http.Client{}, &queuedEvent{address: "http://127.0.0.1:1/?token=s3cret"})
	if err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("got %v", err)
	}
}

// restart serves a listener at an address again, nil while it is taken.
func restart(l *listener, address string) *httptest.Server {
	socket, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", address)
	if err != nil {
		return nil
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(l.serve))
	_ = server.Listener.Close() // the one at a free port
	server.Listener = socket
	server.Start()
	return server
}
