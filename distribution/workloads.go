package distribution

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// Names of the Flux controllers.
const (
	SourceController          = "source-controller"
	KustomizeController       = "kustomize-controller"
	HelmController            = "helm-controller"
	NotificationController    = "notification-controller"
	ImageReflectorController  = "image-reflector-controller"
	ImageAutomationController = "image-automation-controller"
	SourceWatcher             = "source-watcher"
)

// Names of container ports, as probes and services refer to them.
const (
	portHTTP    = "http"
	portWebhook = "http-webhook"
	portMetrics = "http-prom"
	portHealth  = "healthz"
)

// Numbers of container ports.
const (
	numberHTTP    = 9090
	numberWebhook = 9292
	numberMetrics = 8080
	numberHealth  = 9440
)

// workload is what sets one controller apart from the others; everything else is the same for all of them.
type workload struct {
	// critical controllers run in the priority class system-cluster-critical.
	critical bool
	// sendsEvents is false for the controller that receives them.
	sendsEvents bool
	// servesStorage controllers keep artifacts on a volume of their own and serve them: they are replaced, not rolled,
	// and are ready when the file server answers.
	servesStorage bool
	// graceSeconds is how long running work may take to end.
	graceSeconds int64
	cpuRequest   string
	env          []corev1.EnvVar
	// ports come before those of metrics and health, which all controllers have.
	ports    []corev1.ContainerPort
	volumes  []volume
	services []service
}

// volume is an empty directory and where it is mounted.
type volume struct{ name, path string }

// service makes a container port reachable as port 80.
type service struct{ name, targetPort, controlPlane string }

// workloadOf returns what is particular to a controller; an unknown name is an error.
func workloadOf(name string) (workload, error) {
	switch name {
	case SourceController:
		w := storageWorkload(service{name: name, targetPort: portHTTP, controlPlane: "controller"})
		// The root file system is read-only, so the update framework of signature checks needs a place to write.
		w.env = []corev1.EnvVar{{Name: "TUF_ROOT", Value: "/tmp/.sigstore"}}
		return w, nil
	case SourceWatcher:
		return storageWorkload(service{name: name, targetPort: portHTTP, controlPlane: name}), nil
	case KustomizeController:
		return reconcilerWorkload(60), nil
	case HelmController:
		// Long, because a killed install or upgrade leaves a Helm release pending.
		return reconcilerWorkload(600), nil
	case NotificationController:
		return notificationWorkload(), nil
	case ImageReflectorController:
		w := plainWorkload()
		w.volumes = append(w.volumes, volume{"data", "/data"})
		return w, nil
	case ImageAutomationController:
		return plainWorkload(), nil
	}
	return workload{}, fmt.Errorf("finding workload %q: not a Flux controller", name)
}

func plainWorkload() workload {
	return workload{
		sendsEvents:  true,
		graceSeconds: 10,
		cpuRequest:   "100m",
		volumes:      []volume{{"temp", "/tmp"}},
	}
}

func reconcilerWorkload(graceSeconds int64) workload {
	w := plainWorkload()
	w.critical = true
	w.graceSeconds = graceSeconds
	return w
}

func storageWorkload(files service) workload {
	return workload{
		critical:      true,
		sendsEvents:   true,
		servesStorage: true,
		graceSeconds:  10,
		cpuRequest:    "50m",
		ports:         []corev1.ContainerPort{tcpPort(portHTTP, numberHTTP)},
		volumes:       []volume{{"data", "/data"}, {"tmp", "/tmp"}},
		services:      []service{files},
	}
}

func notificationWorkload() workload {
	w := plainWorkload()
	w.sendsEvents = false
	w.ports = []corev1.ContainerPort{tcpPort(portHTTP, numberHTTP), tcpPort(portWebhook, numberWebhook)}
	w.services = []service{
		{name: NotificationController, targetPort: portHTTP, controlPlane: "controller"},
		{name: "webhook-receiver", targetPort: portWebhook, controlPlane: "controller"},
	}
	return w
}

func tcpPort(name string, number int32) corev1.ContainerPort {
	return corev1.ContainerPort{Name: name, ContainerPort: number, Protocol: corev1.ProtocolTCP}
}
