package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/test/site"
)

const (
	partOf    = "app.kubernetes.io/part-of"
	restarted = "kubectl.kubernetes.io/restartedAt"
	revision  = "deployment.kubernetes.io/revision"
)

// beingContested lets others work on the same objects: those who fight, those who scale and those who restart.
func beingContested() {
	BeforeAll(asInReadme)

	It("gives up a fight over a label, names the other one, and goes on with the rest", func(ctx context.Context) {
		started := time.Now()
		end := rivalOf(ctx, "helm-controller")
		DeferCleanup(func() { end() })
		eventually(ctx, soonLimit, "a word about the fight", func(ctx context.Context) error {
			condition, err := contest(ctx)
			switch {
			case err != nil:
				return err
			case condition == nil:
				return errors.New("the instance says nothing of it")
			}
			return errors.Join(same(condition.Status, metav1.ConditionTrue), same(condition.Reason, v1.ReasonFieldsContested),
				contains([]string{condition.Message}, "Deployment/flux-system/helm-controller (e2e-rival: .metadata.labels."+partOf+")"))
		})
		recorded(ctx, v1.ReasonFieldsContested, "e2e-rival")
		Expect(messages(ctx, v1.ReasonFieldsContested)).To(HaveLen(1))

		By("putting back what somebody else deletes")
		service := get(ctx, key("notification-controller"), &corev1.Service{})
		must(here.Client.Delete(ctx, service.DeepCopy()))
		putBack(ctx, "a Service", func(ctx context.Context) error {
			now := &corev1.Service{}
			err := here.Client.Get(ctx, key(service.Name), now)
			if err == nil && now.UID == service.UID {
				return errors.New("it is still the old one")
			}
			return err
		})
		Expect(get(ctx, key("helm-controller"), &appsv1.Deployment{}).Labels).To(HaveKeyWithValue(partOf, "a-rival"))
		Expect(writesSince(started, "helm-controller")).To(Equal(5))
		ready(ctx)
		deploymentsAvailable(ctx, defaultControllers()...)

		By("asking for another pass once the other one has let go")
		end()
		change(ctx, func(i *v1.FluxInstance) {
			i.Annotations = map[string]string{meta.ReconcileRequestAnnotation: time.Now().Format(time.RFC3339Nano)}
		})
		putBack(ctx, "the label", func(ctx context.Context) error {
			now := &appsv1.Deployment{}
			err := here.Client.Get(ctx, key("helm-controller"), now)
			return errors.Join(err, same(now.Labels[partOf], "flux"))
		})
		eventually(ctx, soonLimit, "the fight to be forgotten", func(ctx context.Context) error {
			condition, err := contest(ctx)
			if err == nil && condition != nil {
				return errors.New(condition.Message)
			}
			return err
		})
	})

	It("leaves the number of pods to an autoscaler until that goes", func(ctx context.Context) {
		DeferCleanup(asInReadme)
		scaler := &autoscalingv2.HorizontalPodAutoscaler{
			ObjectMeta: metav1.ObjectMeta{Namespace: site.Namespace, Name: "kustomize-controller"},
			Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
				MinReplicas: new(int32(2)), MaxReplicas: 3,
				ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "kustomize-controller"},
			},
		}
		must(here.Client.Create(ctx, scaler))
		DeferCleanup(func(ctx context.Context) { must(client.IgnoreNotFound(here.Client.Delete(ctx, scaler))) })
		scaledTo(ctx, 2)
		must(here.AwaitDeployment(ctx, soonLimit, site.Namespace, "kustomize-controller"))

		By("changing something of the same Deployment, and the spec")
		deployment := get(ctx, key("kustomize-controller"), &appsv1.Deployment{})
		before := deployment.DeepCopy()
		deployment.Spec.Template.Spec.Containers[0].Args = []string{"--no-such-flag"}
		must(here.Client.Patch(ctx, deployment, client.MergeFrom(before)))
		putBack(ctx, "the arguments", func(ctx context.Context) error {
			now := &appsv1.Deployment{}
			err := here.Client.Get(ctx, key("kustomize-controller"), now)
			return errors.Join(err, same(now.Spec.Template.Spec.Containers[0].Args, before.Spec.Template.Spec.Containers[0].Args))
		})
		change(ctx, labelAll("e2e-scaled"))
		ready(ctx)
		scaledTo(ctx, 2)

		must(here.Client.Delete(ctx, scaler))
		change(ctx, labelAll("e2e-not-scaled"))
		ready(ctx)
		scaledTo(ctx, 1)
	})

	It("lets kubectl restart a controller, once", func(ctx context.Context) {
		By("letting the second pass in which everything was applied: managed fields tell the time no finer")
		eventually(ctx, soonLimit, "the last change to be some seconds old", func(ctx context.Context) error {
			instance, err := here.Instance(ctx)
			if err == nil && time.Since(instance.Status.History.Latest().LastReconciled.Time) < 3*time.Second {
				err = errors.New("it is not")
			}
			return err
		})
		old := get(ctx, key("source-controller"), &appsv1.Deployment{})
		corrected := len(messages(ctx, v1.ReasonDriftCorrected))
		_, err := here.Cluster.Kubectl(ctx, "", "-n", site.Namespace, "rollout", "restart", "deployment/source-controller")
		must(err)
		_, err = here.Cluster.Kubectl(ctx, "", "-n", site.Namespace, "rollout", "status", "deployment/source-controller", "--timeout=60s")
		must(err)
		now := get(ctx, key("source-controller"), &appsv1.Deployment{})
		Expect(now.Annotations[revision]).NotTo(Equal(old.Annotations[revision]))
		Expect(now.Spec.Template.Annotations).To(HaveKey(restarted))
		Expect(messages(ctx, v1.ReasonDriftCorrected)).To(HaveLen(corrected), "a restart is nothing to put back")

		By("having every object applied again")
		change(ctx, labelAll("e2e-restarted"))
		ready(ctx)
		again := get(ctx, key("source-controller"), &appsv1.Deployment{})
		Expect(again.Labels).To(HaveKeyWithValue("team", "e2e-restarted"))
		Expect(again.Spec.Template.Annotations).To(HaveKeyWithValue(restarted, now.Spec.Template.Annotations[restarted]))
		asInReadme(ctx)
	})
}

// rivalOf sets a label of a Deployment whenever it is put back, until the returned function is called.
func rivalOf(ctx context.Context, name string) (end func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"labels":{%q:"a-rival"}}}`, partOf))
	go func() {
		defer GinkgoRecover()
		defer close(done)
		ticker := time.NewTicker(100 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: site.Namespace, Name: name}}
			err := here.Client.Patch(ctx, deployment, patch, client.FieldOwner("e2e-rival"))
			if ctx.Err() == nil {
				must(err)
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// contest is what the instance says of a fight, nil if there is none.
func contest(ctx context.Context) (*metav1.Condition, error) {
	instance, err := here.Instance(ctx)
	if err != nil {
		return nil, err
	}
	return apimeta.FindStatusCondition(instance.Status.Conditions, v1.ContestedCondition), nil
}

// writesSince counts how often the operator has written a Deployment since then.
func writesSince(since time.Time, name string) int {
	GinkgoHelper()
	requests, err := here.Requests(site.OperatorUser, since)
	must(err)
	written := 0
	for _, r := range requests {
		path, _, _ := strings.Cut(r.URI, "?")
		if r.Verb == "patch" && r.Code == http.StatusOK && strings.HasSuffix(path, "/deployments/"+name) {
			written++
		}
	}
	return written
}

func scaledTo(ctx context.Context, pods int32) {
	GinkgoHelper()
	eventually(ctx, soonLimit, fmt.Sprintf("kustomize-controller to have %d pods", pods), func(ctx context.Context) error {
		now := &appsv1.Deployment{}
		if err := here.Client.Get(ctx, key("kustomize-controller"), now); err != nil {
			return err
		}
		return same(*now.Spec.Replicas, pods)
	})
}

// labelAll gives every object a label, so that each is applied.
func labelAll(team string) func(*v1.FluxInstance) {
	return func(i *v1.FluxInstance) {
		i.Spec.CommonMetadata = &v1.CommonMetadata{Labels: map[string]string{"team": team}}
	}
}
