package controllers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/tools/reference"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// Words in place of the address that events are forwarded to.
const (
	// AutomaticEventsAddress stands for the notification-controller that an instance installs.
	AutomaticEventsAddress = "auto"
	// NoEventsAddress forwards nothing, as no address does.
	NoEventsAddress = "none"
)

const (
	// notificationPrefix begins the annotations by which users add something to the events of an object.
	notificationPrefix = "event.toolkit.fluxcd.io/"
	// postTimeout bounds a request. notification-controller gives itself 15 seconds to read the Alerts when it starts. Who asks and goes away before it
	// has them is not heard, and who asks again then is taken for one that repeats himself: the event would be lost.
	postTimeout = 20 * time.Second
	// maxAnswer bounds what is read of an answer.
	maxAnswer = 4 << 10
	// notificationPatience is how long after an event it is tried to forward it: an installation tells of itself before anybody listens.
	notificationPatience = 5 * time.Minute
	// firstPause is the time after a failed request; it doubles up to lastPause.
	firstPause, lastPause = time.Second, 15 * time.Second
)

// What becomes of an event, values of the label outcome of forwardedEvents.
const (
	outcomeSent     = "sent"
	outcomeRepeated = "repeated"
	outcomeRefused  = "refused"
	outcomeExpired  = "expired"
	outcomeOverflow = "overflow"
)

// Notifier records events in Kubernetes and forwards them to notification-controller. Whoever records an event never waits for that: it is queued,
// tried again for some minutes, and in the end dropped and counted. Events of one queue arrive in their order.
type Notifier struct {
	record.EventRecorder

	// Scheme knows the kinds of the objects that events are about.
	Scheme *runtime.Scheme
	// Address is where events are posted to: AutomaticEventsAddress, a URL, or NoEventsAddress.
	Address string

	queue    eventQueue
	patience time.Duration // notificationPatience if 0
	pause    time.Duration // firstPause if 0
}

// NewNotifier forwards what it also hands to a recorder. Start it, or nothing is sent.
func NewNotifier(recorder record.EventRecorder, scheme *runtime.Scheme, address string) *Notifier {
	return &Notifier{EventRecorder: recorder, Scheme: scheme, Address: address, queue: newEventQueue(), patience: notificationPatience, pause: firstPause}
}

// CheckEventsAddress returns an error unless events can be posted to an address, or are not to be.
func CheckEventsAddress(address string) error {
	if address == "" || address == AutomaticEventsAddress || address == NoEventsAddress {
		return nil
	}
	parsed, err := url.Parse(address)
	if err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https" {
		return errors.New("it is neither auto nor none nor an http or https URL") // without the address, which may hold a token
	}
	return nil
}

// Event implements record.EventRecorder.
func (n *Notifier) Event(object runtime.Object, kind, reason, message string) {
	n.AnnotatedEventf(object, nil, kind, reason, "%s", message)
}

// Eventf implements record.EventRecorder.
func (n *Notifier) Eventf(object runtime.Object, kind, reason, format string, args ...any) {
	n.AnnotatedEventf(object, nil, kind, reason, format, args...)
}

// AnnotatedEventf implements record.EventRecorder.
func (n *Notifier) AnnotatedEventf(object runtime.Object, annotations map[string]string, kind, reason, format string, args ...any) { //nolint:revive // the interface wants that many
	n.EventRecorder.AnnotatedEventf(object, annotations, kind, reason, format, args...)
	address := n.addressFor(object)
	if address == "" {
		return
	}
	about, err := reference.GetReference(n.Scheme, object)
	if err != nil {
		return // Kubernetes could not have recorded it either
	}
	n.queue.add(&queuedEvent{address: address, recorded: time.Now(), event: forwardedEvent{
		InvolvedObject: *about, Severity: severityOf(kind), Timestamp: metav1.Now(), Message: fmt.Sprintf(format, args...), Reason: reason,
		Metadata: toldBeside(object, annotations), ReportingController: v1.FieldManager, ReportingInstance: hostname(),
	}})
}

// addressFor is where events about an object go, empty for nowhere.
func (n *Notifier) addressFor(object runtime.Object) string {
	switch n.Address {
	case AutomaticEventsAddress:
	case NoEventsAddress:
		return ""
	default:
		return n.Address
	}
	instance, ok := object.(*v1.FluxInstance)
	if !ok || !slices.Contains(instance.Components(), v1.NotificationController) {
		return ""
	}
	return fmt.Sprintf("http://%s.%s.svc.%s./", v1.NotificationController, instance.Namespace, strings.TrimSuffix(instance.Cluster().Domain, "."))
}

// Start forwards events until the context ends. What waits then is lost: it stands in Kubernetes' events all the same.
func (n *Notifier) Start(ctx context.Context) error {
	sender := n.sender()
	for {
		queued := n.queue.next(ctx)
		if queued == nil {
			return nil
		}
		n.forward(ctx, sender, queued)
	}
}

// sender follows no redirects. What is within the cluster it reaches without the proxy of the environment, whatever the domain of the cluster is.
func (n *Notifier) sender() *http.Client {
	sender := &http.Client{Timeout: postTimeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	if transport, ok := http.DefaultTransport.(*http.Transport); ok && n.Address == AutomaticEventsAddress {
		direct := transport.Clone()
		direct.Proxy = nil
		sender.Transport = direct
	}
	return sender
}

// forward posts an event until somebody takes or refuses it, or it is too old.
func (n *Notifier) forward(ctx context.Context, sender *http.Client, queued *queuedEvent) {
	pauses := wait.Backoff{Duration: n.pause, Factor: 2, Cap: lastPause, Steps: 10}
	for {
		outcome, err := post(ctx, sender, queued)
		pause := pauses.Step()
		if outcome == "" && time.Since(queued.recorded)+pause > n.patience {
			outcome = outcomeExpired
		}
		if outcome != "" {
			forwardedEvents.WithLabelValues(outcome).Inc()
			if err != nil {
				log.FromContext(ctx).Info("an event was not forwarded", "reason", queued.event.Reason, "outcome", outcome, "error", err.Error())
			}
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// post sends an event once. The outcome is empty when another try may help.
func post(ctx context.Context, sender *http.Client, queued *queuedEvent) (outcome string, err error) {
	body, err := json.Marshal(queued.event)
	if err != nil {
		return outcomeRefused, fmt.Errorf("writing an event: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, queued.address, bytes.NewReader(body))
	if err != nil {
		return outcomeRefused, fmt.Errorf("forwarding an event: %w", withoutAddress(err))
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := sender.Do(request)
	if err != nil {
		return "", fmt.Errorf("forwarding an event: %w", withoutAddress(err))
	}
	_, _ = io.CopyN(io.Discard, response.Body, maxAnswer) // so that the connection can be used again
	_ = response.Body.Close()                             // it was only read
	switch {
	case response.StatusCode/100 == 2:
		return outcomeSent, nil
	case response.StatusCode == http.StatusTooManyRequests: // this is how notification-controller says that it has the event already
		return outcomeRepeated, nil
	case response.StatusCode >= http.StatusInternalServerError:
		return "", fmt.Errorf("forwarding an event: the answer is %q", response.Status)
	default:
		return outcomeRefused, fmt.Errorf("forwarding an event: the answer is %q", response.Status)
	}
}

// withoutAddress leaves out what may hold a token.
func withoutAddress(err error) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		return wrapped.Err
	}
	return err
}

// severityOf translates a type of Kubernetes events.
func severityOf(kind string) string {
	if kind == corev1.EventTypeWarning {
		return "error"
	}
	return "info"
}

// toldBeside is what is told beside the message: what the caller says, and what the object's author wants to be told with every event.
func toldBeside(object runtime.Object, annotations map[string]string) map[string]string {
	metadata := maps.Clone(annotations)
	if metadata == nil {
		metadata = map[string]string{}
	}
	if annotated, ok := object.(metav1.Object); ok {
		for name, value := range annotated.GetAnnotations() {
			if strings.HasPrefix(name, notificationPrefix) {
				metadata[name] = value
			}
		}
	}
	return metadata
}

// hostname is that of the pod; empty where there is none.
func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	return name
}

var (
	_ record.EventRecorder = (*Notifier)(nil)
	_ manager.Runnable     = (*Notifier)(nil)
)
