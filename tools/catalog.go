package tools

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// binary says where a program comes from.
type binary struct {
	// family is the folder below tools/ that pins it.
	family string
	// pkg is the import path of its main package.
	pkg string
	// module is the module whose version is stamped into it.
	module string
	// tags are the build tags it needs.
	tags []string
	// stamps are the variables that receive the version, as "path.name=value" with the placeholders of [expand].
	stamps []string
}

const (
	kubernetesModule  = "k8s.io/kubernetes"
	defaultKubernetes = "1.36"
)

// KubernetesVersions lists the Kubernetes minors that have a family of their own, newest first; the first is the default.
func KubernetesVersions() []string {
	return []string{"1.36", "1.35", "1.34", "1.33", "1.32"}
}

// fluxVersions maps a Flux controller to its versions, the default first: those of Flux 2.9.4, then those of Flux 2.9.2.
func fluxVersions() map[string][]string {
	return map[string][]string{
		"source-controller":       {"1.9.4", "1.9.3"},
		"kustomize-controller":    {"1.9.4", "1.9.3"},
		"helm-controller":         {"1.6.3", "1.6.2"},
		"notification-controller": {"1.9.3", "1.9.2"},
	}
}

// catalog returns every program that can be built, by name.
func catalog() map[string]binary {
	all := map[string]binary{
		"kwok": {
			family: "kwok", pkg: "sigs.k8s.io/kwok/cmd/kwok", module: "sigs.k8s.io/kwok",
			stamps: []string{"sigs.k8s.io/kwok/pkg/consts.Version={version}"},
		},
		"coredns": {family: "coredns", pkg: "github.com/coredns/coredns", module: "github.com/coredns/coredns"},
		"kube-state-metrics": {
			family: "kube-state-metrics", pkg: "k8s.io/kube-state-metrics/v2", module: "k8s.io/kube-state-metrics/v2",
			stamps: []string{"github.com/prometheus/common/version.Version={version}"},
		},
		"grpc_health_probe": {
			family: "grpc-health-probe", pkg: "github.com/grpc-ecosystem/grpc-health-probe", module: "github.com/grpc-ecosystem/grpc-health-probe",
		},
		"golangci-lint": {
			family: "golangci-lint", pkg: "github.com/golangci/golangci-lint/v2/cmd/golangci-lint", module: "github.com/golangci/golangci-lint/v2",
			stamps: []string{"main.version={number}"},
		},
		"opm": {
			family: "opm", pkg: "github.com/operator-framework/operator-registry/cmd/opm", module: "github.com/operator-framework/operator-registry",
			tags:   append(containersTags(), "exclude_graphdriver_devicemapper", "json1"),
			stamps: []string{"github.com/operator-framework/operator-registry/cmd/opm/version.opmVersion={version}"},
		},
	}
	maps.Copy(all, operatorSDK())
	maps.Copy(all, certification())
	maps.Copy(all, lifecycleManager())
	for _, suffix := range controllerGenSuffixes() {
		all["controller-gen"+suffix] = controllerGen(suffix)
	}
	for _, minor := range KubernetesVersions() {
		maps.Copy(all, kubernetes(minor))
	}
	for controller, versions := range fluxVersions() {
		for i, version := range versions {
			name, family := controller, "flux-"+controller
			if i > 0 {
				name, family = controller+"@"+version, family+"-"+version
			}
			module := "github.com/fluxcd/" + controller
			all[name] = binary{family: family, pkg: module, module: module}
		}
	}
	const watcher = "github.com/fluxcd/source-watcher/v2"
	all["source-watcher"] = binary{family: "flux-source-watcher", pkg: watcher + "/cmd", module: watcher}
	return all
}

// controllerGenSuffixes lists the controller-gen versions there are: the one that everything uses, then those that
// wrote the CRDs of Flux 2.2 and of Flux 2.3.
func controllerGenSuffixes() []string {
	return []string{"", "@0.12", "@0.15"}
}

// controllerGen returns the generator of one version; the linker ignores the stamp where the version has no such variable.
func controllerGen(suffix string) binary {
	return binary{
		family: "controller-gen" + strings.Replace(suffix, "@", "-", 1),
		pkg:    "sigs.k8s.io/controller-tools/cmd/controller-gen",
		module: "sigs.k8s.io/controller-tools",
		stamps: []string{"sigs.k8s.io/controller-tools/pkg/version.version={version}"},
	}
}

// operatorSDK returns the generator and validator of bundles, and the tests that its scorecard runs inside a pod. The versions are stamped, because
// they are written into what is generated: without them it carries the word unknown.
func operatorSDK() map[string]binary {
	const module = "github.com/operator-framework/operator-sdk"
	all := map[string]binary{}
	for name, pkg := range map[string]string{"operator-sdk": "cmd/operator-sdk", "scorecard-test": "images/scorecard-test"} {
		var stamps []string
		for _, variable := range []string{"Version", "GitVersion", "ImageVersion"} {
			stamps = append(stamps, module+"/internal/version."+variable+"={version}")
		}
		all[name] = binary{family: "operator-sdk", pkg: module + "/" + pkg, module: module, tags: containersTags(), stamps: stamps}
	}
	return all
}

// lifecycleManager returns the two operators of the Operator Lifecycle Manager, and the two programs that its unpack Jobs and catalogs copy with.
func lifecycleManager() map[string]binary {
	const module = "github.com/operator-framework/operator-lifecycle-manager"
	all := map[string]binary{}
	for name, pkg := range map[string]string{"olm": "cmd/olm", "catalog": "cmd/catalog", "copy-content": "cmd/copy-content", "cpb": "util/cpb"} {
		all[name] = binary{
			family: "olm", pkg: module + "/" + pkg, module: module, tags: append(containersTags(), "exclude_graphdriver_devicemapper"),
			stamps: []string{module + "/pkg/version.OLMVersion={number}"},
		}
	}
	return all
}

// certification returns what says of which modules an image is made, and what judges images and bundles as OpenShift's certification does.
func certification() map[string]binary {
	const preflight = "github.com/redhat-openshift-ecosystem/openshift-preflight"
	const cyclonedx = "github.com/CycloneDX/cyclonedx-gomod"
	return map[string]binary{
		"preflight": {
			family: "preflight", pkg: preflight + "/cmd/preflight", module: preflight, tags: append(containersTags(), "exclude_graphdriver_devicemapper"),
			stamps: []string{preflight + "/version.version={number}", preflight + "/version.commit=module"},
		},
		"cyclonedx-gomod": {family: "cyclonedx-gomod", pkg: cyclonedx + "/cmd/cyclonedx-gomod", module: cyclonedx},
	}
}

// containersTags keep the image libraries of the Operator Framework free of C libraries, which nothing here asks of them.
func containersTags() []string {
	return []string{"containers_image_openpgp", "exclude_graphdriver_btrfs"}
}

// kubernetes returns the programs of one Kubernetes minor.
func kubernetes(minor string) map[string]binary {
	all := map[string]binary{}
	for _, name := range []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl"} {
		b := binary{
			family: "kubernetes-" + minor, pkg: kubernetesModule + "/cmd/" + name, module: kubernetesModule,
			stamps: kubernetesStamps(),
		}
		if name == "etcd" {
			b.pkg, b.stamps = "go.etcd.io/etcd/server/v3", nil
		}
		all[Versioned(name, minor)] = b
	}
	return all
}

// kubernetesStamps fills both version packages: the binaries report one of them, their client libraries send the other as user agent.
func kubernetesStamps() []string {
	var stamps []string
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		stamps = append(stamps,
			pkg+".gitVersion={version}", pkg+".gitMajor={major}", pkg+".gitMinor={minor}",
			pkg+".gitTreeState=clean", pkg+".gitCommit=module", pkg+".buildDate=1970-01-01T00:00:00Z")
	}
	return stamps
}

// expand replaces {version} (v1.36.3), {number} (1.36.3), {major} and {minor} in a stamp.
func expand(stamp, version string) string {
	number := strings.TrimPrefix(version, "v")
	parts := strings.SplitN(number+"..", ".", 3)
	return strings.NewReplacer("{version}", version, "{number}", number, "{major}", parts[0], "{minor}", parts[1]).Replace(stamp)
}

// Versioned returns the name of a Kubernetes binary of the given minor, for example "kubelet@1.35"; the default minor has no suffix.
func Versioned(name, minor string) string {
	if minor == "" || minor == defaultKubernetes {
		return name
	}
	return name + "@" + minor
}

// Names lists every name that [Build] knows, sorted.
func Names() []string {
	return slices.Sorted(maps.Keys(catalog()))
}

// find returns the program called name.
func find(name string) (binary, error) {
	b, ok := catalog()[name]
	if !ok {
		return binary{}, fmt.Errorf("finding tool %q: no such tool; known are %s", name, strings.Join(Names(), ", "))
	}
	return b, nil
}
