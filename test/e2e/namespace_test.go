package e2e

import (
	"context"
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/version"

	"github.com/flux-autopilot/flux-operator/test/site"
)

const (
	// namespaceLimit bounds the way from deleting the operator's namespace to its end.
	namespaceLimit = 2 * time.Minute
	// orderedSince is the minor of Kubernetes from which the pods of a namespace end before its other objects.
	orderedSince = 33
)

func losingItsNamespace() {
	It("removes Flux in time, and keeps what Flux deployed elsewhere", func(ctx context.Context) {
		asInReadme(ctx)
		workload := workloadPod(ctx)
		Expect(finalizersOfSync(ctx)).NotTo(BeEmpty(), "kustomize-controller should hold what would be pruned")
		DeferCleanup(func(ctx context.Context) {
			restartWith(ctx, nil)
			asInReadme(ctx)
			untouched(ctx, workload)
		})
		if minor := minorOfKubernetes(ctx); minor < orderedSince {
			By(fmt.Sprintf("deleting the instance first, as documented: Kubernetes 1.%d takes the operator's rights before its pod", minor))
			absent(ctx)
		}
		began := time.Now()
		must(here.Delete(ctx, namespaceLimit, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: site.Namespace}}))
		GinkgoWriter.Printf("the namespace was gone after %s\n", time.Since(began).Round(time.Second))

		Expect(owned(ctx)).To(BeEmpty())
		leftNothing(ctx)
		untouched(ctx, workload)
		must(answers(ctx, site.FirstState()))
		Expect(get(ctx, workloadKey(site.WorkloadConfig), &corev1.ConfigMap{}).DeletionTimestamp).To(BeNil())
	})
}

// minorOfKubernetes is the minor version of the cluster's node, which is that of its control plane, too.
func minorOfKubernetes(ctx context.Context) uint {
	GinkgoHelper()
	nodes := &corev1.NodeList{}
	must(here.Client.List(ctx, nodes))
	Expect(nodes.Items).NotTo(BeEmpty())
	said, err := version.ParseGeneric(nodes.Items[0].Status.NodeInfo.KubeletVersion)
	must(err)
	return said.Minor()
}
