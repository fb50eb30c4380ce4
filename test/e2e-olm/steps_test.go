package e2eolm

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/test/olm"
	"github.com/flux-autopilot/flux-operator/test/site"
)

// versions are what the catalogs of this suite offer, all built from this checkout: the one before, this one, and two that cannot be installed,
// one for want of the bundle's image, one for want of the operator's.
var versions struct{ before, now, withoutBundle, withoutImage olm.Version }

// catalogs are their images: each offers one more version than the one before.
var catalogs struct{ before, now, withoutBundle, withoutImage string }

// must fails the spec with the text of an error.
func must(err error) {
	GinkgoHelper()
	if err != nil {
		Fail(err.Error())
	}
}

// publish makes the images of all versions and catalogs.
func publish(ctx context.Context) {
	GinkgoHelper()
	push := func(tag string) string {
		image, err := here.PushOperator(ctx, tag)
		must(err)
		return image
	}
	before, now := push("v0.0.9"), push("v0.1.0")
	nowhere, _, _ := strings.Cut(now, "@")
	versions.before = olm.Version{Number: "0.0.9", Image: before}
	versions.now = olm.Version{Number: "0.1.0", Replaces: "0.0.9", Image: now}
	unheard := fmt.Sprintf("0.2.%d", time.Now().Unix()) // the registry keeps what an earlier run pushed
	versions.withoutBundle = olm.Version{Number: unheard, Replaces: "0.1.0", Image: now}
	versions.withoutImage = olm.Version{Number: "0.3.0", Replaces: unheard, Image: nowhere + "@sha256:" + strings.Repeat("0", 64)}
	all := []olm.Version{versions.before, versions.now, versions.withoutBundle, versions.withoutImage}
	must(manager.Generate(ctx, all...))
	for _, v := range []olm.Version{versions.before, versions.now, versions.withoutImage} {
		must(manager.PushBundle(ctx, v))
	}
	for i, image := range []*string{&catalogs.before, &catalogs.now, &catalogs.withoutBundle, &catalogs.withoutImage} {
		var err error
		*image, err = manager.PushCatalog(ctx, all[i].Number, all[:i+1]...)
		must(err)
	}
}

// measured prints how long something took.
func measured(what string, began time.Time) {
	AddReportEntry(what, fmt.Sprintf("%.1f s", time.Since(began).Seconds()), ReportEntryVisibilityAlways)
}

// sample is the instance of the README.
func sample() *v1.FluxInstance {
	GinkgoHelper()
	instance, err := here.Sample()
	must(err)
	return instance
}

// observed is what is to stay as it is when only the operator changes.
type observed struct {
	generation int64
	objects    map[string]types.UID
	pods       []corev1.Pod
}

// observe looks at the instance, at everything it owns, and at the pods of its controllers.
func observe(ctx context.Context) observed {
	GinkgoHelper()
	instance, err := here.Instance(ctx)
	must(err)
	return observed{generation: instance.Generation, objects: owned(ctx), pods: pods(ctx)}
}

// unchanged checks that nothing was edited, made anew or restarted.
func (o observed) unchanged(ctx context.Context) {
	GinkgoHelper()
	instance, err := here.Instance(ctx)
	must(err)
	Expect(instance.Generation).To(Equal(o.generation))
	Expect(owned(ctx)).To(Equal(o.objects))
	Expect(o.pods).NotTo(BeEmpty())
	for i := range o.pods {
		same(ctx, &o.pods[i])
	}
}

// owned are the identities of what carries the instance's owner labels and is not on its way out.
func owned(ctx context.Context) map[string]types.UID {
	GinkgoHelper()
	objects, err := here.Owned(ctx)
	must(err)
	found := map[string]types.UID{}
	for i := range objects {
		if objects[i].DeletionTimestamp == nil {
			found[objects[i].Kind+"/"+objects[i].Namespace+"/"+objects[i].Name] = objects[i].UID
		}
	}
	return found
}

// pods are those of Flux that are not on their way out.
func pods(ctx context.Context) []corev1.Pod {
	GinkgoHelper()
	list := &corev1.PodList{}
	must(here.Client.List(ctx, list, client.InNamespace(site.Namespace), client.HasLabels{"app"}))
	return slices.DeleteFunc(list.Items, func(pod corev1.Pod) bool { return pod.DeletionTimestamp != nil })
}

// operatorPod waits until the operator runs in one pod, of an image.
func operatorPod(ctx context.Context, image string) *corev1.Pod {
	GinkgoHelper()
	var pod *corev1.Pod
	must(here.Await(ctx, installLimit, "the operator to run in one pod of "+image, func(ctx context.Context) error {
		found, err := here.OperatorPod(ctx)
		if err == nil && found.Spec.Containers[0].Image != image {
			err = fmt.Errorf("it runs %s", found.Spec.Containers[0].Image)
		}
		pod = found
		return err
	}))
	return pod
}

// same checks that a pod runs as before, never restarted since.
func same(ctx context.Context, pod *corev1.Pod) {
	GinkgoHelper()
	now := &corev1.Pod{}
	must(here.Client.Get(ctx, client.ObjectKeyFromObject(pod), now))
	Expect(now.UID).To(Equal(pod.UID))
	Expect(now.DeletionTimestamp).To(BeNil())
	Expect(now.Status.ContainerStatuses[0].RestartCount).To(Equal(pod.Status.ContainerStatuses[0].RestartCount))
}

// acts checks that an operator is there that answers a request for a pass, and finds the instance ready.
func acts(ctx context.Context) {
	GinkgoHelper()
	now := time.Now().Format(time.RFC3339Nano)
	_, err := here.Change(ctx, func(i *v1.FluxInstance) {
		if i.Annotations == nil {
			i.Annotations = map[string]string{}
		}
		i.Annotations[meta.ReconcileRequestAnnotation] = now
	})
	must(err)
	must(here.Await(ctx, installLimit, "the request to be answered", func(ctx context.Context) error {
		instance, err := here.Instance(ctx)
		if err == nil && instance.Status.LastHandledReconcileAt != now {
			err = fmt.Errorf("the last one answered is %q", instance.Status.LastHandledReconcileAt)
		}
		return err
	}))
	_, err = here.AwaitReady(ctx, installLimit)
	must(err)
}
