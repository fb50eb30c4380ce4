package distribution

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

// policies returns the network policies of the release: out to anywhere, in from the own namespace, and from every
// namespace to the metrics and to the webhook receiver.
func (r Release) policies() []any {
	webhooks := fromEveryNamespace()
	if r.rules[webhookPortOnly] {
		webhooks.Ports = onTCP(numberWebhook)
	}
	scraping := fromEveryNamespace()
	scraping.Ports = onTCP(numberMetrics)

	return []any{
		policy("allow-egress", networkingv1.NetworkPolicySpec{
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress},
			Ingress: []networkingv1.NetworkPolicyIngressRule{{
				From: []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{}}},
			}},
			Egress: []networkingv1.NetworkPolicyEgressRule{{}},
		}),
		policy("allow-scraping", ingress(scraping, nil)),
		policy("allow-webhooks", ingress(webhooks, selector(NotificationController))),
	}
}

func policy(name string, spec networkingv1.NetworkPolicySpec) *networkingv1.NetworkPolicy {
	return &networkingv1.NetworkPolicy{
		TypeMeta:   metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy"},
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       spec,
	}
}

// ingress lets traffic in to the pods with the labels, or to all pods without labels.
func ingress(rule networkingv1.NetworkPolicyIngressRule, labels map[string]string) networkingv1.NetworkPolicySpec {
	return networkingv1.NetworkPolicySpec{
		PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
		PodSelector: metav1.LabelSelector{MatchLabels: labels},
		Ingress:     []networkingv1.NetworkPolicyIngressRule{rule},
	}
}

func fromEveryNamespace() networkingv1.NetworkPolicyIngressRule {
	return networkingv1.NetworkPolicyIngressRule{
		From: []networkingv1.NetworkPolicyPeer{{NamespaceSelector: &metav1.LabelSelector{}}},
	}
}

func onTCP(number int) []networkingv1.NetworkPolicyPort {
	return []networkingv1.NetworkPolicyPort{{
		Protocol: ptr.To(corev1.ProtocolTCP),
		Port:     new(intstr.FromInt(number)),
	}}
}
