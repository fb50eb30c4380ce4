package e2e

import (
	"context"
	"fmt"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
	"github.com/flux-autopilot/flux-operator/test/site"
)

func uninstalling() {
	BeforeAll(asInReadme)

	It("removes Flux and keeps what Flux deployed", func(ctx context.Context) {
		pod := workloadPod(ctx)
		namespace := get(ctx, client.ObjectKey{Name: site.Namespace}, &corev1.Namespace{})
		absent(ctx)
		leftNothing(ctx)
		untouched(ctx, pod)
		must(answers(ctx, site.FirstState()))
		Expect(get(ctx, workloadKey(site.WorkloadConfig), &corev1.ConfigMap{}).DeletionTimestamp).To(BeNil())
		kept := get(ctx, client.ObjectKey{Name: site.Namespace}, &corev1.Namespace{})
		Expect(kept.UID).To(Equal(namespace.UID))
		Expect(kept.Status.Phase).To(Equal(corev1.NamespaceActive))
		must(contains(messages(ctx, v1.ReasonUninstalled), "keeps running"))
	})
}

// leftNothing checks that Flux is gone from the cluster and nothing is stuck on its way out.
func leftNothing(ctx context.Context) {
	GinkgoHelper()
	for id, obj := range owned(ctx) {
		Expect(obj.Kind).To(Equal("Namespace"), "%s is left", id)
	}
	eventually(ctx, soonLimit, "everything that was deleted to be gone", func(ctx context.Context) error {
		objects, err := here.Objects(ctx)
		if err != nil {
			return err
		}
		var left []string
		for i := range objects {
			obj := &objects[i]
			if obj.DeletionTimestamp != nil || strings.HasSuffix(obj.Name, ".toolkit.fluxcd.io") {
				left = append(left, fmt.Sprintf("%s deleted at %v with finalizers %q", id(obj), obj.DeletionTimestamp, obj.Finalizers))
			}
		}
		if len(left) > 0 {
			return fmt.Errorf("left are: %s", strings.Join(left, "; "))
		}
		return nil
	})
}
