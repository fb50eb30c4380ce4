package distribution

import (
	"maps"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

const (
	// container is the name of the controller's container in every Deployment.
	container = "manager"
	// fileGroup owns mounted volumes, so that projected cloud credentials can be read by a user who is not root.
	fileGroup = 1337
	// eventsAddress is where controllers send events. The final dot spares the lookups of the DNS search list.
	eventsAddress = "http://notification-controller.flux-system.svc.cluster.local./"
)

func (r Release) deployment(component Component, w workload) *appsv1.Deployment {
	labels := r.labels(component)
	labels["control-plane"] = "controller"
	deployment := &appsv1.Deployment{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"},
		ObjectMeta: metav1.ObjectMeta{Name: component.Name, Labels: labels},
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To[int32](1),
			Selector: &metav1.LabelSelector{MatchLabels: selector(component.Name)},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{
					Labels: r.podLabels(component),
					Annotations: map[string]string{
						"prometheus.io/scrape": "true",
						"prometheus.io/port":   strconv.Itoa(numberMetrics),
					},
				},
				Spec: r.podSpec(component, w),
			},
		},
	}
	if w.servesStorage {
		// Two pods must never write the same volume.
		deployment.Spec.Strategy.Type = appsv1.RecreateDeploymentStrategyType
	}
	return deployment
}

func (r Release) podLabels(component Component) map[string]string {
	labels := selector(component.Name)
	if r.rules[labelledPods] {
		maps.Copy(labels, r.labels(component))
	}
	return labels
}

func (r Release) podSpec(component Component, w workload) corev1.PodSpec {
	spec := corev1.PodSpec{
		ServiceAccountName:            component.Name,
		TerminationGracePeriodSeconds: new(w.graceSeconds),
		SecurityContext:               &corev1.PodSecurityContext{FSGroup: ptr.To[int64](fileGroup)},
		Containers:                    []corev1.Container{r.container(component, w)},
	}
	if w.critical {
		spec.PriorityClassName = criticalPriority
	}
	for _, volume := range w.volumes {
		spec.Volumes = append(spec.Volumes, corev1.Volume{
			Name:         volume.name,
			VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}},
		})
	}
	return spec
}

func (r Release) container(component Component, w workload) corev1.Container {
	c := corev1.Container{
		Name:            container,
		Image:           "fluxcd/" + component.Name + ":" + component.Version,
		ImagePullPolicy: corev1.PullIfNotPresent,
		Args:            args(component.Name, w),
		Env:             r.env(w),
		Ports:           append(w.ports, tcpPort(portMetrics, numberMetrics), tcpPort(portHealth, numberHealth)),
		LivenessProbe:   httpProbe("/healthz", portHealth),
		ReadinessProbe:  httpProbe("/readyz", portHealth),
		Resources:       resources(w.cpuRequest),
		SecurityContext: restricted(),
	}
	if w.servesStorage {
		c.ReadinessProbe = httpProbe("/", portHTTP)
	}
	for _, volume := range w.volumes {
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: volume.name, MountPath: volume.path})
	}
	return c
}

func args(name string, w workload) []string {
	var list []string
	if w.sendsEvents {
		list = append(list, "--events-addr="+eventsAddress)
	}
	list = append(list,
		"--watch-all-namespaces",
		"--log-level=info",
		"--log-encoding=json",
		"--enable-leader-election",
	)
	if w.servesStorage {
		list = append(list,
			"--storage-path=/data",
			"--storage-adv-addr="+name+".$(RUNTIME_NAMESPACE).svc.cluster.local.",
		)
	}
	return list
}

func (r Release) env(w workload) []corev1.EnvVar {
	list := []corev1.EnvVar{{
		Name:      "RUNTIME_NAMESPACE",
		ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.namespace"}},
	}}
	list = append(list, w.env...)
	if r.rules[processorLimitEnv] {
		list = append(list, limitEnv("GOMAXPROCS", "limits.cpu"))
	}
	if r.rules[memoryLimitEnv] {
		list = append(list, limitEnv("GOMEMLIMIT", "limits.memory"))
	}
	return list
}

func limitEnv(name, limit string) corev1.EnvVar {
	return corev1.EnvVar{
		Name: name,
		ValueFrom: &corev1.EnvVarSource{
			ResourceFieldRef: &corev1.ResourceFieldSelector{ContainerName: container, Resource: limit},
		},
	}
}

func httpProbe(path, port string) *corev1.Probe {
	return &corev1.Probe{ProbeHandler: corev1.ProbeHandler{
		HTTPGet: &corev1.HTTPGetAction{Path: path, Port: intstr.FromString(port)},
	}}
}

func resources(cpuRequest string) corev1.ResourceRequirements {
	return corev1.ResourceRequirements{
		Requests: corev1.ResourceList{
			corev1.ResourceCPU:    resource.MustParse(cpuRequest),
			corev1.ResourceMemory: resource.MustParse("64Mi"),
		},
		Limits: corev1.ResourceList{
			corev1.ResourceCPU:    resource.MustParse("1000m"),
			corev1.ResourceMemory: resource.MustParse("1Gi"),
		},
	}
}

// restricted is the security context that the restricted pod security standard asks for, with a read-only root file
// system on top.
func restricted() *corev1.SecurityContext {
	return &corev1.SecurityContext{
		AllowPrivilegeEscalation: new(false),
		ReadOnlyRootFilesystem:   new(true),
		RunAsNonRoot:             new(true),
		Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		SeccompProfile:           &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
}
