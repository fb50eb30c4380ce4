package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fluxcd/pkg/apis/kustomize"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/test/site"
)

const (
	// chatPort is where pods reach what plays the part of a chat.
	chatPort = 3940
	// hearLimit bounds the way of an event to the chat: notification-controller may have to wait for a lease that was not given back, and the operator
	// pauses between its attempts.
	hearLimit = 2 * time.Minute
	// listens is a label of the node.
	listens = "e2e.example.com/listens"
)

// alerting sends events about the instance to the chat.
const alerting = `
apiVersion: notification.toolkit.fluxcd.io/v1beta3
kind: Provider
metadata: {name: chat, namespace: flux-system}
spec: {type: generic, address: "http://%s/"}
---
apiVersion: notification.toolkit.fluxcd.io/v1beta3
kind: Alert
metadata: {name: operator, namespace: flux-system}
spec:
  providerRef: {name: chat}
  eventSources:
  - {kind: FluxInstance, name: flux}
`

// hooking has notification-controller ask for a pass of the instance when somebody posts to it.
const hooking = `
apiVersion: v1
kind: Secret
metadata: {name: hook, namespace: flux-system}
stringData: {token: testbed}
---
apiVersion: notification.toolkit.fluxcd.io/v1
kind: Receiver
metadata: {name: operator, namespace: flux-system}
spec:
  type: generic
  secretRef: {name: hook}
  resources:
  - {apiVersion: fluxcd.controlplane.io/v1, kind: FluxInstance, name: flux}
`

func notifying() {
	var heard *chat
	var manifests string
	BeforeAll(func(ctx context.Context) {
		heard = &chat{}
		server := httptest.NewServer(heard)
		DeferCleanup(server.Close)
		door, err := here.Cluster.Expose(context.WithoutCancel(ctx), server.Listener.Addr().String(), chatPort)
		must(err)
		DeferCleanup(door.Close)
		manifests = fmt.Sprintf(alerting, door.Inside)
	})
	asked := func(ctx context.Context, manifests string) {
		GinkgoHelper()
		accepted(ctx, manifests)
		DeferCleanup(func(ctx context.Context) {
			for _, obj := range parse(manifests) {
				must(here.Delete(ctx, soonLimit, obj))
			}
		})
	}

	It("tells those who asked for it of what becomes of the instance", func(ctx context.Context) {
		asInReadme(ctx)
		DeferCleanup(asInReadme)
		asked(ctx, manifests)
		change(ctx, labelAll("e2e-told"))
		revision := ready(ctx).Status.LastAppliedRevision
		eventually(ctx, hearLimit, "the chat to hear of it", func(context.Context) error {
			return heard.of(v1.ReasonReconciliationSucceeded, "Flux v2.9.4 reconfigured", revision)
		})
	})

	It("looks at the instance when a webhook asks for it", func(ctx context.Context) {
		asInReadme(ctx)
		before, err := here.Instance(ctx)
		must(err)
		asked(ctx, hooking)
		receiver := parse(hooking)[1]
		var path string
		eventually(ctx, soonLimit, "the receiver to have an address", func(ctx context.Context) error {
			if _, _, err := readiness(ctx, receiver); err != nil {
				return err
			}
			var err error
			path, _, err = unstructured.NestedString(receiver.Object, "status", "webhookPath")
			return errors.Join(err, same(strings.HasPrefix(path, "/hook/"), true))
		})
		eventually(ctx, soonLimit, "the receiver to know its address itself", func(ctx context.Context) error {
			_, err := here.Cluster.Kubectl(ctx, "{}", "create", "-f", "-", "--raw", "/api/v1/namespaces/"+site.Namespace+"/services/http:webhook-receiver:80/proxy"+path)
			return err
		})
		eventually(ctx, soonLimit, "the operator to answer the webhook", func(ctx context.Context) error {
			instance, err := here.Instance(ctx)
			if err == nil && instance.Status.LastHandledReconcileAt == before.Status.LastHandledReconcileAt {
				err = errors.New("it has not")
			}
			return err
		})
	})

	It("tells those who asked for it early of the install itself, and of the upgrade", func(ctx context.Context) {
		absent(ctx)
		instance := sample()
		instance.Spec.Distribution.Version = "2.9.2"
		instance.Spec.Kustomize = heldBack()
		must(here.Client.Create(ctx, instance))
		accepted(ctx, manifests) // as soon as the kinds are defined, before anybody can listen
		Expect(available(ctx, key("notification-controller"))).NotTo(Succeed(), "somebody listens already")
		letRun(ctx)
		revision := ready(ctx).Status.LastAppliedRevision
		eventually(ctx, hearLimit, "the chat to hear of the install", func(context.Context) error {
			return heard.of(v1.ReasonReconciliationSucceeded, "Flux v2.9.2 installed\n", revision)
		})

		asInReadme(ctx)
		revision = ready(ctx).Status.LastAppliedRevision
		eventually(ctx, hearLimit, "the chat to hear of the upgrade", func(context.Context) error {
			return heard.of(v1.ReasonReconciliationSucceeded, "Flux v2.9.4 installed, before it was v2.9.2\n", revision)
		})
		for _, obj := range parse(manifests) { // without waiting: a new notification-controller works only when the lease of the old one is over
			must(here.Client.Delete(ctx, obj))
		}
	})
}

// heldBack keeps notification-controller from running until the node has a label.
func heldBack() *v1.Kustomize {
	return &v1.Kustomize{Patches: []kustomize.Patch{{
		Patch:  `[{"op": "add", "path": "/spec/template/spec/nodeSelector/` + strings.ReplaceAll(listens, "/", "~1") + `", "value": "yes"}]`,
		Target: &kustomize.Selector{Kind: "Deployment", Name: "notification-controller"},
	}}}
}

// letRun gives the node that label until the end of the spec.
func letRun(ctx context.Context) {
	GinkgoHelper()
	nodes := &corev1.NodeList{}
	must(here.Client.List(ctx, nodes))
	Expect(nodes.Items).To(HaveLen(1))
	label := func(ctx context.Context, value string) {
		GinkgoHelper()
		patch := fmt.Sprintf(`{"metadata": {"labels": {%q: %s}}}`, listens, value)
		must(here.Client.Patch(ctx, &nodes.Items[0], client.RawPatch(types.MergePatchType, []byte(patch))))
	}
	label(ctx, `"yes"`)
	DeferCleanup(label, "null")
}

// accepted applies objects as soon as their kinds are defined.
func accepted(ctx context.Context, manifests string) {
	GinkgoHelper()
	for _, obj := range parse(manifests) {
		eventually(ctx, installLimit, obj.GetKind()+" to be accepted", func(ctx context.Context) error { return here.Apply(ctx, obj) })
	}
}

// heardEvent is an event as a webhook gets it.
type heardEvent struct {
	InvolvedObject                                 corev1.ObjectReference
	Severity, Reason, Message, ReportingController string
	Metadata                                       map[string]string
}

// chat keeps what it is told.
type chat struct {
	mu     sync.Mutex
	events []heardEvent
}

// ServeHTTP takes an event.
func (c *chat) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	var event heardEvent
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err == nil {
		err = json.Unmarshal(body, &event)
	}
	if err != nil {
		rw.WriteHeader(http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events = append(c.events, event)
}

// of returns an error unless there is an event about the instance that begins with some words and has all the values beside them.
func (c *chat) of(reason, words string, values ...string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.events {
		about := e.InvolvedObject.Kind == v1.FluxInstanceKind && e.InvolvedObject.Namespace == site.Namespace && e.ReportingController == v1.FieldManager
		if !about || e.Severity != "info" || e.Reason != reason || !strings.HasPrefix(e.Message, words) {
			continue
		}
		beside := slices.Collect(maps.Values(e.Metadata)) // under whatever name: notification-controller shortens them
		if !slices.ContainsFunc(values, func(value string) bool { return !slices.Contains(beside, value) }) {
			return nil
		}
	}
	return fmt.Errorf("it heard %+v", c.events)
}
