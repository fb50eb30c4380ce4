package monitoring

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// built renders a folder as kubectl does, by kind and name.
func built(t *testing.T, parts ...string) map[string][]byte {
	t.Helper()
	rendered, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), at(t, parts...))
	if err != nil {
		t.Fatal(err)
	}
	objects := map[string][]byte{}
	for _, resource := range rendered.Resources() {
		data, err := resource.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		objects[resource.GetKind()+"/"+resource.GetName()] = data
	}
	return objects
}

// read reads an object that has to be there, with every field known.
func read[T any](t *testing.T, objects map[string][]byte, id string) T {
	t.Helper()
	var object T
	if err := yaml.UnmarshalStrict(objects[id], &object); err != nil || objects[id] == nil {
		t.Fatalf("reading %s of %d objects: %v", id, len(objects), err)
	}
	return object
}

// monitor are the fields of a ServiceMonitor or PodMonitor that are used. Those through which it would read files of Prometheus are not among
// them: user-workload monitoring of OpenShift refuses a monitor that has one.
type monitor struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`

	Spec struct {
		Selector            metav1.LabelSelector `json:"selector"`
		Endpoints           []endpoint           `json:"endpoints"`
		PodMetricsEndpoints []endpoint           `json:"podMetricsEndpoints"`
	} `json:"spec"`
}

type endpoint struct {
	Port          string `json:"port"`
	Scheme        string `json:"scheme"`
	Interval      string `json:"interval"`
	Authorization struct {
		Type        string                   `json:"type"`
		Credentials corev1.SecretKeySelector `json:"credentials"`
	} `json:"authorization"`
	TLSConfig struct {
		InsecureSkipVerify bool `json:"insecureSkipVerify"`
	} `json:"tlsConfig"`
}

func TestServiceMonitorFindsTheOperator(t *testing.T) {
	monitoring, operator := built(t, "config", "monitoring"), built(t, "config", "default")
	found := read[monitor](t, monitoring, "ServiceMonitor/flux-operator")
	service := read[corev1.Service](t, operator, "Service/flux-operator")
	pod := read[appsv1.Deployment](t, operator, "Deployment/flux-operator").Spec.Template
	wanted := found.Spec.Endpoints[0]
	checkSelects(t, &found.Spec.Selector, service.Labels)
	if service.Namespace != found.Namespace || !slices.ContainsFunc(service.Spec.Ports, func(p corev1.ServicePort) bool { return p.Name == wanted.Port }) {
		t.Errorf("Service %s/%s has no port %q, or is elsewhere", service.Namespace, service.Name, wanted.Port)
	}
	if wanted.Scheme != "https" || !wanted.TLSConfig.InsecureSkipVerify {
		t.Errorf("the operator serves HTTPS with a certificate of its own, the monitor asks for %+v", wanted)
	}
	policy := read[networkingv1.NetworkPolicy](t, monitoring, "NetworkPolicy/flux-operator")
	checkSelects(t, &policy.Spec.PodSelector, pod.Labels)
	for _, rule := range policy.Spec.Ingress {
		for _, port := range rule.Ports {
			if !slices.ContainsFunc(pod.Spec.Containers[0].Ports, func(p corev1.ContainerPort) bool { return p.Name == port.Port.String() }) {
				t.Errorf("the NetworkPolicy opens the port %s, which the operator does not have", port.Port)
			}
		}
	}
	if len(policy.Spec.Ingress) != len(pod.Spec.Containers[0].Ports) {
		t.Errorf("the NetworkPolicy has %d rules for %d ports", len(policy.Spec.Ingress), len(pod.Spec.Containers[0].Ports))
	}
}

func TestServiceMonitorMayScrape(t *testing.T) {
	monitoring, operator := built(t, "config", "monitoring"), built(t, "config", "default")
	authorization := read[monitor](t, monitoring, "ServiceMonitor/flux-operator").Spec.Endpoints[0].Authorization
	secret := read[corev1.Secret](t, monitoring, "Secret/"+authorization.Credentials.Name)
	account := secret.Annotations[corev1.ServiceAccountNameKey]
	if authorization.Type != "Bearer" || authorization.Credentials.Key != corev1.ServiceAccountTokenKey || secret.Type != corev1.SecretTypeServiceAccountToken {
		t.Errorf("the token is %+v of a Secret of type %s", authorization, secret.Type)
	}
	read[corev1.ServiceAccount](t, monitoring, "ServiceAccount/"+account)
	binding := read[rbacv1.ClusterRoleBinding](t, monitoring, "ClusterRoleBinding/"+account)
	if subject := binding.Subjects[0]; subject.Name != account || subject.Namespace != secret.Namespace {
		t.Errorf("the role is bound to %+v", subject)
	}
	role := read[rbacv1.ClusterRole](t, operator, binding.RoleRef.Kind+"/"+binding.RoleRef.Name)
	if len(role.Rules) != 1 || !slices.Equal(role.Rules[0].NonResourceURLs, []string{"/metrics"}) {
		t.Errorf("the role gives more or less than the metrics: %+v", role.Rules)
	}
}

func TestPodMonitorFindsEveryController(t *testing.T) {
	found := read[monitor](t, built(t, "config", "monitoring"), "PodMonitor/flux-controllers")
	folders, err := filepath.Glob(filepath.Join(distribution(t), "flux", "v*"))
	if err != nil || len(folders) == 0 {
		t.Fatalf("finding releases: %d, %v", len(folders), err)
	}
	controllers := 0
	for _, folder := range folders {
		files, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for document := range strings.SplitSeq(string(data), "\n---\n") {
				if strings.Contains(document, "\nkind: Deployment\n") || strings.HasPrefix(document, "kind: Deployment\n") {
					controllers++
					checkController(t, file, &found, document)
				}
			}
		}
	}
	if controllers < len(folders) {
		t.Errorf("%d controllers in %d releases", controllers, len(folders))
	}
}

func checkController(t *testing.T, file string, found *monitor, document string) {
	t.Helper()
	deployment := read[appsv1.Deployment](t, map[string][]byte{file: []byte(document)}, file)
	checkSelects(t, &found.Spec.Selector, deployment.Spec.Template.Labels)
	port := found.Spec.PodMetricsEndpoints[0].Port
	if !slices.ContainsFunc(deployment.Spec.Template.Spec.Containers[0].Ports, func(p corev1.ContainerPort) bool { return p.Name == port }) {
		t.Errorf("%s: the Deployment %s has no port %q", file, deployment.Name, port)
	}
}

func TestDashboardsAreOffered(t *testing.T) {
	offered := built(t, "config", "monitoring", "dashboards")
	for _, dashboard := range dashboards(t) {
		config := read[corev1.ConfigMap](t, offered, "ConfigMap/flux-dashboard-"+strings.TrimSuffix(dashboard.File, ".json"))
		if config.Data[dashboard.File] == "" || config.Labels["grafana_dashboard"] != "1" {
			t.Errorf("%s: the ConfigMap has the files %d and labels %v", dashboard.File, len(config.Data), config.Labels)
		}
	}
}

func checkSelects(t *testing.T, selector *metav1.LabelSelector, set map[string]string) {
	t.Helper()
	s, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil || s.Empty() || !s.Matches(labels.Set(set)) {
		t.Errorf("%s does not select %v: %v", metav1.FormatLabelSelector(selector), set, err)
	}
}

// distribution is the folder of the generated distribution.
func distribution(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("DISTRIBUTION_DIR"); dir != "" {
		return dir
	}
	dir := at(t, "dist", "distribution")
	if _, err := os.Stat(dir); err != nil {
		t.Fatal(fmt.Errorf("finding the distribution: %w; generate it with: make distribution", err))
	}
	return dir
}
