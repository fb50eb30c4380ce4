package distribution

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func (r Release) service(component Component, s service) *corev1.Service {
	labels := r.labels(component)
	labels["control-plane"] = s.controlPlane
	return &corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: metav1.ObjectMeta{Name: s.name, Labels: labels},
		Spec: corev1.ServiceSpec{
			Type:     corev1.ServiceTypeClusterIP,
			Selector: selector(component.Name),
			Ports: []corev1.ServicePort{{
				Name:       portHTTP,
				Port:       80,
				Protocol:   corev1.ProtocolTCP,
				TargetPort: intstr.FromString(s.targetPort),
			}},
		},
	}
}
