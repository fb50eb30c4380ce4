package controllers_test

import (
	"context"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

func replicasOf(ctx context.Context, name string) int32 {
	GinkgoHelper()
	deployment := &appsv1.Deployment{}
	Expect(exists(ctx, deployment, name)).To(Succeed())
	return *deployment.Spec.Replicas
}

// relabel changes something of all objects, so that the next pass applies them.
func relabel(ctx context.Context, value string) {
	GinkgoHelper()
	change(ctx, func(in *v1.FluxInstance) {
		in.Spec.CommonMetadata = &v1.CommonMetadata{Labels: map[string]string{"team": value}}
	})
	expectReady(ctx)
	deployment := &appsv1.Deployment{}
	Expect(exists(ctx, deployment, "kustomize-controller")).To(Succeed())
	Expect(deployment.Labels).To(HaveKeyWithValue("team", value))
}

// verticalDefinition defines VerticalPodAutoscalers, with all that a test needs of them.
func verticalDefinition() *apiextensionsv1.CustomResourceDefinition {
	preserve := true
	return &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{
			Name:        "verticalpodautoscalers.autoscaling.k8s.io",
			Annotations: map[string]string{"api-approved.kubernetes.io": "unapproved, for a test"},
		},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: "autoscaling.k8s.io", Scope: apiextensionsv1.NamespaceScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Kind: "VerticalPodAutoscaler", Plural: "verticalpodautoscalers"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: "v1", Served: true, Storage: true,
				Schema: &apiextensionsv1.CustomResourceValidation{
					OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object", XPreserveUnknownFields: &preserve},
				},
			}},
		},
	}
}

var _ = Describe("Autoscalers", Ordered, func() {
	var stop func()

	BeforeAll(func() { stop = startOperator() })
	AfterAll(func() { stop() })
	AfterEach(letGo)

	It("decide how many pods run, also when they come later, until they go", func(ctx SpecContext) {
		Expect(k8s.Create(ctx, newInstance(nil))).To(Succeed())
		expectReady(ctx)
		corrected := told(ctx, v1.ReasonDriftCorrected)
		scaler := &autoscalingv2.HorizontalPodAutoscaler{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "kustomize-controller"},
			Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
				MaxReplicas:    5,
				ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "kustomize-controller"},
			},
		}
		Expect(k8s.Create(ctx, scaler)).To(Succeed())
		deployment := &appsv1.Deployment{}
		Expect(exists(ctx, deployment, "kustomize-controller")).To(Succeed())
		scale := &autoscalingv1.Scale{Spec: autoscalingv1.ScaleSpec{Replicas: 3}}
		Expect(k8s.SubResource("scale").Update(ctx, deployment, client.WithSubResourceBody(scale), client.FieldOwner("kube-controller-manager"))).To(Succeed())
		becomeAvailable(ctx)
		Consistently(func() int32 { return replicasOf(ctx, "kustomize-controller") }, 2*time.Second, tick).Should(BeEquivalentTo(3))
		relabel(ctx, "one")
		Expect(replicasOf(ctx, "kustomize-controller")).To(BeEquivalentTo(3))
		Expect(told(ctx, v1.ReasonDriftCorrected)).To(Equal(corrected))

		Expect(k8s.Delete(ctx, scaler)).To(Succeed())
		relabel(ctx, "two")
		Expect(replicasOf(ctx, "kustomize-controller")).To(BeEquivalentTo(1))
	})

	It("decide how much a pod may use", func(ctx SpecContext) {
		definition := verticalDefinition()
		Expect(k8s.Create(ctx, definition)).To(Succeed())
		DeferCleanup(func(ctx SpecContext) {
			Expect(k8s.Delete(ctx, definition)).To(Succeed())
			Eventually(func() bool {
				return apierrors.IsNotFound(k8s.Get(ctx, client.ObjectKeyFromObject(definition), &apiextensionsv1.CustomResourceDefinition{}))
			}, soon, tick).Should(BeTrue())
		})
		scaler := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "autoscaling.k8s.io/v1", "kind": "VerticalPodAutoscaler",
			"metadata": map[string]any{"namespace": namespace, "name": "kustomize-controller"},
			"spec": map[string]any{
				"targetRef": map[string]any{"apiVersion": "apps/v1", "kind": "Deployment", "name": "kustomize-controller"},
			},
		}}
		Eventually(func() error { return k8s.Create(ctx, scaler) }, soon, tick).Should(Succeed())
		Expect(k8s.Create(ctx, newInstance(nil))).To(Succeed())
		expectReady(ctx)
		memory := func() string {
			deployment := &appsv1.Deployment{}
			Expect(exists(ctx, deployment, "kustomize-controller")).To(Succeed())
			return deployment.Spec.Template.Spec.Containers[0].Resources.Limits.Memory().String()
		}
		Expect(memory()).To(Equal("1Gi"), "what the release has")

		deployment := &appsv1.Deployment{}
		Expect(exists(ctx, deployment, "kustomize-controller")).To(Succeed())
		base := deployment.DeepCopy()
		deployment.Spec.Template.Spec.Containers[0].Resources.Limits[corev1.ResourceMemory] = resource.MustParse("3Gi")
		Expect(k8s.Patch(ctx, deployment, client.StrategicMergeFrom(base), client.FieldOwner("recommender"))).To(Succeed())
		relabel(ctx, "one")
		Expect(memory()).To(Equal("3Gi"))

		Expect(k8s.Delete(ctx, scaler)).To(Succeed())
		relabel(ctx, "two")
		Expect(memory()).To(Equal("1Gi"))
	})
})
