package apply_test

import (
	"context"
	"errors"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/flux-autopilot/flux-operator/pkg/apply"
)

// rolledOut is the status of a Deployment with one replica.
var rolledOut = map[string]any{
	"observedGeneration": int64(1), "replicas": int64(1), "updatedReplicas": int64(1), "readyReplicas": int64(1), "availableReplicas": int64(1),
	"conditions": []any{
		map[string]any{"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable"},
		map[string]any{"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"},
	},
}

// waitInBackground starts to wait and returns the result and when it came.
func (w *world) waitInBackground(ctx context.Context, objects ...*unstructured.Unstructured) chan error {
	result := make(chan error, 1)
	w.traffic.reset()
	go func() { result <- w.applier.Wait(ctx, objects) }()
	return result
}

const (
	// prompt is by when what follows an event has happened, on a machine of any speed. A wait looks at nothing from time to time: what misses an event
	// goes on until its deadline.
	prompt = 20 * time.Second
	// enough is a deadline by which a wait has seen how things are.
	enough = 5 * time.Second
)

// watching waits until n watches have been opened.
func (w *world) watching(n int) {
	GinkgoHelper()
	Eventually(w.traffic.watchesOpened).Should(Equal(n))
}

func until(ctx context.Context, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(ctx, d)
	DeferCleanup(cancel)
	return ctx
}

var _ = Describe("Wait", func() {
	It("returns when the last object becomes ready", func(ctx SpecContext) {
		w := newWorld(ctx)
		crd, thing, one, two := w.crd(), w.thing("thing"), w.deployment("one"), w.deployment("two")
		objects := []*unstructured.Unstructured{crd, thing, one, two, w.configMap("settings", nil)}
		w.mustApply(ctx, nil, objects...)
		served(ctx, thing)
		result := w.waitInBackground(ctx, objects...)
		w.watching(3)
		setStatus(ctx, w.live(ctx, one), rolledOut)
		ready := map[string]any{"observedGeneration": int64(1), "conditions": []any{map[string]any{"type": "Ready", "status": "True"}}}
		setStatus(ctx, w.live(ctx, thing), ready)
		Consistently(result, 200*time.Millisecond).ShouldNot(Receive())

		setStatus(ctx, w.live(ctx, two), rolledOut)
		last := time.Now()
		Eventually(result).Should(Receive(BeNil()))
		Expect(time.Since(last)).To(BeNumerically("<", prompt))
		Expect(w.traffic.seen("")).To(HaveLen(3), "one watch for each kind and nothing else")
	})

	It("returns at once when everything is ready, and asks nobody about kinds without readiness", func(ctx SpecContext) {
		w := newWorld(ctx)
		claim := w.object(`
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
`)
		objects := []*unstructured.Unstructured{claim, w.configMap("settings", nil)}
		w.mustApply(ctx, nil, objects...)
		w.traffic.reset()
		Expect(w.applier.Wait(until(ctx, patience), objects)).To(Succeed())
		Expect(w.traffic.seen("")).To(BeEmpty())
	})

	It("does not wait for what is held back", func(ctx SpecContext) {
		w := newWorld(ctx)
		paused, crd, suspended := w.deployment("paused"), w.crd(), w.thing("suspended")
		Expect(unstructured.SetNestedField(paused.Object, true, "spec", "paused")).To(Succeed())
		Expect(unstructured.SetNestedField(suspended.Object, true, "spec", "suspend")).To(Succeed())
		w.mustApply(ctx, nil, paused, crd, suspended)
		Expect(w.applier.Wait(until(ctx, patience), []*unstructured.Unstructured{paused, suspended, crd})).To(Succeed())
	})

	It("resumes a watch that the server closes", func(ctx SpecContext) {
		w := newWorld(ctx)
		app := w.deployment("app")
		w.mustApply(ctx, nil, app)
		result := w.waitInBackground(ctx, app)
		for round := range 3 {
			w.watching(round + 1)
			w.traffic.breakWatches()
		}
		w.watching(4)
		setStatus(ctx, w.live(ctx, app), rolledOut)
		last := time.Now()
		Eventually(result).Should(Receive(BeNil()))
		Expect(time.Since(last)).To(BeNumerically("<", prompt))
	})

	It("keeps the cause of a cancelled context, at once and without further requests", func(ctx SpecContext) {
		w := newWorld(ctx)
		app := w.deployment("app")
		w.mustApply(ctx, nil, app)
		interrupted := errors.New("a newer change came")
		ending, end := context.WithCancelCause(ctx)
		result := w.waitInBackground(ending, app)
		w.watching(1)
		w.traffic.reset()
		end(interrupted)
		var err error
		Eventually(result, prompt).Should(Receive(&err))
		Expect(err).To(MatchError(interrupted))
		Expect(err).To(MatchError(context.Canceled))
		Expect(w.traffic.seen("")).To(BeEmpty())
	})

	It("ends with a failure that does not heal", func(ctx SpecContext) {
		w := newWorld(ctx)
		crd, thing, job := w.crd(), w.thing("thing"), w.object(`
apiVersion: batch/v1
kind: Job
metadata: {name: job}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: example.com/c}]}}}
`)
		w.mustApply(ctx, nil, crd, thing, job)
		setStatus(ctx, w.live(ctx, thing), map[string]any{"observedGeneration": int64(1), "conditions": []any{
			map[string]any{"type": "Stalled", "status": "True", "reason": "URLInvalid", "message": "url is\nno url"},
		}})
		err := w.applier.Wait(until(ctx, patience), []*unstructured.Unstructured{thing, job})
		Expect(notReady(err)).To(Equal([]apply.NotReady{{Object: apply.IDOf(thing), Reason: "URLInvalid", Message: "url is no url"}}))
		Expect(err).To(MatchError("one object not ready: Thing/" + w.ns + "/thing: URLInvalid: url is no url"))
		Expect(err).NotTo(MatchError(context.DeadlineExceeded))

		By("failing the Job")
		now := metav1.Now().UTC().Format(time.RFC3339)
		setStatus(ctx, w.live(ctx, job), map[string]any{"startTime": now, "conditions": []any{
			map[string]any{"type": "FailureTarget", "status": "True", "reason": "BackoffLimitExceeded", "lastTransitionTime": now},
			map[string]any{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "lastTransitionTime": now},
		}})
		err = w.applier.Wait(until(ctx, patience), []*unstructured.Unstructured{job})
		Expect(notReady(err)).To(ConsistOf(HaveField("Reason", "BackoffLimitExceeded")))
	})

	It("says what is not ready and why at the deadline", func(ctx SpecContext) {
		w := newWorld(ctx)
		crd, thing, absent := w.crd(), w.thing("thing"), w.deployment("absent")
		refused, failing, fine := w.deployment("refused"), w.deployment("failing"), w.deployment("fine")
		claim := w.object(`
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], storageClassName: slow, resources: {requests: {storage: 1Gi}}}
`)
		w.mustApply(ctx, nil, crd, thing, refused, failing, fine, claim)
		served(ctx, thing)
		setStatus(ctx, w.live(ctx, thing), map[string]any{"observedGeneration": int64(1), "conditions": []any{
			map[string]any{"type": "Reconciling", "status": "True", "reason": "ProgressingWithRetry", "message": "checkout failed"},
			map[string]any{"type": "Ready", "status": "False", "reason": "GitOperationFailed", "message": "authentication required"},
		}})
		setStatus(ctx, w.live(ctx, fine), rolledOut)
		setStatus(ctx, w.live(ctx, refused), map[string]any{"observedGeneration": int64(1), "conditions": []any{
			map[string]any{
				"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate",
				"message": `pods "refused-6d4f-x7k2p" is forbidden: exceeded quota: small, requested: pods=1, used: pods=1, limited: pods=1`,
			},
		}})
		w.pod(ctx, failing, corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{
			Name: "manager", Image: "example.com/failing:v1",
			State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: "rpc error: failed to pull: example.com/failing:v1: not found"}},
		}}})
		objects := []*unstructured.Unstructured{thing, absent, refused, failing, fine, claim, crd}
		started := time.Now()
		err := w.applier.Wait(until(ctx, enough), objects)
		Expect(time.Since(started)).To(BeNumerically("<", enough+prompt))
		Expect(err).To(MatchError(context.DeadlineExceeded))
		Expect(notReady(err)).To(Equal([]apply.NotReady{
			{Object: apply.IDOf(thing), Reason: "GitOperationFailed", Message: "authentication required"},
			{Object: apply.IDOf(absent), Reason: "NotFound", Message: "the object has not been seen, or does not carry the owner labels"},
			{Object: apply.IDOf(refused), Reason: "FailedCreate", Message: "pods is forbidden: exceeded quota: small, requested: pods=1, used: pods=1, limited: pods=1"},
			{Object: apply.IDOf(failing), Reason: "ImagePullBackOff", Message: `container "manager" cannot pull image "example.com/failing:v1": there is no such image`},
			{Object: apply.IDOf(claim), Reason: "ClaimPending", Message: `the claim is not bound to a volume (storage class "slow")`},
		}))
		again := w.applier.Wait(until(ctx, enough), objects)
		Expect(again).To(MatchError(err.Error()), "the text is the same each time")
	})

	It("says so when it may not watch", func(ctx SpecContext) {
		w := newWorld(ctx)
		app := w.deployment("app")
		w.mustApply(ctx, nil, app)
		w.traffic.respond(forbidWatches)
		err := w.applier.Wait(until(ctx, patience), []*unstructured.Unstructured{app})
		Expect(err).To(MatchError(ContainSubstring("watching Deployment: ")))
	})
})

func notReady(err error) []apply.NotReady {
	GinkgoHelper()
	failure, ok := errors.AsType[*apply.NotReadyError](err)
	Expect(ok).To(BeTrue(), "%v", err)
	return failure.Objects
}

// pod creates a pod of a Deployment in a state.
// pod makes a pod as the ReplicaSet of a Deployment would, on a node if the status says that it runs.
func (w *world) pod(ctx context.Context, deployment *unstructured.Unstructured, status corev1.PodStatus) *corev1.Pod {
	GinkgoHelper()
	const hash = "5d4f8c7b9"
	controller := true
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: deployment.GetName() + "-", Namespace: w.ns,
			Labels: map[string]string{"app": deployment.GetName(), "pod-template-hash": hash},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "apps/v1", Kind: "ReplicaSet", Name: deployment.GetName() + "-" + hash, UID: "1", Controller: &controller,
			}},
		},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "manager", Image: "example.com/x"}}},
	}
	if status.Phase == corev1.PodRunning {
		// The API server deletes pods on nodes only when the node says that they ended.
		pod.Spec.NodeName = "node"
	}
	Expect(admin.Create(ctx, pod)).To(Succeed())
	pod.Status = status
	Expect(admin.Status().Update(ctx, pod)).To(Succeed())
	return pod
}
